package model

// qwen2 has biases on q, k and v, and may slide from a certain layer on.
var qwen2 = Architecture{Name: "qwen2", GGUF: "qwen2", About: "Qwen2, Qwen2.5", Adjust: qwenWindows}

// qwen3 normalises every head's query and key.
var qwen3 = Architecture{Name: "qwen3", GGUF: "qwen3", About: "Qwen3 (dense)", QKNorm: true, Adjust: qwenWindows}

func qwenWindows(c *Config, f *fields) error {
	if f.flag("use_sliding_window", false) {
		from := f.count("max_window_layers", 28, 0)
		c.slidingWindow(f, func(l int) bool { return l >= from })
	}
	return nil
}
