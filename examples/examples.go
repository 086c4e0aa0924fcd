// Package examples holds the prompts that ship with attnscope: three documents
// written for it, with several instructions each.
package examples

import _ "embed"

// Prompts is the content of prompts.jsonl.
//
//go:embed prompts.jsonl
var Prompts []byte
