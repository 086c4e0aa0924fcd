package snapkv

// snapkvMethod is the paper's: pooled votes of the window.
var snapkvMethod = Method{Name: "snapkv", Source: "arXiv:2404.14469", Nested: true, Needs: Needs{Rows: true}, PooledVotes: true, Score: pooledVotes}
