package model

// granite multiplies embeddings, scores, residuals and logits by constants.
var granite = Architecture{Name: "granite", About: "Granite 3.x (dense)",
	Adjust: func(c *Config, f *fields) error {
		c.EmbedScale = float32(f.number("embedding_multiplier", 1))
		c.Scale = float32(f.number("attention_multiplier", 1))
		c.ResidualScale = float32(f.number("residual_multiplier", 1))
		c.LogitScale = float32(f.number("logits_scaling", 1))
		if f.err == nil && c.LogitScale == 0 {
			f.bad("logits_scaling", 0, "a number other than 0")
		}
		return nil
	}}
