package snapkv

// adaPyramidKV ranks as snapkv does. The budget falls over the layers as that of
// pyramidkv, and the total of a layer is distributed over its heads as by adakv.
//
// Source: Feng et al., "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget
// Allocation for Efficient LLM Inference", arXiv:2407.11550, Ada-Pyramid.
var adaPyramidKV = Method{
	Name:        "adapyramidkv",
	Source:      "arXiv:2407.11550",
	Needs:       Needs{Rows: true},
	Scope:       ScopeLayer,
	Score:       pooledVotes,
	ShareLayers: sharePyramid,
	ShareHeads:  shareAdaKV,
}
