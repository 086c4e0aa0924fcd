package judge

// Measure names what is measured.
type Measure string

// The measures of a first run.
const (
	Start            Measure = "start"             // from nothing to a loaded card, compiled kernels
	StartPTX         Measure = "start ptx"         // the same if the driver compiles the PTX
	ProductCublas    Measure = "product cublas"    // a large bfloat16 product
	ProductOwn       Measure = "product own"       // the same by attnscope's kernel
	ProductTerms     Measure = "product terms"     // float32 by bfloat16, as three products on tensor cores
	ProductFloat32   Measure = "product f32"       // a large float32 product, by cuBLAS if there is one
	ProductQuantized Measure = "product quantized" // weights read by a product of one row with Q4_K
	Prefill          Measure = "prefill"           // a prompt without recording
	Attention        Measure = "attention"         // the attention kernel in that prefill
	Products         Measure = "products"          // the products in that prefill
	Sums             Measure = "sums"              // the kernel of the sums over queries
	Recording        Measure = "recording"         // time with recording against time without
	NoSums           Measure = "recording without sums"
	PrefillTriton    Measure = "prefill with Triton's kernels"
	RecordingTriton  Measure = "recording with Triton's kernels"
	Capture          Measure = "capture" // time of a capture's prefill, into a dump, against time without recording
	Decode           Measure = "decode"  // memory that must be read per reply token, by time
	DecodeRate       Measure = "decode rate"
	DecodeSingle     Measure = "decode rate without graphs"
	Memory           Measure = "memory" // most memory in use against the estimate
	TorchFlash       Measure = "torch flash attention"
	TorchCudnn       Measure = "torch cudnn attention"
	TorchPrefill     Measure = "torch prefill"
	TorchEagerRows   Measure = "torch eager rows" // eager attention that keeps the last 128 rows
)

// units holds the unit of each measure; x is a ratio.
var units = map[Measure]string{
	Start: "s", StartPTX: "s",
	ProductCublas: "TFLOP/s", ProductOwn: "TFLOP/s", ProductTerms: "TFLOP/s", ProductFloat32: "TFLOP/s",
	ProductQuantized: "GB/s",
	Prefill:          "TFLOP/s", PrefillTriton: "TFLOP/s", RecordingTriton: "x", Attention: "TFLOP/s", Products: "TFLOP/s", Sums: "TFLOP/s",
	Recording: "x", NoSums: "x", Capture: "x", Memory: "x",
	Decode: "GB/s", DecodeRate: "tokens/s", DecodeSingle: "tokens/s",
	TorchFlash: "TFLOP/s", TorchCudnn: "TFLOP/s", TorchPrefill: "TFLOP/s", TorchEagerRows: "TFLOP/s",
}

// Unit returns the unit in which a measure is stated.
func (m Measure) Unit() string { return units[m] }

// lessIsBetter reports whether a small number is a good one.
func (m Measure) lessIsBetter() bool { return m.Unit() == "s" || m.Unit() == "x" }
