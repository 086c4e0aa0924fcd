package checkpoint

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/tensor"
)

// Quantization says how a hub checkpoint codes weights: the part of its
// quantization_config that the names and the shapes of the tensors do not tell.
type Quantization struct {
	Method Method
	Bits   int    // of the integers of GPTQ and of packed compressed-tensors
	Group  int    // inputs that share a scale, as the configuration says; 0: it does not say
	Kind   string // the format of compressed-tensors, or what bitsandbytes loads
	// LessOne says that zero points of GPTQ are stored less one.
	LessOne bool
	Block   tensor.Block // that has a scale, of fp8; 0: as the scales divide the weight
	// DType is the type of decoded weights of bitsandbytes if only headers were read, which
	// do not tell it; Unknown stands for BF16.
	DType tensor.DType
}

// String returns the method and its settings, such as "gptq, 4 bits".
func (q *Quantization) String() string {
	text := string(q.Method)
	if q.Bits > 0 {
		text += fmt.Sprintf(", %d bits", q.Bits)
	}
	if q.Group > 0 {
		text += fmt.Sprintf(", groups of %d", q.Group)
	}
	if q.Block.Rows > 0 {
		text += fmt.Sprintf(", blocks of %d x %d", q.Block.Rows, q.Block.Cols)
	}
	if q.Kind != "" {
		text += ", " + q.Kind
	}
	return text
}

// A Method is a way of coding weights, by its name in quantization_config.
type Method string

// The methods that are read.
const (
	FP8               Method = "fp8"
	FBGEMM            Method = "fbgemm_fp8"
	MXFP4             Method = "mxfp4"
	GPTQ              Method = "gptq"
	AWQ               Method = "awq"
	CompressedTensors Method = "compressed-tensors"
	BitsAndBytes      Method = "bitsandbytes"
	ModelOpt          Method = "modelopt"
)

// Methods lists the methods that are read.
var Methods = []Method{FP8, FBGEMM, MXFP4, GPTQ, AWQ, CompressedTensors, BitsAndBytes, ModelOpt}

// Assemble makes the weights of a quantized hub checkpoint from the tensors that code
// them: from then on, Tensor and Names have a weight, such as "x.weight", instead of its
// codes and scales, such as "x.qweight" and "x.scales". Of weights that the method does
// not code, nothing changes. A checkpoint without any coded weight is an error. The
// checkpoint must not be in use; assembling it again in the same way changes nothing.
func (c *Checkpoint) Assemble(q Quantization) error {
	if c.quantization != nil && *c.quantization == q {
		return nil
	}
	if c.stored == nil {
		c.stored = c.tensors
	}
	a := &assembler{q: q, stored: c.stored, used: map[string]bool{}, made: map[string]tensor.Tensor{}}
	names := make([]string, 0, len(c.stored))
	for name := range c.stored {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := a.assemble(name); err != nil {
			return fmt.Errorf("%s: %s weight: %w", c.path, q.Method, err)
		}
	}
	if len(a.made) == 0 {
		return fmt.Errorf("%s/config.json: quantization_config says that weights are quantized with %s, but no tensor is: "+
			"the configuration and the weights are of different models", c.path, q.Method)
	}
	all := a.made
	for name, t := range c.stored {
		if a.used[name] {
			continue
		}
		if _, twice := all[name]; twice {
			return fmt.Errorf("%s: the weight %s is stored both unquantized and quantized", c.path, name)
		}
		all[name] = t
	}
	c.tensors = all
	c.quantization = &q
	return nil
}

// Quantization returns how the weights are coded, or nil if they are not.
func (c *Checkpoint) Quantization() *Quantization { return c.quantization }

// assembler makes weights from the tensors that code them.
type assembler struct {
	q      Quantization
	stored map[string]tensor.Tensor
	used   map[string]bool          // tensors that are parts of weights
	made   map[string]tensor.Tensor // weights by name
}

// part returns a tensor that codes a weight, or nil. It will not be listed any more.
func (a *assembler) part(name string) *tensor.Tensor {
	t, ok := a.stored[name]
	if !ok {
		return nil
	}
	a.used[name] = true
	return &t
}

// need returns a tensor that codes a weight.
func (a *assembler) need(name, beside string) (tensor.Tensor, error) {
	t := a.part(name)
	if t == nil {
		return tensor.Tensor{}, fmt.Errorf("tensor %s: no tensor %s, which is needed to decode it", beside, name)
	}
	return *t, nil
}

// add adds a weight.
func (a *assembler) add(t tensor.Tensor, err error) error {
	if err == nil {
		a.made[t.Name] = t
	}
	return err
}

// assemble makes the weight, if any, whose codes are the tensor of the given name.
func (a *assembler) assemble(name string) error {
	switch a.q.Method {
	case FP8, FBGEMM:
		return a.fp8(name)
	case MXFP4:
		return a.mxfp4(name)
	case GPTQ:
		return a.gptq(name)
	case AWQ:
		return a.awq(name)
	case CompressedTensors:
		return a.compressed(name)
	case BitsAndBytes:
		return a.bitsandbytes(name)
	case ModelOpt:
		return a.modelopt(name)
	}
	return fmt.Errorf("method %q is not one of %v", a.q.Method, Methods)
}

// scaleOfInput lists the names of the scales of a layer's inputs, which are computed
// with as they are.
var scaleOfInput = []string{"activation_scale", "input_scale", "input_scale_ub"}

// dropInputScales leaves out the scales of the inputs of a layer.
func (a *assembler) dropInputScales(layer string) {
	for _, suffix := range scaleOfInput {
		a.part(layer + suffix)
	}
}

func (a *assembler) fp8(name string) error {
	t := a.stored[name]
	if t.DType != tensor.F8_E4M3 && t.DType != tensor.F8_E5M2 {
		return nil
	}
	scales := a.part(name + "_scale_inv")
	if scales == nil {
		s, err := a.need(name+"_scale", name)
		if err != nil {
			return fmt.Errorf("tensor %s: no tensor %s_scale_inv or %s_scale, which is needed to decode it",
				name, name, name)
		}
		scales = &s
	}
	a.part(name)
	a.dropInputScales(strings.TrimSuffix(name, "weight"))
	return a.add(tensor.Scaled(string(a.q.Method), t, *scales, nil, a.q.Block))
}

func (a *assembler) mxfp4(name string) error {
	weight, ok := strings.CutSuffix(name, "_blocks")
	if !ok {
		return nil
	}
	scales, err := a.need(weight+"_scales", name)
	if err != nil {
		return err
	}
	return a.add(tensor.MX(weight, *a.part(name), scales))
}

func (a *assembler) gptq(name string) error {
	layer, ok := strings.CutSuffix(name, ".qweight")
	if !ok {
		return nil
	}
	g := &tensor.GPTQ{Codes: *a.part(name), Bits: a.q.Bits, LessOne: a.q.LessOne, Groups: a.part(layer + ".g_idx")}
	var err error
	if g.Scales, err = a.need(layer+".scales", name); err != nil {
		return err
	}
	if g.Zeros, err = a.need(layer+".qzeros", name); err != nil {
		return err
	}
	return a.add(g.Tensor(layer + ".weight"))
}

// isZero reports whether all elements of a tensor are 0.
func isZero(t tensor.Tensor) bool {
	zero := t.Data != nil
	err := tensor.Guard(func() error {
		for _, b := range t.Data {
			zero = zero && b == 0
		}
		return nil
	})
	return zero && err == nil
}

func (a *assembler) awq(name string) error {
	layer, ok := strings.CutSuffix(name, ".qweight")
	if !ok {
		return nil
	}
	w := &tensor.AWQ{Codes: *a.part(name), Zeros: a.part(layer + ".qzeros")}
	var err error
	if w.Scales, err = a.need(layer+".scales", name); err != nil {
		return err
	}
	return a.add(w.Tensor(layer + ".weight"))
}

func (a *assembler) compressed(name string) error {
	layer, packed := strings.CutSuffix(name, ".weight_packed")
	switch {
	case packed && (a.q.Kind == NVFP4 || a.q.Kind == MXFP4Packed):
		return a.fp4(name, layer)
	case packed:
		return a.packedRows(name, layer)
	}
	layer, ok := strings.CutSuffix(name, ".weight")
	t := a.stored[name]
	if !ok || t.DType != tensor.I8 && t.DType != tensor.F8_E4M3 {
		return nil
	}
	a.part(name)
	scales, err := a.need(layer+".weight_scale", name)
	if err != nil {
		return err
	}
	a.dropInputScales(layer + ".")
	a.part(layer + ".input_zero_point")
	return a.add(tensor.Scaled(string(CompressedTensors), t, scales, a.part(layer+".weight_zero_point"), a.q.Block))
}

// The formats of compressed-tensors with floats of 4 bits.
const (
	NVFP4       = "nvfp4-pack-quantized"
	MXFP4Packed = "mxfp4-pack-quantized"
)

// fp4 makes a weight of compressed-tensors of floats of 4 bits.
func (a *assembler) fp4(name, layer string) error {
	f := &tensor.FP4{Codes: *a.part(name), Method: strings.TrimSuffix(a.q.Kind, "-pack-quantized")}
	var err error
	if f.Scales, err = a.need(layer+".weight_scale", name); err != nil {
		return err
	}
	if a.q.Kind == NVFP4 {
		global, err := a.need(layer+".weight_global_scale", name)
		if err != nil {
			return err
		}
		f.Global = &global
	}
	a.part(layer + ".input_global_scale")
	return a.add(f.Tensor(layer + ".weight"))
}

// modelopt makes a weight of NVFP4 of ModelOpt.
func (a *assembler) modelopt(name string) error {
	layer, ok := strings.CutSuffix(name, ".weight")
	if !ok || a.stored[name].DType != tensor.U8 {
		return nil
	}
	f := &tensor.FP4{Codes: *a.part(name), Method: "nvfp4", Times: true}
	var err error
	if f.Scales, err = a.need(layer+".weight_scale", name); err != nil {
		return err
	}
	global, err := a.need(layer+".weight_scale_2", name)
	if err != nil {
		return err
	}
	f.Global = &global
	a.dropInputScales(layer + ".")
	return a.add(f.Tensor(name))
}

// packedRows makes a weight of compressed-tensors that is packed into words.
func (a *assembler) packedRows(name, layer string) error {
	p := &tensor.PackedRows{
		Codes: *a.part(name), Zeros: a.part(layer + ".weight_zero_point"), Groups: a.part(layer + ".weight_g_idx"), Bits: a.q.Bits,
	}
	var err error
	if p.Scales, err = a.need(layer+".weight_scale", name); err != nil {
		return err
	}
	shape, err := a.need(layer+".weight_shape", name)
	if err != nil {
		return err
	}
	if shape.Data != nil {
		dims, err := shape.Int32()
		if err != nil {
			return err
		}
		if len(dims) != 2 || dims[1] < 1 || len(p.Codes.Shape) != 2 || int(dims[0]) != p.Codes.Shape[0] {
			return fmt.Errorf("tensor %s: it says shape %v, but %s is %v", shape.Name, dims, name, p.Codes.Shape)
		}
		p.In = int(dims[1])
	}
	a.dropInputScales(layer + ".")
	a.part(layer + ".input_zero_point")
	return a.add(p.Tensor(layer + ".weight"))
}

func (a *assembler) bitsandbytes(name string) error {
	layer, ok := strings.CutSuffix(name, "weight")
	if !ok {
		return nil
	}
	t := a.stored[name]
	if _, ok := a.stored[name+".absmax"]; ok {
		return a.fourBits(name, t)
	}
	if t.DType != tensor.I8 {
		return nil
	}
	a.part(name)
	most, err := a.need(layer+"SCB", name)
	if err != nil {
		return err
	}
	if format := a.part(layer + "weight_format"); format != nil && format.Data != nil && !isZero(*format) {
		return fmt.Errorf("tensor %s: its layout is not by rows; save it with bitsandbytes 0.45 or later", name)
	}
	return a.add(tensor.Int8Rows(t, most))
}

// bnbState is the description of a weight of 4 bits that bitsandbytes stores as a tensor
// of JSON text.
type bnbState struct {
	Kind        string   `json:"quant_type"`
	Block       int      `json:"blocksize"`
	DType       string   `json:"dtype"`
	Shape       []int    `json:"shape"`
	ScaleBlock  int      `json:"nested_blocksize"`
	ScaleDType  string   `json:"nested_dtype"`
	ScaleOffset *float32 `json:"nested_offset"`
}

// TorchTypes are the names of types of floats in torch.
var TorchTypes = map[string]tensor.DType{"float32": tensor.F32, "float16": tensor.F16, "bfloat16": tensor.BF16}

// fourBits makes a weight of 4 bits of bitsandbytes.
func (a *assembler) fourBits(name string, codes tensor.Tensor) error {
	a.part(name)
	f := &tensor.NF4{Codes: codes, Scales: *a.part(name + ".absmax")}
	var err error
	if f.Values, err = a.need(name+".quant_map", name); err != nil {
		return err
	}
	var text *tensor.Tensor
	for _, kind := range []string{"nf4", "fp4"} {
		if text = a.part(name + ".quant_state.bitsandbytes__" + kind); text != nil {
			f.Kind = kind
			break
		}
	}
	if text == nil {
		return fmt.Errorf("tensor %s: no tensor %s.quant_state.bitsandbytes__nf4 or __fp4, which is needed to decode it",
			name, name)
	}
	f.ScaleValues = a.part(name + ".nested_quant_map")
	f.ScaleScales = a.part(name + ".nested_absmax")
	if (f.ScaleValues == nil) != (f.ScaleScales == nil) {
		return fmt.Errorf("tensor %s: only one of nested_quant_map and nested_absmax is there", name)
	}
	f.Round = tensor.BF16
	if a.q.DType != tensor.Unknown {
		f.Round = a.q.DType
	}
	f.Block = 64
	f.ScaleBlock = 256
	if text.Data != nil {
		if err := readState(*text, f); err != nil {
			return fmt.Errorf("tensor %s: %w", text.Name, err)
		}
	}
	return a.add(f.Tensor(name))
}

// readState reads the description of a weight of 4 bits.
func readState(text tensor.Tensor, f *tensor.NF4) error {
	var copied []byte
	if err := tensor.Guard(func() error { copied = slices.Clone(text.Data); return nil }); err != nil {
		return err
	}
	var s bnbState
	dec := json.NewDecoder(strings.NewReader(string(copied)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return err
	}
	var known bool
	if f.Round, known = TorchTypes[s.DType]; !known {
		return fmt.Errorf("dtype %q, want float32, float16 or bfloat16", s.DType)
	}
	elements := 1
	for _, n := range s.Shape {
		if n < 1 || n > 1<<40/elements {
			return fmt.Errorf("shape %v", s.Shape)
		}
		elements *= n
	}
	if len(s.Shape) < 2 || s.Kind != f.Kind {
		return fmt.Errorf("quant_type %q of shape %v, want %s of a matrix", s.Kind, s.Shape, f.Kind)
	}
	f.Block = s.Block
	f.Shape = s.Shape
	if f.ScaleValues == nil {
		return nil
	}
	if s.ScaleDType != "float32" || s.ScaleOffset == nil {
		return fmt.Errorf("nested_dtype %q, want float32 and a nested_offset", s.ScaleDType)
	}
	f.ScaleBlock = s.ScaleBlock
	f.Offset = *s.ScaleOffset
	return nil
}
