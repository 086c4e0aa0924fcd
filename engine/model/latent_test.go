package model

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// TestOutputProjectionOfLatents multiplies W_O by W_UV literally.
func TestOutputProjectionOfLatents(t *testing.T) {
	for _, file := range []string{"", "/model.gguf", "/old.gguf"} {
		dir := "testdata/deepseek_v3"
		m := load(t, dir+file, 64, 2)
		c := m.Config()
		got, err := m.OutputProjection(1)
		if err != nil {
			t.Fatal(err)
		}
		ck, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer ck.Close()
		read := func(name string) []float32 {
			x, _ := ck.Tensor("model.layers.1.self_attn." + name + ".weight")
			v, err := x.Float32()
			if err != nil || len(v) == 0 {
				t.Fatalf("%s: %d elements, %v", name, len(v), err)
			}
			return v
		}
		l := c.Latent
		o, b := read("o_proj"), read("kv_b_proj")
		if len(got) != c.Hidden*c.Heads*l.Rank {
			t.Fatalf("%d elements, want %d", len(got), c.Hidden*c.Heads*l.Rank)
		}
		for i := range c.Hidden {
			for h := range c.Heads {
				for r := range l.Rank {
					want := 0.0
					for d := range l.Value {
						up := b[(h*(l.Plain+l.Value)+l.Plain+d)*l.Rank+r]
						want += float64(o[i*c.Heads*l.Value+h*l.Value+d]) * float64(up)
					}
					if x := got[(i*c.Heads+h)*l.Rank+r]; math.Abs(float64(x)-want) > 1e-5 {
						t.Fatalf("%s: element [%d, head %d, %d] is %g, want %g", file, i, h, r, x, want)
					}
				}
			}
		}
	}
}

// TestCompressedLatents decodes from a compressed cache that keeps every slot, once for
// all heads and once by query head, and checks that values are parts of keys.
func TestCompressedLatents(t *testing.T) {
	g := openGolden(t, "testdata/deepseek_v3")
	m := load(t, "testdata/deepseek_v3", 64, 2)
	c := m.Config()
	ids, reply := g.ints("input_ids"), g.ints("gen_ids")
	s := m.NewSession()
	defer s.Close()
	if err := s.Forward(context.Background(), ids, Pass{}); err != nil {
		t.Fatal(err)
	}
	if got, want := s.CacheBytes(), int64(c.Layers*len(ids)*c.Latent.entry()*4); got != want || want != int64(len(ids))*c.CacheBytes() {
		t.Errorf("the cache has %d bytes, want %d: %d per position", got, want, c.CacheBytes())
	}
	keys, err := s.Keys(1, 5, 20)
	if err != nil {
		t.Fatal(err)
	}
	values, err := s.Values(1, 5, 20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if !slices.Equal(values[i*c.ValueDim:(i+1)*c.ValueDim], keys[i*c.HeadDim:][:c.ValueDim]) {
			t.Fatalf("the value of position %d is not a part of its key", 5+i)
		}
	}
	var all []int32
	for i := range ids {
		all = append(all, int32(i))
	}
	want := decodeAll(t, s, reply)
	for _, lists := range []int{1, c.Heads} {
		s.Truncate(len(ids))
		small, err := s.Compress(func(int) ([][]int32, error) { return slices.Repeat([][]int32{all}, lists), nil })
		if err != nil {
			t.Fatal(err)
		}
		if got := decodeAll(t, small, reply); !slices.Equal(got, want) {
			t.Errorf("%d lists of slots: logits differ", lists)
		}
		small.Close()
	}
}

// decodeAll appends tokens one by one and returns the logits of all.
func decodeAll(t *testing.T, s *Session, tokens []int32) []float32 {
	t.Helper()
	var all []float32
	for i := range tokens {
		err := s.Forward(context.Background(), tokens[i:i+1], Pass{Logits: func(_ int, l []float32) { all = append(all, l...) }})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestPublishedLatents reads configurations as they are published: one latent per
// position is cached, and yarn makes the scale of the scores larger.
func TestPublishedLatents(t *testing.T) {
	yarn := func(m float64) string {
		return fmt.Sprintf(`,"rope_theta":10000,"rope_scaling":{"type":"yarn","factor":40,"beta_fast":32,"beta_slow":1,"mscale":%g,"mscale_all_dim":%g,"original_max_position_embeddings":4096}`, m, m)
	}
	deep := `,"attention_bias":false,"attention_dropout":0.0,"auto_map":{"AutoConfig":"x"},"ep_size":1,"moe_layer_freq":1,"pretraining_tp":1,"aux_loss_alpha":0.001,` +
		`"seq_aux":true,"tie_word_embeddings":false,"torch_dtype":"bfloat16","hidden_act":"silu","rms_norm_eps":1e-06,"max_position_embeddings":163840,` +
		`"kv_lora_rank":512,"qk_rope_head_dim":64,"initializer_range":0.02,"use_cache":true`
	longrope := `"rope_scaling":{"type":"longrope","original_max_position_embeddings":32768,"short_factor":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],` +
		`"long_factor":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]}`
	v3 := `"scoring_func":"sigmoid","topk_method":"noaux_tc","norm_topk_prob":true,"q_lora_rank":1536,"qk_nope_head_dim":128,"v_head_dim":128` + deep
	for _, c := range []struct {
		text         string
		cache        int64 // bytes per position
		scale        float64
		experts, all int // that a token goes through, and all
	}{
		{`{"model_type":"deepseek_v3","num_hidden_layers":61,"num_attention_heads":128,"num_key_value_heads":128,"n_group":8,"topk_group":4,` + v3 + yarn(1) + `}`, 61 * 576 * 4, 0.1352337788608801, 8, 256},
		{
			`{"model_type":"kimi_k2","num_hidden_layers":61,"num_attention_heads":64,"num_key_value_heads":64,"n_group":1,"topk_group":1,"n_routed_experts":384,"num_nextn_predict_layers":0,` + v3 +
				`,"rope_theta":50000.0,"rope_scaling":{"type":"yarn","factor":32.0,"beta_fast":1.0,"beta_slow":1.0,"mscale":1.0,"mscale_all_dim":1.0,"original_max_position_embeddings":4096}}`,
			61 * 576 * 4, 0.13086079996295005, 8, 384,
		},
		{
			`{"model_type":"deepseek_v2","num_hidden_layers":27,"hidden_size":2048,"num_attention_heads":16,"num_key_value_heads":16,"q_lora_rank":null,"qk_nope_head_dim":128,"v_head_dim":128,` +
				`"scoring_func":"softmax","topk_method":"greedy","n_group":1,"topk_group":1,"norm_topk_prob":false,"num_experts_per_tok":6,"first_k_dense_replace":1` + deep + yarn(0.707) + `}`,
			27 * 576 * 4, 0.1147213867929261, 6, 64,
		},
		{
			`{"model_type":"glm4_moe_lite","topk_method":"noaux_tc","norm_topk_prob":true,"n_group":1,"topk_group":1,"first_k_dense_replace":1,"num_hidden_layers":47,"num_attention_heads":20,` +
				`"num_nextn_predict_layers":1,"partial_rotary_factor":1.0,"rope_scaling":null,"rope_theta":1000000,"qk_nope_head_dim":192,"qk_rope_head_dim":64,"v_head_dim":256,"kv_lora_rank":512}`,
			47 * 576 * 4, 0.0625, 4, 64,
		},
		{
			`{"model_type":"minicpm3","hidden_size":2560,"num_attention_heads":40,"num_key_value_heads":40,"num_hidden_layers":62,"qk_nope_head_dim":64,"qk_rope_head_dim":32,"q_lora_rank":768,` +
				`"kv_lora_rank":256,"scale_emb":12,"dim_model_base":256,"scale_depth":1.4,"eos_token_id":[2,73440],` + longrope + `}`,
			62 * 288 * 4, 1 / math.Sqrt(96), 0, 0,
		},
	} {
		got, err := configOf(t, c.text)
		if err != nil {
			t.Errorf("%.40s: %v", c.text, err)
			continue
		}
		if got.CacheBytes() != c.cache || got.TopExperts != c.experts || got.Experts != c.all {
			t.Errorf("%s: %d bytes per position, %d of %d experts; want %d, %d, %d", got.Architecture, got.CacheBytes(), got.TopExperts, got.Experts, c.cache, c.experts, c.all)
		}
		if math.Abs(float64(got.Scale)/c.scale-1) > 1e-6 || got.Rope.Factor != 1 {
			t.Errorf("%s: scale %.9g, rotation times %g; want %.9g, 1", got.Architecture, got.Scale, got.Rope.Factor, c.scale)
		}
	}
}
