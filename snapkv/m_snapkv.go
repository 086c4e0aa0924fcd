package snapkv

// SnapKV is the name of the paper's method.
const SnapKV = "snapkv"

// snapkvMethod is the paper's: pooled votes of the window.
var snapkvMethod = Method{Name: SnapKV, Source: "arXiv:2404.14469", Nested: true, Needs: Needs{Rows: true}, PooledVotes: true, Score: pooledVotes}
