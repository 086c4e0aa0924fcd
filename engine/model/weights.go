package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// weights holds the weights of a model: packed for the processor, or the tensors of
// the file for a card.
type weights struct {
	embed          tensor.Tensor
	places         *tensor.Tensor // embeddings of positions; nil if queries and keys are rotated
	norm, normBias []float32
	embedNorm      []float32 // of the embeddings
	embedNormBias  []float32
	head           *cpu.Matrix
	headBias       []float32
	layers         []layer
	own            *layerEmbeddings // nil: layers have no inputs of their own
	tokenStates    *tokenStates     // nil: a token has one state
}

// layer holds the weights of one layer; a bias or norm that the family does not
// have is nil.
type layer struct {
	attnNorm, ffnNorm         []float32
	attnNormBias, ffnNormBias []float32
	attnPostNorm, ffnPostNorm []float32
	qNorm, kNorm              []float32
	sinks                     []float32 // [query heads]: scores of the sinks

	qkv, out         *cpu.Matrix
	latent           *latentWeights // nil: the cache has keys and values
	qkvBias, outBias []float32
	gateUp, down     *cpu.Matrix // gateUp is up alone if there is no gate
	gateUpBias       []float32   // of a dense layer, or of the shared expert
	downBias         []float32
	router           *cpu.Matrix // [experts, hidden]; nil in dense layers
	routerBias       []float32   // counts in the choice of experts only
	routerOffset     []float32   // is added to the router's logits
	experts          []expert
	toExperts        *cpu.Matrix // to what the experts read; nil: the hidden state
	fromExperts      *cpu.Matrix // from what they write
	shared           *expert
	sharedGate       []float32     // [hidden]: how much of the shared expert a token takes
	output           tensor.Tensor // W_O as stored in the file
	mixer            mixer         // instead of attention or in addition to it; nil: none
	own              *layerInput
	altUp            *altUp
	beside           *besideDense // of a mixture parallel to the feed-forward
	scale            float32      // of the output, if the family has one
}

// matrices lists the packed matrices of a layer.
func (w *layer) matrices() []*cpu.Matrix {
	var list []*cpu.Matrix
	if w.qkv != nil {
		list = append(list, w.qkv, w.out)
	}
	if w.latent != nil {
		list = append(list, w.latent.matrices()...)
	}
	if w.mixer != nil {
		list = append(list, w.mixer.matrices()...)
	}
	if w.own != nil {
		list = append(list, w.own.gate, w.own.out)
	}
	if w.altUp != nil {
		list = append(list, w.altUp.router, w.altUp.left, w.altUp.right)
	}
	if w.down != nil {
		list = append(list, w.gateUp, w.down)
	}
	if w.router == nil {
		return list
	}
	list = append(list, w.router)
	list = append(list, w.expertMatrices()...)
	if w.toExperts != nil {
		list = append(list, w.toExperts, w.fromExperts)
	}
	if w.shared != nil {
		list = append(list, w.shared.gateUp, w.shared.down)
	}
	return list
}

// expertMatrices lists the packed matrices of the experts that a router chooses from.
func (w *layer) expertMatrices() []*cpu.Matrix {
	var list []*cpu.Matrix
	for _, e := range w.experts {
		list = append(list, e.gateUp, e.down)
	}
	return list
}

// isExpert reports whether a matrix of the layer is that of an expert.
func (w *layer) isExpert(m *cpu.Matrix) bool {
	return slices.ContainsFunc(w.experts, func(e expert) bool { return m == e.gateUp || m == e.down })
}

// loadWeights finds all weights. Matrices are not read from the file yet; with deferred,
// they can be loaded.
func loadWeights(ck *checkpoint.Checkpoint, c *Config, deferred bool, compute cpu.Compute) (*weights, error) {
	l := &loader{ck: ck, c: c, deferred: deferred, used: map[string]bool{}}
	return l.weights(compute)
}

// weights finds all weights. The head always computes in float32.
func (l *loader) weights(compute cpu.Compute) (*weights, error) {
	ck, c := l.ck, l.c
	w := &weights{layers: make([]layer, c.Layers)}
	if err := l.ends(w); err != nil {
		return nil, err
	}
	l.compute = compute
	for i := range w.layers {
		var err error
		if w.layers[i], err = l.layer(i); err != nil {
			return nil, err
		}
	}
	ck.Forget()
	return w, l.unread()
}

// ends reads the weights outside the layers: embeddings, the last norm and the head.
func (l *loader) ends(w *weights) error {
	c := l.c
	var err error
	if w.embed, err = l.tensor("embed", -1, ".weight", c.Vocab, c.Hidden); err != nil {
		return err
	}
	if !c.arch.BareNorms {
		if w.norm, err = l.vector("norm", -1, ".weight", c.Hidden, c.NormOffset); err != nil {
			return err
		}
	}
	if c.EmbedNorm {
		if w.embedNorm, err = l.vector("embed_norm", -1, ".weight", c.Hidden, 0); err != nil {
			return err
		}
		if w.embedNormBias, err = l.bias("embed_norm", -1, c.Hidden); err != nil {
			return err
		}
	}
	if w.normBias, err = l.bias("norm", -1, c.Hidden); err != nil {
		return err
	}
	if w.headBias, err = l.bias("head", -1, c.Vocab); err != nil {
		return err
	}
	if c.Learned {
		t, err := l.tensor("positions", -1, ".weight", c.UnusedPlaces+c.MaxPositions, c.Hidden)
		if err != nil {
			return err
		}
		if t, err = t.Slice(c.UnusedPlaces, c.UnusedPlaces+c.MaxPositions); err != nil {
			return fmt.Errorf("%s: %w", l.ck.Path(), err)
		}
		w.places = &t
	}
	if w.own, err = l.layerEmbeddings(); err != nil {
		return err
	}
	if w.tokenStates, err = l.tokenStates(); err != nil {
		return err
	}
	head := w.embed
	if !c.TiedHead {
		if head, err = l.tensor("head", -1, ".weight", c.Vocab, c.Hidden); err != nil {
			return err
		}
		if err := l.checkFinite(w.embed); err != nil { // a tied head is checked when it is packed
			return err
		}
	}
	w.head, err = l.pack(head)
	return err
}

// checkFinite reports the first element of a matrix that is not finite.
func (l *loader) checkFinite(t tensor.Tensor) error {
	if l.dataless() || l.sizes {
		return nil
	}
	row := make([]float32, t.Cols())
	for i := range t.Rows() {
		if err := t.Row(row, i); err != nil {
			return fmt.Errorf("%s: %w", l.ck.Path(), err)
		}
		for x, v := range row {
			if v-v != 0 {
				return fmt.Errorf("%s: tensor %s: element [%d, %d] is %v: the weights are damaged; fetch the checkpoint again",
					l.ck.Path(), t.Name, i, x, v)
			}
		}
	}
	return nil
}

// roles maps each role to the tensor's name in hub checkpoints, for which an
// architecture may have its own names, and in GGUF files. %d is the layer.
var roles = map[string][2]string{
	"embed":         {"model.embed_tokens", "token_embd"},
	"norm":          {"model.norm", "output_norm"},
	"head":          {"lm_head", "output"},
	"embed_norm":    {"", "token_embd_norm"},
	"positions":     {"", "position_embd"},
	"attn_norm":     {"model.layers.%d.input_layernorm", "blk.%d.attn_norm"},
	"ffn_norm":      {"model.layers.%d.post_attention_layernorm", "blk.%d.ffn_norm"},
	"q":             {"model.layers.%d.self_attn.q_proj", "blk.%d.attn_q"},
	"k":             {"model.layers.%d.self_attn.k_proj", "blk.%d.attn_k"},
	"v":             {"model.layers.%d.self_attn.v_proj", "blk.%d.attn_v"},
	"qkv":           {"model.layers.%d.self_attn.qkv_proj", "blk.%d.attn_qkv"},
	"o":             {"model.layers.%d.self_attn.o_proj", "blk.%d.attn_output"},
	"q_a":           {"model.layers.%d.self_attn.q_a_proj", "blk.%d.attn_q_a"},
	"q_b":           {"model.layers.%d.self_attn.q_b_proj", "blk.%d.attn_q_b"},
	"q_a_norm":      {"model.layers.%d.self_attn.q_a_layernorm", "blk.%d.attn_q_a_norm"},
	"kv_a":          {"model.layers.%d.self_attn.kv_a_proj_with_mqa", "blk.%d.attn_kv_a_mqa"},
	"kv_a_norm":     {"model.layers.%d.self_attn.kv_a_layernorm", "blk.%d.attn_kv_a_norm"},
	"kv_b":          {"model.layers.%d.self_attn.kv_b_proj", "blk.%d.attn_kv_b"},
	"k_b":           {"", "blk.%d.attn_k_b"},
	"v_b":           {"", "blk.%d.attn_v_b"},
	"q_norm":        {"model.layers.%d.self_attn.q_norm", "blk.%d.attn_q_norm"},
	"k_norm":        {"model.layers.%d.self_attn.k_norm", "blk.%d.attn_k_norm"},
	"gate":          {"model.layers.%d.mlp.gate_proj", "blk.%d.ffn_gate"},
	"up":            {"model.layers.%d.mlp.up_proj", "blk.%d.ffn_up"},
	"gate_up":       {"model.layers.%d.mlp.gate_up_proj", "blk.%d.ffn_up"},
	"down":          {"model.layers.%d.mlp.down_proj", "blk.%d.ffn_down"},
	"pre_ffn_norm":  {"model.layers.%d.pre_feedforward_layernorm", "blk.%d.ffn_norm"},
	"attn_out_norm": {"model.layers.%d.post_attention_layernorm", "blk.%d.post_attention_norm"},
	"post_ffn_norm": {"model.layers.%d.post_feedforward_layernorm", "blk.%d.post_ffw_norm"},

	"sinks":           {"", "blk.%d.attn_sinks"},
	"router":          {"", "blk.%d.ffn_gate_inp"},
	"router_bias":     {"", "blk.%d.exp_probs_b.bias"},
	"experts_gate":    {"", "blk.%d.ffn_gate_exps"},
	"experts_up":      {"", "blk.%d.ffn_up_exps"},
	"experts_gate_up": {"model.layers.%d.mlp.experts.gate_up_proj", "blk.%d.ffn_gate_up_exps"},
	"experts_down":    {"model.layers.%d.mlp.experts.down_proj", "blk.%d.ffn_down_exps"},
	"shared_gate":     {"model.layers.%d.mlp.shared_expert.gate_proj", "blk.%d.ffn_gate_shexp"},
	"shared_up":       {"model.layers.%d.mlp.shared_expert.up_proj", "blk.%d.ffn_up_shexp"},
	"shared_down":     {"model.layers.%d.mlp.shared_expert.down_proj", "blk.%d.ffn_down_shexp"},
	"shared_router":   {"model.layers.%d.mlp.shared_expert_gate", "blk.%d.ffn_gate_inp_shexp"},
}

// loader reads tensors by role and checks their shapes.
type loader struct {
	ck       *checkpoint.Checkpoint
	c        *Config
	deferred bool            // matrices can be loaded
	sizes    bool            // only the sizes of matrices are wanted
	survey   *TensorSurvey   // collects what is missing, unknown or misshapen; nil: it is an error
	used     map[string]bool // names that were asked for and found
	compute  cpu.Compute     // of the products with the matrices that are packed next
}

// exactly returns a loader that keeps weights exact in every arithmetic. Routers need
// it: rounding would change the choice of experts.
func (l *loader) exactly() *loader {
	exact := *l
	exact.compute = cpu.F32
	return &exact
}

// name returns the name of a tensor by its role; at is the layer, or -1.
func (l *loader) name(role string, at int, suffix string) string {
	form := roles[role][0]
	if own, ok := l.c.arch.Names[role]; ok {
		form = own
	}
	if l.c.gguf {
		form = cmp.Or(l.c.arch.GGUFTensors[role], roles[role][1])
	}
	if at >= 0 && form != "" {
		form = fmt.Sprintf(form, at)
	}
	return form + suffix
}

// find looks up a tensor by its name in a checkpoint of the whole model, of the
// decoder without its head, or of a multimodal model.
func (l *loader) find(name string) (tensor.Tensor, bool) {
	if strings.HasPrefix(name, ".") { // the family has no such role
		return tensor.Tensor{}, false
	}
	_, bare, _ := strings.Cut(name, ".")
	names := []string{name, bare, "language_model." + name, "model.language_model." + bare}
	if l.c.gguf {
		names = []string{name, strings.TrimSuffix(name, ".weight")} // Falcon-H1 has norms without the suffix
	}
	for _, n := range names {
		if t, ok := l.ck.Tensor(n); ok {
			if l.used != nil {
				l.used[n] = true
			}
			return t, true
		}
	}
	return tensor.Tensor{}, false
}

// tensor finds a weight or a bias and checks its shape.
func (l *loader) tensor(role string, at int, suffix string, shape ...int) (tensor.Tensor, error) {
	name := l.name(role, at, suffix)
	t, ok := l.find(name)
	if !ok {
		return l.missing(name, shape...)
	}
	if l.c.arch.Arrange != nil && !l.c.gguf {
		var err error
		if t, err = l.arrange(role, t); err != nil {
			return t, fmt.Errorf("%s: %w", l.ck.Path(), err)
		}
	}
	if role == "router_bias" && len(t.Shape) == 2 && t.Shape[0] == 1 { // ERNIE
		t.Shape = t.Shape[1:]
	}
	if l.ck.HeadersOnly() && t.Coded != nil && t.Elements() == elements(shape) {
		t.Shape = shape // the header of a weight of bitsandbytes does not have it
	}
	if !slices.Equal(t.Shape, shape) {
		return l.misshapen(name, t, shape...)
	}
	return t, nil
}

// arrange brings a weight or a bias to the layout of Llama, if the family has another.
func (l *loader) arrange(role string, t tensor.Tensor) (tensor.Tensor, error) {
	plain, err := t.Plain()
	if err != nil {
		return t, err
	}
	return l.c.arch.Arrange(l.c, role, plain)
}

// elements returns the product of a shape.
func elements(shape []int) int { return tensor.Tensor{Shape: shape}.Elements() }

// unread returns an error if no role has asked for a tensor of the checkpoint: its
// effect would be missing from every result. Masks, frequencies and parts that do not
// belong to the decoder are ignored.
func (l *loader) unread() error {
	head := strings.TrimPrefix(l.name("head", -1, ".weight"), "model.")
	for _, name := range l.ck.Names() {
		if l.used[name] || l.c.TiedHead && strings.HasSuffix(name, head) || l.later(name) || l.borrowed(name) {
			continue
		}
		if strings.HasSuffix(name, ".bias") && l.noBias(name) {
			continue
		}
		switch {
		case slices.ContainsFunc(ignored, func(part string) bool { return strings.Contains(name, part) }):
		case l.survey != nil:
			l.survey.Unknown = append(l.survey.Unknown, name)
		default:
			return fmt.Errorf("%s: tensor %s is not one that a %s model of this configuration has: its effect would be missing",
				l.ck.Path(), name, l.c.Architecture)
		}
	}
	return nil
}

// later reports whether a tensor belongs to one of the layers after the last one that
// predict several tokens ahead.
func (l *loader) later(name string) bool {
	form := "model.layers.%d."
	if l.c.gguf {
		form = "blk.%d."
	}
	for i := range l.c.LaterLayers {
		if strings.HasPrefix(name, fmt.Sprintf(form, l.c.Layers+i)) {
			return true
		}
	}
	return false
}

// borrowed reports whether a tensor makes keys or values of a layer that reads the cache
// of another one. Checkpoints may have them, and transformers ignores them too.
func (l *loader) borrowed(name string) bool {
	for at := range l.c.Shapes {
		if l.c.Shapes[at].CacheOf == at {
			continue
		}
		for _, role := range []string{"k", "v", "k_norm"} {
			own := l.name(role, at, ".")
			_, bare, _ := strings.Cut(own, ".")
			if strings.HasPrefix(name, own) || !l.c.gguf && strings.Contains("."+name, "."+bare) {
				return true
			}
		}
	}
	return false
}

// noBias reports whether a bias that nobody asked for is one of zeros, which older
// GPTQ checkpoints have for every layer. If only headers were read, all biases of such
// checkpoints are taken for one.
func (l *loader) noBias(name string) bool {
	if l.ck.HeadersOnly() {
		q := l.ck.Quantization()
		return q != nil && q.Method == checkpoint.GPTQ
	}
	t, _ := l.ck.Tensor(name)
	v, err := t.Float32()
	return err == nil && !slices.ContainsFunc(v, func(x float32) bool { return x != 0 })
}

// ignored lists parts of the names of tensors that a decoder does not need.
var ignored = []string{
	"rotary_emb.inv_freq", "rotary_emb.long_inv_freq", "rotary_emb.original_inv_freq",
	".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
	"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight",
	"vision_tower.", "vision_model.", "multi_modal_projector.", "mm_projector.", "visual.", "audio_tower.", "embed_vision.", "embed_audio.",
	"mtp.", // layers that predict several tokens ahead (Qwen3-Next)
}

// vector reads a norm or a bias and adds offset to each element.
func (l *loader) vector(role string, at int, suffix string, n int, offset float32) ([]float32, error) {
	return l.vectorOf(role, at, suffix, offset, n)
}

// vectorOf reads a vector that is stored with a shape.
func (l *loader) vectorOf(role string, at int, suffix string, offset float32, shape ...int) ([]float32, error) {
	t, err := l.tensor(role, at, suffix, shape...)
	if err != nil {
		return nil, err
	}
	return l.finite(t, offset)
}

// finite returns the elements of a tensor, with offset added to each. It fails if one of
// them is not finite. If only names and shapes are checked, all elements are 0.
func (l *loader) finite(t tensor.Tensor, offset float32) ([]float32, error) {
	if l.dataless() {
		return make([]float32, t.Elements()), nil
	}
	v, err := t.Float32()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
	}
	for i := range v {
		if x := float64(v[i]); math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("%s: tensor %s: element %d is %v: the weights are damaged; fetch the checkpoint again",
				l.ck.Path(), t.Name, i, v[i])
		}
		v[i] += offset
	}
	return v, nil
}

// bias reads a bias, or returns nil if the layer has none. It fails if the configuration
// gives the layer a bias and the checkpoint lacks it.
func (l *loader) bias(role string, at, n int) ([]float32, error) {
	linear := l.c.biased != nil && !strings.Contains(role, "norm")
	if linear && !l.c.biased[role] {
		return nil, nil // unread reports a bias that the checkpoint has all the same
	}
	if _, ok := l.find(l.name(role, at, ".bias")); !ok && !linear {
		return nil, nil
	}
	return l.vector(role, at, ".bias", n, 0)
}

// pack makes one matrix of tensors, with their outputs in order. It is packed when it is
// loaded; for a card the tensors stay as they are.
func (l *loader) pack(list ...tensor.Tensor) (*cpu.Matrix, error) { return l.packLater(nil, list) }

// packLater is like pack, but read, if it is not nil, finds the tensors again when the
// matrix is loaded.
func (l *loader) packLater(read func() ([]tensor.Tensor, error), list []tensor.Tensor) (*cpu.Matrix, error) {
	if !l.deferred {
		return cpu.Unpacked(l.compute, list...), nil
	}
	m, err := cpu.Deferred(l.compute, list, read)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
	}
	return m, nil
}

// part is one of the tensors of a matrix: its role and its number of outputs.
type part struct {
	role string
	out  int
}

// matrices finds weights [out, in] by role and makes one matrix of them.
func (l *loader) matrices(at, in int, parts ...part) (*cpu.Matrix, error) {
	read := func() ([]tensor.Tensor, error) {
		list := make([]tensor.Tensor, len(parts))
		for i, p := range parts {
			t, err := l.tensor(p.role, at, ".weight", p.out, in)
			if err != nil {
				return nil, err
			}
			list[i] = t
		}
		return list, nil
	}
	list, err := read()
	if err != nil {
		return nil, err
	}
	if l.c.arch.Arrange == nil || l.c.gguf || !l.deferred {
		return l.packLater(nil, list)
	}
	for i := range list { // may be copies, which are made again when they are needed
		list[i].Data = nil
	}
	return l.packLater(read, list)
}

// biases reads the biases of matrices that are packed as one, or returns nil if there
// are none. A part without a bias gets zeros if another part has one.
func (l *loader) biases(at int, parts ...part) ([]float32, error) {
	var all []float32
	found := false
	for _, p := range parts {
		b, err := l.bias(p.role, at, p.out)
		if err != nil {
			return nil, err
		}
		found = found || b != nil
		if b == nil {
			b = make([]float32, p.out)
		}
		all = append(all, b...)
	}
	if !found {
		return nil, nil
	}
	return all, nil
}

// layer reads one layer.
func (l *loader) layer(at int) (layer, error) {
	c := l.c
	var w layer
	if err := l.norms(at, &w); err != nil {
		return w, err
	}
	if c.Shapes[at].HasAttention() {
		if err := l.attention(at, &w); err != nil {
			return w, err
		}
	}
	if c.arch.Mixer != nil {
		var err error
		if w.mixer, err = c.arch.Mixer(l, at); err != nil {
			return w, err
		}
	}
	if !c.feeds(at) {
		return w, nil
	}
	if err := l.extras(at, &w); err != nil {
		return w, err
	}
	if c.sparse(at) {
		if err := l.mixture(at, &w); err != nil || !c.BesideDense {
			return w, err
		}
	}
	return w, l.feedForward(at, &w)
}

// attention reads the projections of a layer's attention.
func (l *loader) attention(at int, w *layer) error {
	c := l.c
	qkv, _ := c.parts(at)
	var err error
	if w.qkv, err = l.matrices(at, c.Hidden, qkv...); err != nil {
		return err
	}
	if w.qkvBias, err = l.biases(at, qkv...); err != nil {
		return err
	}
	if w.outBias, err = l.bias("o", at, c.Hidden); err != nil {
		return err
	}
	if w.output, err = l.tensor("o", at, ".weight", c.Hidden, c.headsWidth(at)); err != nil {
		return err
	}
	if c.Shapes[at].Latent {
		if w.latent, err = l.latent(at); err != nil {
			return err
		}
	}
	if w.out, err = l.pack(w.output); err != nil {
		return err
	}
	if c.Shapes[at].Sink {
		w.sinks, err = l.sinks(at)
	}
	return err
}

// feedForward reads a layer's dense feed-forward.
func (l *loader) feedForward(at int, w *layer) error {
	c := l.c
	_, gateUp := c.parts(at)
	var err error
	if w.gateUp, err = l.matrices(at, c.Hidden, gateUp...); err != nil {
		return err
	}
	if w.gateUpBias, err = l.biases(at, gateUp...); err != nil {
		return err
	}
	if w.downBias, err = l.bias("down", at, c.Hidden); err != nil {
		return err
	}
	w.down, err = l.matrices(at, c.intermediate(at), part{"down", c.Hidden})
	return err
}

// sinks reads the scores of a layer's sinks.
func (l *loader) sinks(at int) ([]float32, error) {
	return l.vector("sinks", at, l.bare(), l.c.Heads, 0)
}

// extras reads the weights that only the layers of few families have.
func (l *loader) extras(at int, w *layer) error {
	var err error
	if w.own, err = l.layerInput(at); err != nil {
		return err
	}
	if w.altUp, err = l.altUp(at); err != nil {
		return err
	}
	if l.c.LayerScale {
		scale, err := l.vector("layer_scale", at, l.bare(), 1, 0)
		if err != nil {
			return err
		}
		w.scale = scale[0]
	}
	return nil
}

// bare returns the suffix of weights that are no matrix of a linear layer and no norm.
func (l *loader) bare() string {
	if l.c.gguf {
		return ".weight"
	}
	return ""
}

// parts returns the tensors that hold the projection to queries, keys and values, and
// the tensors of the first product of the feed-forward, in a layer.
func (c *Config) parts(layer int) (qkv, gateUp []part) {
	shape := &c.Shapes[layer]
	qkv = []part{{"q", shape.queryWidth()}, {"k", shape.keyWidth()}, {"v", shape.valueWidth()}}
	switch {
	case shape.Latent:
		qkv = c.Latent.first(shape.Heads)
	case c.arch.Fused:
		qkv = []part{{"qkv", shape.queryWidth() + shape.keyWidth() + shape.valueWidth()}}
	}
	if c.arch.OutputGate {
		qkv[0].out += shape.queryWidth()
	}
	if shape.CacheOf != layer {
		qkv = qkv[:1]
	} else if c.keyValues(layer) {
		qkv = qkv[:2]
	}
	switch {
	case c.Plain:
		gateUp = []part{{"up", c.intermediate(layer)}}
	case c.arch.Fused || c.arch.FusedGate:
		gateUp = []part{{"gate_up", 2 * c.intermediate(layer)}}
	default:
		gateUp = []part{{"gate", c.intermediate(layer)}, {"up", c.intermediate(layer)}}
	}
	return qkv, gateUp
}

// norms reads the norms that the family has.
func (l *loader) norms(at int, w *layer) error {
	c := l.c
	pre := !c.arch.NoPreNorms && !c.arch.BareNorms
	post := c.arch.PostNorms
	heads := (c.arch.QKNorm || c.arch.WideQKNorm) && c.Shapes[at].HasAttention()
	ffnNorm := "ffn_norm"
	if post && !c.gguf {
		ffnNorm = "pre_ffn_norm"
	}
	shape := &c.Shapes[at]
	qDim, kDim := shape.KeyDim, shape.KeyDim
	if c.arch.WideQKNorm {
		qDim, kDim = shape.queryWidth(), shape.keyWidth()
	}
	_, own := l.find(l.name(ffnNorm, at, ".weight")) // parallel blocks may share attention's
	for _, n := range []struct {
		dst, bias *[]float32
		role      string
		dim       int
		have      bool
	}{
		{&w.attnNorm, &w.attnNormBias, "attn_norm", c.Hidden, pre && shape.Kind != None},
		{&w.ffnNorm, &w.ffnNormBias, ffnNorm, c.Hidden, pre && c.feeds(at) && (own || !c.Parallel)},
		{&w.attnPostNorm, nil, "attn_out_norm", c.Hidden, post},
		{&w.ffnPostNorm, nil, "post_ffn_norm", c.Hidden, post},
		{&w.qNorm, nil, "q_norm", qDim, heads},
		{&w.kNorm, nil, "k_norm", kDim, heads && shape.CacheOf == at},
	} {
		if !n.have {
			continue
		}
		var err error
		if *n.dst, err = l.vector(n.role, at, ".weight", n.dim, c.NormOffset); err != nil {
			return err
		}
		if n.bias != nil && c.LayerNorm {
			if *n.bias, err = l.bias(n.role, at, n.dim); err != nil {
				return err
			}
		}
	}
	return nil
}
