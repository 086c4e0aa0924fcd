package model

// olmo2 normalises what a block adds instead of what it reads, and queries and
// keys over all heads together.
var olmo2 = Architecture{Name: "olmo2", About: "OLMo 2", PostNorms: true, NoPreNorms: true, WideQKNorm: true}
