package model

// Mistral is Llama with a sliding window on every layer, where one is set.
var mistral = Architecture{Name: "mistral", About: "Mistral 7B and kin, with and without sliding window",
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, func(int) bool { return true })
		return nil
	}}
