// Package dumps reads and writes attention dumps, the files that a capture
// leaves: FORMAT.md describes them byte by byte.
//
//	r, err := dumps.Open("run.attn")
//	w, err := r.Weights(0, 3, dumps.Decode) // [heads, rows, keys] of layer 3
package dumps

import "errors"

// ErrCorrupt is in the chain of every error caused by a damaged or cut dump.
var ErrCorrupt = errors.New("corrupt dump")

// ErrComplete says that there is nothing to resume: the dump is complete.
var ErrComplete = errors.New("dump is complete")

// ErrAbsent is in the chain of an error about something the plan left out.
var ErrAbsent = errors.New("not recorded")

// Version of the format this package writes; FORMAT.md tells what changed.
const Version = 1

// Header is the first record of a dump.
type Header struct {
	Version  int       `json:"version"`
	Model    ModelInfo `json:"model"`
	Plan     Plan      `json:"plan"`
	Manifest Manifest  `json:"manifest"`
}

// ModelInfo describes the model as far as a reader needs it.
type ModelInfo struct {
	ID           string  `json:"id"`
	SHA256       string  `json:"sha256"` // of the weights
	Architecture string  `json:"architecture"`
	Layers       int     `json:"layers"`
	Heads        int     `json:"heads"`
	KVHeads      int     `json:"kv_heads"`
	HeadDim      int     `json:"head_dim"`
	ValueDim     int     `json:"value_dim"`
	Vocab        int     `json:"vocab"`
	MaxPositions int     `json:"max_positions"`
	Scale        float64 `json:"scale"`    // of the scores
	SoftCap      float64 `json:"soft_cap"` // score = cap tanh(score/cap); 0: off
	LayerWindows []int   `json:"layer_windows"`
}

// Plan says what was recorded. Layers and Heads are true ids, ascending.
type Plan struct {
	WindowRows       int       `json:"window_rows"`
	PromptWindows    int       `json:"prompt_windows"`
	PromptWindowSize int       `json:"prompt_window_size"`
	MaxNewTokens     int       `json:"max_new_tokens"`
	Layers           []int     `json:"layers"`
	Heads            []int     `json:"heads"`
	Store            Store     `json:"store"`
	Precision        Precision `json:"precision"`
	Values           bool      `json:"values"`
	Logits           bool      `json:"logits"`
	Overview         int       `json:"overview"`
	NoPromptSums     bool      `json:"no_prompt_sums,omitempty"`
	IgnoreEOS        bool      `json:"ignore_eos"`
	Compute          string    `json:"compute"`
	Temperature      float64   `json:"temperature"`
	Seed             int64     `json:"seed"`
	Shard            string    `json:"shard,omitempty"`
}

// Manifest tells where a dump comes from; it does not change what it holds.
type Manifest struct {
	Program         string   `json:"program"`
	Go              string   `json:"go"`
	Command         []string `json:"command"`
	Host            string   `json:"host"`
	Threads         int      `json:"threads"`
	Created         string   `json:"created"`
	PromptsFile     string   `json:"prompts_file"`
	PromptsSHA256   string   `json:"prompts_sha256"`
	TokenizerSHA256 string   `json:"tokenizer_sha256,omitempty"`
	Seed            int64    `json:"seed"`
}

// Prompt is one prompt of a dump.
type Prompt struct {
	ID           string   `json:"id"`
	Index        int      `json:"index,omitempty"` // place in the prompt set, from 1; 0: not known
	Dataset      string   `json:"dataset,omitempty"`
	SHA256       string   `json:"sha256,omitempty"` // of the token ids
	Text         string   `json:"text,omitempty"`
	PromptTokens int      `json:"prompt_tokens"`
	ReplyTokens  int      `json:"reply_tokens"`
	WindowRows   int      `json:"window_rows"`
	Tokens       []int32  `json:"tokens,omitempty"`  // prompt and reply
	Offsets      []int32  `json:"offsets,omitempty"` // byte end of each prompt token in Text
	Pieces       []string `json:"pieces,omitempty"`
	Document     string   `json:"document,omitempty"`
	References   []string `json:"references,omitempty"`
	Followed     bool     `json:"followed,omitempty"`
	Store        Store    `json:"store"`
	Truncated    int      `json:"truncated,omitempty"`
	Blocks       int      `json:"blocks"` // records of the prompt before its end
}
