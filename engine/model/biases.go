package model

import "strings"

// A biasRule says which linear layers have biases: those of the roles, if the field is
// true.
type biasRule struct {
	field string // empty: they always have
	def   bool
	roles string
}

// biasRules lists, by family, the layers that may have biases. In transformers, all
// others have none, whatever the checkpoint holds.
var biasRules = map[string][]biasRule{
	"arcee":               {{"attention_bias", false, "q k v o"}, {"mlp_bias", false, "up down"}},
	"deepseek_v2":         {{"attention_bias", false, "q_a kv_a o"}, {"mlp_bias", false, "gate up down shared_gate shared_up shared_down"}},
	"deepseek_v3":         {{"attention_bias", false, "q_a kv_a o"}},
	"dots1":               {{"attention_bias", false, "q k v o"}},
	"ernie4_5":            {{"use_bias", false, "q k v o gate up down"}},
	"glm4_moe":            {{"attention_bias", false, "q k v"}},
	"glm4_moe_lite":       {{"attention_bias", false, "q_a kv_a o"}},
	"hunyuan_v1_dense":    {{"attention_bias", false, "q k v o"}},
	"hunyuan_v1_moe":      {{"attention_bias", false, "q k v o"}},
	"bamba":               {{"attention_bias", false, "q k v o"}, {"mlp_bias", false, "gate up down"}, {"mamba_proj_bias", false, "mamba_in mamba_out"}, {"mamba_conv_bias", true, "mamba_conv"}},
	"bloom":               {{"", true, "qkv o up down"}},
	"cohere":              {{"attention_bias", false, "q k v o"}},
	"cohere2":             {{"attention_bias", false, "q k v o"}},
	"falcon":              {{"bias", false, "qkv o up down"}},
	"gemma3n_text":        {{"attention_bias", false, "q k v o"}},
	"gemma4_unified_text": {{"attention_bias", false, "q k v o"}},
	"gemma4_text":         {{"attention_bias", false, "q k v o"}},
	"llama4_text":         {{"attention_bias", false, "q k v o"}},
	"falcon_h1":           {{"attention_bias", false, "q k v o"}, {"mlp_bias", false, "gate up down"}, {"mamba_proj_bias", false, "mamba_in"}, {"projectors_bias", false, "mamba_out"}, {"mamba_conv_bias", true, "mamba_conv"}},
	"gpt_oss":             {{"attention_bias", true, "q k v o"}},
	"gptj":                {{"", true, "up down head"}},
	"gpt_neo":             {{"", true, "o up down"}},
	"opt":                 {{"enable_bias", true, "q k v o up down"}},
	"gemma":               {{"attention_bias", false, "q k v o"}},
	"gemma2":              {{"attention_bias", false, "q k v o"}},
	"gemma3_text":         {{"attention_bias", false, "q k v o"}},
	"glm":                 {{"attention_bias", true, "q k v"}},
	"glm4":                {{"attention_bias", true, "q k v"}},
	"gpt2":                {{"", true, "qkv o up down"}},
	"gpt_neox":            {{"attention_bias", true, "qkv o"}, {"", true, "up down"}},
	"granite":             {{"attention_bias", false, "q k v o"}, {"mlp_bias", false, "gate up down"}},
	"granitemoe":          {{"attention_bias", false, "q k v o"}},
	"granitemoehybrid":    {{"attention_bias", false, "q k v o"}, {"mamba_proj_bias", false, "mamba_in mamba_out"}, {"mamba_conv_bias", true, "mamba_conv"}},
	"llama":               {{"attention_bias", false, "q k v o"}, {"mlp_bias", false, "gate up down"}},
	"kimi_k2":             {{"attention_bias", false, "q_a kv_a o"}},
	"minicpm3":            {{"attention_bias", false, "q_a kv_a o"}, {"mlp_bias", false, "gate up down"}},
	"mistral4":            {{"attention_bias", false, "q_a kv_a o"}},
	"nemotron":            {{"attention_bias", false, "q k v o"}, {"mlp_bias", false, "up down"}},
	"nemotron_h":          {{"mlp_bias", false, "up down"}, {"use_bias", false, "mamba_in mamba_out"}, {"use_conv_bias", true, "mamba_conv"}},
	"olmo":                {{"attention_bias", false, "q k v o"}},
	"olmo2":               {{"attention_bias", false, "q k v o"}},
	"olmo3":               {{"attention_bias", false, "q k v o"}},
	"olmoe":               {{"attention_bias", false, "q k v o"}},
	"phi":                 {{"", true, "q k v o up down head"}},
	"qwen2":               {{"", true, "q k v"}},
	"qwen2_moe":           {{"qkv_bias", true, "q k v"}},
	"qwen2_5_vl_text":     {{"", true, "q k v"}},
	"qwen3_vl_text":       {{"attention_bias", false, "q k v o"}},
	"qwen3":               {{"attention_bias", false, "q k v o"}},
	"qwen3_5_moe_text":    {{"attention_bias", false, "q k v o"}},
	"qwen3_5_text":        {{"attention_bias", false, "q k v o"}},
	"qwen3_next":          {{"attention_bias", false, "q k v o"}},
	"qwen3_moe":           {{"attention_bias", false, "q k v o"}},
	"seed_oss":            {{"attention_bias", true, "q k v"}, {"attention_out_bias", false, "o"}, {"mlp_bias", false, "gate up down"}},
	"smollm3":             {{"attention_bias", false, "q k v o"}, {"mlp_bias", false, "gate up down"}},
	"stablelm":            {{"use_qkv_bias", false, "q k v"}},
	"starcoder2":          {{"use_bias", true, "q k v o up down"}},
	"youtu":               {{"attention_bias", false, "q_a kv_a o"}},
}

// readBiases reads which linear layers have biases.
func (c *Config) readBiases(f *fields) {
	c.biased = map[string]bool{}
	for _, rule := range biasRules[c.Architecture] {
		if rule.field != "" && !f.flag(rule.field, rule.def) {
			continue
		}
		for role := range strings.FieldsSeq(rule.roles) {
			c.biased[role] = true
		}
	}
}
