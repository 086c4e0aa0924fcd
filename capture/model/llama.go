package model

import "github.com/attnscope/attnscope/capture/cpu"

var llama = Architecture{Name: "llama", GGUF: "llama", GGUFPairing: cpu.Adjacent,
	About: "Llama 1, 2, 3, 3.x, SmolLM, SmolLM2 and all that share their layout"}
