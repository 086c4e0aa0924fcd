package model

// phi3 keeps q, k, v in one tensor and gate, up in another.
var phi3 = Architecture{Name: "phi3", About: "Phi-3, Phi-3.5, Phi-4 (dense)", Fused: true,
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, func(int) bool { return true })
		return nil
	}}
