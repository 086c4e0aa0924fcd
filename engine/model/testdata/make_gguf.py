"""Converts the checkpoints that make_models.py made to GGUF, by llama.cpp's own converter, without a vocabulary.

usage: make_gguf.py LLAMA_CPP [-o DIR] [NAME...]   (LLAMA_CPP holds conversion/ and gguf-py/; needs torch)

Writes DIR/NAME/model.gguf, its matrices as bfloat16, which hold the weights exactly. With --old it writes DIR/NAME/old.gguf as the
converter did before it took W_UK and W_UV of latent attention apart.
"""
import argparse, json, logging, os, sys
from pathlib import Path

KEPT = ["llama-llama3", "mixtral", "qwen2-yarn", "qwen3", "qwen2_moe", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi3-longrope", "olmo2-biases", "olmo3",
        "granite-biases", "granitemoe", "gpt2", "starcoder2", "smollm3", "olmo", "phi", "cohere2", "gpt_neox", "stablelm", "olmoe", "glm4", "exaone4", "nemotron", "ministral3", "qwen2_5_vl", "qwen3_vl",
        "glm4_moe", "minimax_m2", "ernie4_5", "ernie4_5_moe", "hunyuan_v1_dense", "hunyuan_v1_moe", "dots1", "falcon", "falcon-groups", "bloom", "mpt", "gpt_oss", "gpt_oss-mxfp4", "deepseek_v2-lite", "deepseek_v3", "mistral4", "minicpm3",
        "qwen3_next", "qwen3_5_text", "qwen3_5_moe", "lfm2", "lfm2_moe", "granitemoehybrid",
        "granitemoehybrid-dense", "falcon_h1", "nemotron_h", "nemotron_h-dense",
        "gemma3n_text", "gemma4_text", "gemma4_text-moe", "llama4_text-large"]  # with --old: deepseek_v3, qwen3_next

p = argparse.ArgumentParser()
p.add_argument("llama_cpp")
p.add_argument("-o", default=os.path.dirname(os.path.abspath(__file__)))
p.add_argument("--old", action="store_true")
p.add_argument("names", nargs="*")
a = p.parse_args()
sys.path[:0] = [a.llama_cpp, os.path.join(a.llama_cpp, "gguf-py")]
import gguf
from conversion import get_model_class
from conversion.base import ModelBase, ModelType


def as_before(m):
    """Leaves kv_b as it is, with the lengths of the heads' keys and values, or qkvz of linear layers."""
    if "linear_num_key_heads" in m.hparams:
        divide = m.modify_tensors
        m.modify_tensors = lambda data, name, bid: [(m.map_tensor_name(name), data)] if "in_proj_qkvz" in name else divide(data, name, bid)
        return
    c, split, rest = m.hparams, m.modify_tensors, m.set_gguf_parameters
    heads = c["num_key_value_heads"]

    def keep(data, name, bid):
        return [(m.map_tensor_name(name), data)] if name.endswith("kv_b_proj.weight") else split(data, name, bid)

    def state():
        rest()
        values, prefix = m.gguf_writer.kv_data[0], m.gguf_writer.arch + ".attention."
        values[prefix + "head_count_kv"].value = heads
        values[prefix + "key_length"].value = values.pop(prefix + "key_length_mla").value
        values[prefix + "value_length"].value = values.pop(prefix + "value_length_mla").value

    m.modify_tensors, m.set_gguf_parameters = keep, state


logging.disable(logging.WARNING)
os.environ["TQDM_DISABLE"] = "1"
for name in a.names or KEPT:
    folder = Path(a.o, name)
    try:
        if name.startswith("nemotron_h"):  # whose configuration of transformers has a mixture always
            ModelBase.load_hparams = staticmethod(lambda dir, *_, **__: json.loads((dir / "config.json").read_text().replace("Infinity", "1e9")))
        kind = ModelBase.load_hparams(folder, False)["architectures"][0]
        cls = get_model_class({"MptForCausalLM": "MPTForCausalLM", "Mistral4ForCausalLM": "Mistral3ForConditionalGeneration"}.get(kind, kind))
        cls.set_vocab = lambda self: None
        cls.get_vocab_base_pre = lambda self, tokenizer: "default"
        cls.no_mtp = True  # the test checkpoints have no layers that predict several tokens ahead
        vocab = folder / "tokenizer.json"  # some families count it
        vocab.write_text(json.dumps({"model": {"vocab": {str(i): i for i in range(128)}}, "added_tokens": []}))
        m = cls(folder, gguf.LlamaFileType.MOSTLY_BF16, folder / ("old.gguf" if a.old else "model.gguf"))
        if a.old:
            as_before(m)
        if name.startswith("mistral4"):  # the converter of the hub's layout forgets it, that of Mistral's own layout does not
            m.impl.gguf_writer.add_attn_temperature_scale(m.impl.rope_parameters["llama_4_scaling_beta"])
        if hasattr(m, "impl"):  # the class of several families writes with another one
            type(m.impl).set_vocab = lambda self: None
        m.hparams.setdefault("n_ctx", m.hparams.get("n_positions"))
        m.hparams.setdefault("rotary_pct", 1.0)
        m.write()
        vocab.unlink()
        print(f"{name}: {os.path.getsize(m.fname_out) // 1024} KB")
    except Exception as e:
        print(f"{name}: {type(e).__name__}: {e}")
