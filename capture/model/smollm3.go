package model

// smollm3 is Llama that leaves every fourth layer, or those that
// no_rope_layers marks with 0, without rotation.
var smollm3 = Architecture{Name: "smollm3", About: "SmolLM3",
	Adjust: func(c *Config, f *fields) error {
		every := f.count("no_rope_layer_interval", 4, 1)
		c.NoRope = make([]bool, c.Layers)
		marks, given := f.values["no_rope_layers"].([]any)
		for l := range c.NoRope {
			c.NoRope[l] = (l+1)%every == 0
			if given && l < len(marks) {
				one := fields{source: f.source, values: map[string]any{"no_rope_layers": marks[l]}}
				c.NoRope[l] = one.number("no_rope_layers", 1) == 0
			}
		}
		if f.flag("use_sliding_window", false) {
			c.slidingWindow(f, func(int) bool { return false })
		}
		return nil
	}}
