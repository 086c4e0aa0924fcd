"""Hard strings and the ids that the package tokenizers gives them.

usage: make_expected.py TOKENIZERS_DIR OUT_DIR [COUNT]

For each folder with a tokenizer.json in TOKENIZERS_DIR writes OUT_DIR/NAME.jsonl.gz: [text, ids, ids with special tokens] a line.
"""
import gzip, json, os, sys
from hard_strings import strings
from tokenizers import Tokenizer


def main(source, out, count):
    os.makedirs(out, exist_ok=True)
    for name in sorted(os.listdir(source)):
        path = os.path.join(source, name, "tokenizer.json")
        if not os.path.exists(path):
            continue
        tok = Tokenizer.from_file(path)
        with gzip.GzipFile(os.path.join(out, name + ".jsonl.gz"), "wb", mtime=0) as f:
            for text in strings(count):
                row = [text, tok.encode(text, add_special_tokens=False).ids, tok.encode(text).ids]
                f.write((json.dumps(row) + "\n").encode())
        print(name)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 20000)
