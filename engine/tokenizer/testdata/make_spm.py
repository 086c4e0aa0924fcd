"""Small SentencePiece models, and the ids that the package sentencepiece gives hard strings.

usage: make_spm.py OUT_DIR [COUNT]

Writes OUT_DIR/NAME/tokenizer.model and OUT_DIR/NAME/expected.jsonl.gz: [text, ids, decoded text, ends] a line, where ends are the bytes of the
text at which the tokens end; null where the normaliser changes the text.
"""
import gzip, io, json, os, random, sys, tempfile, unicodedata
import sentencepiece as spm
from hard_strings import PIECES, strings

WORDS = "the a of to and in that it is was for on as with his they at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find long down day did get come made may part".split()



def rules():
    """A part of NFKC, as a rule file: the charsmap of the whole would be 240 KB."""
    lines = ["9\t20", "A\t20", "D\t20"]
    for c in [*range(0xA0, 0x100), *range(0x2000, 0x2070), *range(0x2150, 0x2190), *range(0xFB00, 0xFB07), *range(0xFF01, 0xFF5F), 0x3000]:
        to = unicodedata.normalize("NFKC", chr(c))
        if to != chr(c):
            lines.append("%X\t%s" % (c, " ".join("%X" % ord(x) for x in to)))
    for base in "aeiouAEIOUnc":
        for mark in (0x300, 0x301, 0x302, 0x303, 0x308):
            to = unicodedata.normalize("NFC", base + chr(mark))
            if len(to) == 1:
                lines.append("%X %X\t%X" % (ord(base), mark, ord(to)))
    f = tempfile.NamedTemporaryFile("w", suffix=".tsv", delete=False)
    f.write("\n".join(lines) + "\n")
    f.close()
    return f.name


RULES = rules()
MODELS = {
    "bpe-bytes": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<tool>", "▁▁▁▁"], vocab_size=700),
    "bpe-rules": dict(model_type="bpe", normalization_rule_tsv=RULES, vocab_size=400),
    "unigram-rules": dict(model_type="unigram", normalization_rule_tsv=RULES, vocab_size=270, user_defined_symbols=["<tool>"]),
    "unigram-bytes": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False, vocab_size=520),
}


def corpus():
    r = random.Random(7)
    for _ in range(4000):
        words = [r.choice(WORDS) for _ in range(r.randint(3, 12))]
        if r.random() < 0.2:
            words.append(r.choice([p for p in PIECES if "\x00" not in p and p.strip()]))
        yield " ".join(words).capitalize() + r.choice([".", "?", "!", ", 1984", ": 42", " (2024)"])


def main(out, count):
    for name, options in MODELS.items():
        os.makedirs(os.path.join(out, name), exist_ok=True)
        model = io.BytesIO()
        spm.SentencePieceTrainer.train(sentence_iterator=corpus(), model_writer=model, character_coverage=0.995, minloglevel=2, num_threads=1, **options)
        with open(os.path.join(out, name, "tokenizer.model"), "wb") as f:
            f.write(model.getvalue())
        sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
        control = [sp.id_to_piece(i) for i in range(sp.get_piece_size()) if sp.is_control(i)]
        with gzip.GzipFile(os.path.join(out, name, "expected.jsonl.gz"), "wb", mtime=0) as f:
            for text in strings(count):
                if any(c in text for c in control) or "\x00" in text:
                    continue  # the package never makes a control piece of a text
                ids = sp.encode(text, return_type=int)
                ends = None
                if options.get("normalization_rule_name") == "identity":
                    ends = [p.end for p in sp.encode(text, return_type="proto").pieces]
                f.write((json.dumps([text, ids, sp.decode(ids), ends]) + "\n").encode())
        print(name, os.path.getsize(os.path.join(out, name, "tokenizer.model")))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20000)
