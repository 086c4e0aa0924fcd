"""Tokenizers with each setting of tokenizer_config.json changed alone, and the ids that AutoTokenizer of transformers 5 gives hard strings.

usage: make_auto.py OUT.jsonl.gz [STRINGS [STEP]]

Reads the tokenizers in json/ and spm/ beside this script and makes more. OUT has a line for each tokenizer, {"kind", "file", "text"} (text in base64),
and after it a line for each setting, {"kind", "case", "files", "strings": [[text, ids with special tokens, ids without], ...]}. Where AutoTokenizer
fails, "error" stands for the strings. Two settings are not AutoTokenizer's: beside a tokenizer.json it drops add_bos_token and add_eos_token, which
transformers 4 obeys for some classes; for these, BOS and EOS are put here as the keys say.

With STEP, only every STEP-th setting is written: auto.jsonl.gz was made with "auto.jsonl.gz 6 11".

Needs transformers 5, sentencepiece and protobuf.
"""
import base64, gzip, json, os, sys, tempfile
os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ["HF_HUB_OFFLINE"] = "1"
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer
from hard_strings import strings
from make_spm import corpus

HERE = os.path.dirname(os.path.abspath(__file__))
N, P, D = normalizers, pre_tokenizers, decoders
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def bpe(normalizer, pre, decoder, byte_level, post=None, size=420, **options):
    t = Tokenizer(models.BPE(unk_token=None if byte_level else "<unk>", **options))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoder
    alphabet = P.ByteLevel.alphabet() if byte_level else []
    special = ["<unk>", "<s>", "</s>"] + ([] if byte_level else ["<0x%02X>" % b for b in range(256)])
    t.train_from_iterator(list(corpus())[:1500], trainers.BpeTrainer(vocab_size=size + (0 if byte_level else 256), special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    j = json.loads(t.to_str())
    j["added_tokens"] = [a for a in j["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(j))
    t.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("<|im_start|>", special=True), AddedToken("wor", single_word=True, normalized=False)])
    if post == "bos":
        t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    elif post:
        t.post_processor = post
    return t


def kinds():
    """Yields name, file, bytes, and pairs of model_type and tokenizer_class."""
    byte = lambda: P.ByteLevel(add_prefix_space=False)
    spm = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(content=" ", left=1)])
    made = {
        "gpt2": (bpe(None, byte(), D.ByteLevel(), True, processors.ByteLevel(trim_offsets=False)), [("gpt2", "GPT2Tokenizer"), ("gpt2", None)]),
        "smol": (bpe(None, P.Sequence([P.Digits(individual_digits=True), byte()]), D.ByteLevel(), True), [("llama", "GPT2Tokenizer"), ("starcoder2", None)]),
        "llama3": (bpe(None, P.Sequence([P.Split(Regex(CL100K), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]), D.ByteLevel(), True, "bos", ignore_merges=True), [("llama", "PreTrainedTokenizerFast"), ("llama", "LlamaTokenizerFast")]),
        "qwen": (bpe(N.NFC(), P.Sequence([P.Split(Regex(CL100K.replace("{1,3}", "")), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]), D.ByteLevel(), True, processors.ByteLevel(trim_offsets=False)), [("qwen2", "Qwen2Tokenizer"), ("qwen3", "Qwen2TokenizerFast"), ("qwen3_5", "Qwen3_5Tokenizer")]),
        "neox": (bpe(N.NFC(), byte(), D.ByteLevel(), True, "bos"), [("gpt_neox", "GPTNeoXTokenizer"), ("olmo2", "GPT2Tokenizer")]),
        "cohere": (bpe(N.NFC(), P.Sequence([P.Digits(individual_digits=True), byte()]), D.ByteLevel(), True, "bos"), [("cohere", "CohereTokenizer"), ("cohere2", "CohereTokenizerFast")]),
        "llama2": (bpe(N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), None, spm, False, "bos", fuse_unk=True, byte_fallback=True), [("llama", "LlamaTokenizer"), ("mistral", "LlamaTokenizerFast"), ("phi3", "LlamaTokenizer"), ("llama", "CodeLlamaTokenizer")]),
        "metaspace": (bpe(None, P.Metaspace(prepend_scheme="first", split=False), spm, False, None, fuse_unk=True, byte_fallback=True), [("llama", "LlamaTokenizer"), ("llama", None)]),
        "gemma": (bpe(N.Replace(" ", "▁"), P.Split(" ", "merged_with_previous"), D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse()]), False, "bos", fuse_unk=True, byte_fallback=True), [("gemma2", "GemmaTokenizer"), ("gemma3_text", "GemmaTokenizerFast")]),
    }
    for name, (tok, pairs) in made.items():
        yield name, "tokenizer.json", tok.to_str().encode(), pairs
    for name in sorted(os.listdir(os.path.join(HERE, "json"))):
        with open(os.path.join(HERE, "json", name, "tokenizer.json"), "rb") as f:
            yield name, "tokenizer.json", f.read(), [("llama", "PreTrainedTokenizerFast")]
    for name in sorted(os.listdir(os.path.join(HERE, "spm"))):
        with open(os.path.join(HERE, "spm", name, "tokenizer.model"), "rb") as f:
            yield "spm-" + name, "tokenizer.model", f.read(), [("mistral", "LlamaTokenizer"), ("llama", "LlamaTokenizer"), ("gemma2", "GemmaTokenizer")]


CLASSES = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizerFast", "Qwen2Tokenizer", "Qwen3_5Tokenizer", "GPT2TokenizerFast", "GPTNeoXTokenizer", "CohereTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", "BloomTokenizer", "SomethingElse", None]
MODELS = ["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "phi3", "gpt2", "gpt_neox", "granite", "cohere2", "olmoe", "nemotron"]


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True, **flags}


def settings(added, size):
    """Yields a name, changes to tokenizer_config.json, and further files."""
    for key in ("add_bos_token", "add_eos_token", "add_prefix_space", "legacy", "split_special_tokens", "clean_up_tokenization_spaces"):
        yield key + " true", {key: True}, {}
        yield key + " false", {key: False}, {}
        yield key + " null", {key: None}, {}
    for key in ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"):
        yield key, {key: "the"}, {}
        yield key + " new", {key: "<new>"}, {}
        yield key + " null", {key: None}, {}
        yield key + " object", {key: {"__type": "AddedToken", **token("<new>", rstrip=True)}}, {}
    yield "image_token", {"image_token": "<image>", "image_token_id": 5}, {}
    yield "additional_special_tokens", {"additional_special_tokens": ["<new>", "</s>", "word"]}, {}
    yield "additional_special_tokens objects", {"additional_special_tokens": [{"__type": "AddedToken", **token("<new>", lstrip=True)}]}, {}
    yield "extra_special_tokens", {"extra_special_tokens": ["<new>", "<more>"], "additional_special_tokens": ["word"]}, {}
    yield "extra_special_tokens empty", {"extra_special_tokens": [], "additional_special_tokens": ["word"]}, {}
    yield "extra_special_tokens object", {"extra_special_tokens": {"image_token": "<image>", "new_token": "<new>"}}, {}
    base = {str(a["id"]): {k: v for k, v in a.items() if k != "id"} for a in added}
    yield "added_tokens_decoder", {"added_tokens_decoder": base}, {}
    yield "added_tokens_decoder empty", {"added_tokens_decoder": {}}, {}
    for flag in ("lstrip", "rstrip", "single_word", "normalized", "special"):
        changed = {k: {**v, flag: not v[flag]} for k, v in base.items()}
        yield "added_tokens_decoder " + flag, {"added_tokens_decoder": changed}, {}
    yield "added_tokens_decoder new", {"added_tokens_decoder": {**base, "9000": token("<new>", rstrip=True, lstrip=True), str(size + 1): token("word", special=False, normalized=True)}}, {}
    yield "added_tokens_decoder order", {"added_tokens_decoder": {"9": token("<b>"), "10": token("<a>"), "100000": token("<c>", special=False)}}, {}
    yield "added_tokens_decoder space", {"added_tokens_decoder": {**base, "7777": token(" ", special=False), "7778": token("\n", special=False), "7779": token("<new>", rstrip=True, lstrip=True)}}, {}
    yield "special_tokens_map", {}, {"special_tokens_map.json": {"bos_token": token("<new>", lstrip=True), "eos_token": "</s>", "additional_special_tokens": ["<more>"]}}
    yield "special_tokens_map beside a decoder", {"added_tokens_decoder": base}, {"special_tokens_map.json": {"bos_token": "<new>"}}
    yield "added_tokens.json", {"bos_token": "<new>"}, {"added_tokens.json": {"<new>": size + 3, "<more>": size + 2, "word": 12}}
    yield "model_max_length", {"model_max_length": 4, "truncation_side": "left", "padding_side": "left"}, {}


def obeys(model, name, byte_level):
    """Whether the class of transformers 4 obeys add_bos_token and add_eos_token."""
    name = (name or {"llama": "LlamaTokenizer", "mistral": "LlamaTokenizer", "gpt_neox": "GPTNeoXTokenizer", "olmoe": "GPTNeoXTokenizer"}.get(model, "")).removesuffix("Fast")
    return name in ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "GPTNeoXTokenizer", "CohereTokenizer")


MARKED = ["a<s>b", "x </s>\n y", "<unk> the <unk>", "say <new> word", "<new>\n<new> wor word wor.", "a <tool>b<tool>  c", " <|im_start|>user\nthe end<|im_end|>", "the<more> \u00b2wor wore\u0301", "<image>the image", "<a> <b><c>  word", "▁word ▁ the", "<pad><mask>in 2024 by 1234"]


def encode(folder, config, files, file, data, model, texts):
    for old in os.listdir(folder):
        os.remove(os.path.join(folder, old))
    with open(os.path.join(folder, file), "wb") as f:
        f.write(data)
    out = {"config.json": json.dumps({"model_type": model})}
    if config is not None:
        out["tokenizer_config.json"] = json.dumps(config)
    for name, value in files.items():
        out[name] = json.dumps(value)
    for name, text in out.items():
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    asked = {k: v for k, v in (config or {}).items() if k in ("add_bos_token", "add_eos_token") and v is not None}
    try:
        tok = AutoTokenizer.from_pretrained(folder)
        rows = []
        ids, plain = tok("a")["input_ids"], tok("a", add_special_tokens=False)["input_ids"]
        at = next(i for i in range(len(ids) + 1) if ids[i:i + len(plain)] == plain)
        before, after = ids[:at], ids[at + len(plain):]
        for text in texts:
            ids, plain = tok(text)["input_ids"], tok(text, add_special_tokens=False)["input_ids"]
            if asked and file == "tokenizer.json" and obeys(model, (config or {}).get("tokenizer_class"), b'"ByteLevel"' in data):
                if "add_bos_token" in asked:
                    before = [tok.bos_token_id] if asked["add_bos_token"] else []
                if "add_eos_token" in asked:
                    after = [tok.eos_token_id] if asked["add_eos_token"] else []
                if None in before + after:
                    raise ValueError("the token is not set")
                ids = before + plain + after
            rows.append([text, ids, plain])
        return out, {"strings": rows}
    except Exception as e:
        return out, {"error": str(e).split("\n")[0][:200]}


def main(out, count, step):
    texts = MARKED + [s for s in strings(4 * count) if "\x00" not in s][:count]
    cases = asked = 0
    with tempfile.TemporaryDirectory() as folder, gzip.GzipFile(out, "wb", mtime=0) as z:
        write = lambda row: z.write((json.dumps(row) + "\n").encode())
        for kind, file, data, pairs in kinds():
            write({"kind": kind, "file": file, "text": base64.b64encode(data).decode()})
            added = json.loads(data)["added_tokens"] if file == "tokenizer.json" else [{"id": 1, **token("<s>")}, {"id": 2, **token("</s>")}]
            size = 400
            if file == "tokenizer.json":
                size = Tokenizer.from_str(data.decode()).get_vocab_size()

            def case(name, model, config, files):
                nonlocal cases, asked
                asked += 1
                if asked % step:
                    return
                written, result = encode(folder, config, files, file, data, model, texts)
                write({"kind": kind, "case": name, "files": written, **result})
                cases += 1

            for model, cls in pairs:
                base = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
                if cls:
                    base["tokenizer_class"] = cls
                case(f"{model} {cls}", model, base, {})
                case(f"{model} {cls}: no tokens", model, {"tokenizer_class": cls} if cls else {}, {})
                for name, changes, files in settings(added, size):
                    case(f"{model} {cls}: {name}", model, {**base, **changes}, files)
            for model in MODELS:
                for cls in CLASSES:
                    case(f"class {cls} of {model}", model, {"tokenizer_class": cls} if cls else None, {})
            print(kind, cases, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 150, int(sys.argv[3]) if len(sys.argv) > 3 else 1)
