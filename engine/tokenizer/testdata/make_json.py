"""Small tokenizer.json files with every step that is supported, and the ids that the package tokenizers gives hard strings.

usage: make_json.py OUT_DIR SPM_DIR [COUNT]

Writes OUT_DIR/NAME/tokenizer.json and OUT_DIR/NAME/expected.jsonl.gz: [text, ids, ids with special tokens, decoded text] a line. SPM_DIR is what
make_spm.py wrote: rules for Precompiled are taken from there.
"""
import gzip, json, os, sys, unicodedata
import sentencepiece.sentencepiece_model_pb2 as proto
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from hard_strings import strings
from make_spm import corpus


def charsmap(spm_dir):
    m = proto.ModelProto()
    with open(os.path.join(spm_dir, "bpe-rules", "tokenizer.model"), "rb") as f:
        m.ParseFromString(f.read())
    return m.normalizer_spec.precompiled_charsmap


def build(spm_dir):
    N, P, D = normalizers, pre_tokenizers, decoders
    bytes_ = ["<0x%02X>" % b for b in range(256)]

    def unigram(normalizer, pre, decoder, byte_fallback=False, extra=()):
        t = Tokenizer(models.Unigram())
        t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoder
        t.train_from_iterator(corpus(), trainers.UnigramTrainer(vocab_size=260, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
        if byte_fallback:
            j = json.loads(t.to_str())
            j["model"]["vocab"] += [[b, -20.0] for b in bytes_]
            j["model"]["byte_fallback"] = True
            t = Tokenizer.from_str(json.dumps(j))
        t.add_tokens(list(extra))
        return t

    def bpe(normalizer, pre, decoder, **options):
        t = Tokenizer(models.BPE(unk_token="<unk>", **options))
        t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre, decoder
        t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=330, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False))
        return t

    meta = lambda scheme, split: P.Metaspace(prepend_scheme=scheme, split=split)
    out = {}
    t = unigram(N.Sequence([N.Nmt(), N.NFKC(), N.Replace(Regex(" {2,}"), " ")]), meta("always", True), D.Metaspace(prepend_scheme="always", split=True), extra=[AddedToken("<tool>", normalized=True), AddedToken("wor", single_word=True, normalized=False)])
    t.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    out["unigram-always"] = t
    t = unigram(N.Precompiled(charsmap(spm_dir)), meta("first", True), D.Metaspace(prepend_scheme="first", split=True), extra=[AddedToken("<tool>", special=True, lstrip=True, rstrip=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    out["unigram-first"] = t
    out["unigram-bytes"] = unigram(N.Strip(left=True, right=True), meta("never", False), D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse()]), byte_fallback=True)
    out["unigram-words"] = unigram(N.NFKD(), P.Sequence([P.WhitespaceSplit(), meta("always", True)]), D.Metaspace())
    out["bpe-plain"] = bpe(N.Sequence([N.NFD(), N.StripAccents(), N.Lowercase()]), P.Sequence([P.Whitespace(), P.Digits(individual_digits=False), P.Punctuation("contiguous")]), D.Fuse())
    out["bpe-punctuation"] = bpe(N.NFC(), P.Sequence([P.Punctuation("merged_with_previous"), P.Digits(individual_digits=True)]), D.Fuse(), fuse_unk=True)
    for behavior in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        pre = P.Sequence([P.Split(Regex("[aeiou]|  +"), behavior, invert=False), P.Split("t", behavior, invert=behavior in ("removed", "contiguous"))])
        out["bpe-split-" + behavior.replace("_", "-")] = bpe(None, pre, D.Fuse())
    return out


def main(out, spm_dir, count):
    for name, tok in build(spm_dir).items():
        os.makedirs(os.path.join(out, name), exist_ok=True)
        with open(os.path.join(out, name, "tokenizer.json"), "w") as f:
            f.write(tok.to_str())
        with gzip.GzipFile(os.path.join(out, name, "expected.jsonl.gz"), "wb", mtime=0) as f:
            for text in strings(count):
                if any(unicodedata.ucd_3_2_0.category(c) == "Cn" and not unicodedata.category(c) == "So" for c in text):
                    continue  # the package has tables of several ages: newer characters are marks or signs to one side only
                ids = tok.encode(text, add_special_tokens=False).ids
                f.write((json.dumps([text, ids, tok.encode(text).ids, tok.decode(ids, skip_special_tokens=False)]) + "\n").encode())
        print(name, os.path.getsize(os.path.join(out, name, "tokenizer.json")))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 20000)
