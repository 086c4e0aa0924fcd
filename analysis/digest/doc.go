// Package digest reduces a recorded layer of a prompt to what its rates and measures
// follow from, so that other settings are answered without reading the layer again.
// The viewer is built on it.
//
//	rows, err := digest.OpenLayer(dump, prompt, layer)
//	heads, err := rows.Stats(digest.Spec{Windows: []int{8, 32}}, nil)
//	rates, err := heads[0].Rates(cfg) // for any budget, theta and pooling kernel
//
// The digest of a head holds the votes of some windows, the mean reply row, and the
// larger weights of the reply. [FitSpec] chooses as many windows as fit into memory.
// The digest of all heads also tells what a selection keeps: [Inputs] measures
// selection methods on a layer, and [Selection] returns the positions.
//
// The package keeps nothing between calls but spare memory. Caching is up to the
// caller, which is why functions tell how many bytes their results hold.
package digest
