"""Makes the folders quantized/*: one tiny Llama, with its weights coded by every method that is read, and what they decode to; *-latent
is a tiny DeepSeek V3 with dense layers. Needs torch, transformers,
safetensors, compressed-tensors and bitsandbytes (version 0.50, which runs on the processor). Usage: make_quantized.py [NAME...]

golden.json of each folder has the type and the SHA-256 of every decoded weight, and logits and greedy tokens of transformers in float32 with these weights.

- fp8: decoded by Fp8Dequantize of transformers; fbgemm_fp8: by its formula, weight * weight_scale.
- compressed-tensors and bitsandbytes: quantized and decoded by the packages themselves.
- gptq and awq: their packages need a GPU, so their formulas are written out here, in torch and in float16 as theirs: GPTQModel's TorchQuantLinear
  (scales[g_idx] * (weight - zeros[g_idx])) and AutoAWQ's dequantize_gemm ((weight - zeros) * scales, with the columns of a word in the order 0 2 4 6 1 3 5 7).
"""
import hashlib, json, pathlib, sys
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM

BASE = dict(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=128, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True)
# A decoder whose cache has a latent. The rows of W_UK and W_UV of a head are parts of blocks.
LATENT = {**BASE, **dict(num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=12, first_k_dense_replace=1,
                         num_mtp_layers=0)}
FOLDER = pathlib.Path(__file__).parent / "quantized"
PROMPT = [1] + [(7 * i * i + 3 * i) % 61 + 3 for i in range(40)]


def linear(name):
    return name.endswith(("_proj.weight", "_proj_with_mqa.weight"))


def pack_bits(values, bits):
    """Packs rows of integers to rows of words of 32 bits, from the lowest bit on."""
    values = np.asarray(values, np.uint64)
    flat = ((values[..., None] >> np.arange(bits, dtype=np.uint64)) & 1).reshape(*values.shape[:-1], -1)
    words = (flat.reshape(*flat.shape[:-1], -1, 32) << np.arange(32, dtype=np.uint64)).sum(-1)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())


def gptq(bits, group, v1=True, shuffled=False, sym=False, bias=False):
    def code(name, w, r):
        layer = name.removesuffix(".weight")
        out, inp = w.shape
        size = inp if group == -1 else group
        g_idx = torch.arange(inp) // size
        if shuffled:
            g_idx = g_idx[torch.from_numpy(r.permutation(inp))]
        groups = inp // size
        most = 2**bits - 1
        scales = torch.from_numpy(r.uniform(0.01, 0.03, (groups, out))).to(torch.float16)
        zeros = torch.full((groups, out), 2 ** (bits - 1)) if sym else torch.from_numpy(r.integers(1 if v1 else 0, most + 1, (groups, out)))
        q = torch.clamp(torch.round(w.T / scales[g_idx] + zeros[g_idx]), 0, most).to(torch.int32)  # [in, out]
        stored = (zeros - 1) & most if v1 else zeros
        parts = {layer + ".qweight": pack_bits(q.T.numpy(), bits).T.contiguous(), layer + ".qzeros": pack_bits(stored.numpy(), bits),
                 layer + ".scales": scales, layer + ".g_idx": g_idx.to(torch.int32)}
        if bias:
            parts[layer + ".bias"] = torch.zeros(out, dtype=torch.float16)
        weight = scales[g_idx] * (q - zeros[g_idx].to(torch.int32))
        assert weight.dtype == torch.float16
        return parts, weight.T.contiguous()

    return code, {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": shuffled, "sym": sym, "true_sequential": True, "damp_percent": 0.01,
                  **({} if v1 else {"checkpoint_format": "gptq_v2"})}


def awq(name, w, r):
    layer = name.removesuffix(".weight")
    out, inp = w.shape
    group = 32
    scales = torch.from_numpy(r.uniform(0.01, 0.03, (inp // group, out))).to(torch.float16)
    zeros = torch.from_numpy(r.integers(0, 16, (inp // group, out))).to(torch.int8)
    q = torch.clamp(torch.round(w.T / scales.repeat_interleave(group, 0) + zeros.repeat_interleave(group, 0)), 0, 15).to(torch.int8)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    place = lambda m: pack_bits(m.numpy().reshape(m.shape[0], -1, 8)[:, :, order].reshape(m.shape), 4)
    weight = (q - zeros.repeat_interleave(group, 0)) * scales.repeat_interleave(group, 0)
    assert weight.dtype == torch.float16
    return {layer + ".qweight": place(q), layer + ".qzeros": place(zeros), layer + ".scales": scales}, weight.T.contiguous()


def fp8(block, suffix="_scale_inv", by_row=False, static=False):
    def code(name, w, r):
        from transformers.integrations.finegrained_fp8 import Fp8Dequantize
        out, inp = w.shape
        b = block or ((1, inp) if by_row else (out, inp))
        blocks = w.reshape(out // b[0], b[0], inp // b[1], b[1])
        scale = blocks.abs().amax((1, 3)) / 448
        q = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn).reshape(out, inp)
        stored = scale if block or by_row else scale.reshape(())
        parts = {name: q, name + suffix: stored}
        if static:
            parts[name.removesuffix("weight") + "activation_scale"] = torch.tensor(0.25)
        return parts, Fp8Dequantize(None)._dequantize_one(q, stored)

    return code


def compressed(fmt, **args):
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    inputs = dict(num_bits=8, type=args.get("type", "int"), strategy="token", dynamic=True, symmetric=True) if fmt in ("float-quantized", "int-quantized") else None
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args), input_activations=inputs and QuantizationArgs(**inputs))

    def code(name, w, r):
        layer = name.removesuffix(".weight")
        w = w.to(torch.bfloat16)
        out, inp = w.shape
        a = scheme.weights
        if a.strategy == "group":
            grouped = w.reshape(out, -1, a.group_size)
            low, high = grouped.amin(-1), grouped.amax(-1)
        elif a.strategy == "channel":
            low, high = w.amin(-1, keepdim=True), w.amax(-1, keepdim=True)
        elif a.strategy == "block":
            b = a.block_structure
            grouped = w.reshape(out // b[0], b[0], inp // b[1], b[1])
            low, high = grouped.amin((1, 3)), grouped.amax((1, 3))
        else:
            low, high = w.amin().reshape(1), w.amax().reshape(1)
        scale, zero = calculate_qparams(low, high, a)
        state = {"weight": w, "weight_scale": scale.to(torch.bfloat16)}
        if not a.symmetric:
            state["weight_zero_point"] = zero.to(torch.int8)
        compressor = BaseCompressor.get_value_from_registry(fmt)
        parts = compressor.compress(state, scheme)
        plain = compressor.decompress(dict(parts), scheme)["weight"]
        return {f"{layer}.{k}": (v if isinstance(v, torch.Tensor) else torch.tensor(v)) for k, v in parts.items()}, plain

    dumped = json.loads(scheme.model_dump_json())
    dumped["format"] = None
    return code, {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
                  "config_groups": {"group_0": dumped}, "global_compression_ratio": None}


def fp4(fmt, group, modelopt=False):
    """NVFP4 and MXFP4 of compressed-tensors, quantized and decoded by the package; or NVFP4 of ModelOpt, by its formula: codes * (weight_scale * weight_scale_2)."""
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    weights = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="tensor_group" if group == 16 else "group", group_size=group)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)

    def code(name, w, r):
        layer = name.removesuffix(".weight")
        w = w.to(torch.bfloat16)
        most = w.reshape(w.shape[0], -1, group).abs().amax(-1).float()
        state = {"weight": w}
        if group == 16:
            state["weight_global_scale"] = (448 * 6 / w.abs().max().float()).reshape(1)
            state["weight_scale"] = (most / 6 * state["weight_global_scale"]).to(torch.float8_e4m3fn).float()
        else:
            state["weight_scale"] = torch.exp2(torch.ceil(torch.log2(most / 6))).to(torch.bfloat16)
        compressor = BaseCompressor.get_value_from_registry(fmt)
        parts = compressor.compress(state, scheme)
        if not modelopt:
            return {f"{layer}.{k}": v for k, v in parts.items()}, compressor.decompress(dict(parts), scheme)["weight"]
        from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
        second = 1 / parts["weight_global_scale"].reshape(())
        values = unpack_fp4_from_uint8(parts["weight_packed"], *w.shape, dtype=torch.float32)
        scales = (parts["weight_scale"].float() * second).repeat_interleave(16, -1)
        return {layer + ".weight": parts["weight_packed"], layer + ".weight_scale": parts["weight_scale"], layer + ".weight_scale_2": second,
                layer + ".input_scale": torch.tensor(0.01)}, (values * scales).to(torch.bfloat16)

    dumped = json.loads(scheme.model_dump_json())
    dumped["format"] = None
    if modelopt:
        group_0 = {"weights": {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}, "targets": ["Linear"]}
        return code, {"quant_method": "modelopt", "quant_algo": "NVFP4", "producer": {"name": "modelopt", "version": "0.33.0"}, "ignore": ["lm_head"],
                      "config_groups": {"group_0": group_0}}
    return code, {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
                  "config_groups": {"group_0": dumped}, "global_compression_ratio": None}


def bnb8(name, w, r):
    import bitsandbytes.functional as F
    q, scb, _ = F.int8_vectorwise_quant(w.to(torch.float16))
    return {name: q, name.removesuffix("weight") + "SCB": scb, name.removesuffix("weight") + "weight_format": torch.tensor(0, dtype=torch.uint8)}, \
        F.int8_vectorwise_dequant(q, scb)


def bnb4(kind, double, dtype):
    def code(name, w, r):
        import bitsandbytes.functional as F
        q, state = F.quantize_4bit(w.to(dtype), blocksize=64, compress_statistics=double, quant_type=kind)
        parts = {name: q} | {f"{name}.{k}": v for k, v in state.as_dict(packed=True).items()}
        return parts, F.dequantize_4bit(q, state) + 0.0  # its kernel has -0 where the table of fp4, quant_map, has 0

    return code, {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "_load_in_4bit": True, "_load_in_8bit": False, "bnb_4bit_quant_type": kind,
                  "bnb_4bit_use_double_quant": double, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_storage": "uint8", "llm_int8_threshold": 6.0,
                  "llm_int8_skip_modules": None, "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False}


KINDS = {
    "fp8-block": lambda: (fp8((32, 32)), {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [32, 32]}),
    "fp8-latent": lambda: (fp8((8, 16)), {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [8, 16]}),
    "gptq4-latent": lambda: gptq(4, 16),
    "fp8-tensor": lambda: (fp8(None, static=True), {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None, "dequantize": False,
                                                    "modules_to_not_convert": ["lm_head"]}),
    "fbgemm": lambda: (fp8(None, "_scale", by_row=True), {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}),
    "gptq2": lambda: gptq(2, 32),
    "gptq3": lambda: gptq(3, 32, sym=True),
    "gptq4-shuffled": lambda: gptq(4, 16, shuffled=True, bias=True),
    "gptq4-v2": lambda: gptq(4, -1, v1=False),
    "gptq8": lambda: gptq(8, 32),
    "awq": lambda: (awq, {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}),
    "ct-int4": lambda: compressed("pack-quantized", num_bits=4, type="int", symmetric=True, strategy="group", group_size=32),
    "ct-int4-zeros": lambda: compressed("pack-quantized", num_bits=4, type="int", symmetric=False, strategy="group", group_size=16),
    "ct-int8-packed": lambda: compressed("pack-quantized", num_bits=8, type="int", symmetric=False, strategy="channel"),
    "ct-int3": lambda: compressed("pack-quantized", num_bits=3, type="int", symmetric=True, strategy="channel"),
    "ct-int8": lambda: compressed("int-quantized", num_bits=8, type="int", symmetric=False, strategy="channel"),
    "ct-int8-naive": lambda: compressed("naive-quantized", num_bits=8, type="int", symmetric=True, strategy="tensor"),
    "ct-fp8": lambda: compressed("float-quantized", num_bits=8, type="float", symmetric=True, strategy="channel"),
    "ct-fp8-block": lambda: compressed("float-quantized", num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[32, 32]),
    "ct-nvfp4": lambda: fp4("nvfp4-pack-quantized", 16),
    "ct-mxfp4": lambda: fp4("mxfp4-pack-quantized", 32),
    "modelopt-nvfp4": lambda: fp4("nvfp4-pack-quantized", 16, modelopt=True),
    "bnb-int8": lambda: (bnb8, {"load_in_8bit": True, "load_in_4bit": False, "llm_int8_threshold": 6.0}),
    "bnb-nf4": lambda: bnb4("nf4", False, torch.float16),
    "bnb-nf4-double": lambda: bnb4("nf4", True, torch.bfloat16),
    "bnb-fp4": lambda: bnb4("fp4", False, torch.float32),
}


def make(kind):
    code, settings = KINDS[kind]()
    torch.manual_seed(3)
    latent = kind.endswith("-latent")
    sizes = LATENT if latent else BASE
    model = (DeepseekV3ForCausalLM(DeepseekV3Config(**sizes, attn_implementation="eager")) if latent else
             LlamaForCausalLM(LlamaConfig(**sizes, attn_implementation="eager"))).eval()
    r = np.random.default_rng(5)
    tensors, plain, golden = {}, {}, {}
    for name, p in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        w = torch.from_numpy(r.normal(0, 0.15 if linear(name) else 0.5, p.shape)).float() + (1 if "norm" in name else 0)
        if linear(name):
            parts, plain[name] = code(name, w, r)
            tensors |= {k: v.contiguous() for k, v in parts.items()}
        else:
            tensors[name] = plain[name] = w.to(torch.float16)
        raw = plain[name].contiguous().view(torch.uint8).numpy().tobytes()
        golden[name] = {"dtype": {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[plain[name].dtype],
                        "shape": list(plain[name].shape), "sha256": hashlib.sha256(raw).hexdigest(), "first": plain[name].flatten()[:4].tolist()}
    plain["lm_head.weight"] = plain["model.embed_tokens.weight"]
    model.load_state_dict({k: v.float() for k, v in plain.items()})
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        logits = model(ids).logits[0, -1]
        tokens = model.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)[0, len(PROMPT):]
    folder = FOLDER / kind
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {"architectures": ["DeepseekV3ForCausalLM" if latent else "LlamaForCausalLM"], "model_type": "deepseek_v3" if latent else "llama", "rms_norm_eps": 1e-6,
              "rope_theta": 10000.0, "hidden_act": "silu", **sizes,
              **({"dtype": "float32"} if kind == "bnb-fp4" else {}),  # of the decoded weights, which the headers of the file do not tell
              "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "golden.json").write_text(json.dumps({"weights": golden, "prompt": PROMPT, "logits": logits.tolist(), "tokens": tokens.tolist()}) + "\n")
    print(kind, (folder / "model.safetensors").stat().st_size)


for kind in sys.argv[1:] or KINDS:
    make(kind)
