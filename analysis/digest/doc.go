// Package digest reduces a recorded layer of a prompt to the data from which its rates
// and measures follow, so that other settings need no second read of the layer. The
// viewer is built on it.
//
//	rows, err := digest.OpenLayer(dump, prompt, layer)
//	heads, err := rows.Stats(digest.Spec{Windows: []int{8, 32}}, nil)
//	rates, err := heads[0].Rates(cfg) // for any budget, theta and pooling kernel
//
// The digest of a head holds the votes of some windows, the mean reply row, and the
// larger weights of the reply. [FitSpec] chooses as many windows as fit into memory.
// The digests of all heads also answer how much a selection keeps: [Inputs] measures
// selection methods on a layer, and [Selection] returns the positions.
//
// Between calls, the package keeps only spare memory. Caching is up to the caller, so
// functions report how many bytes their results hold.
package digest
