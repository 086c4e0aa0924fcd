"""Scores answers by the published code of LongBench and RULER.

    python make_goldens.py METRICS.py CONSTANTS.py > goldens.jsonl

METRICS.py is metrics.py of github.com/THUDM/LongBench, whose packages jieba, fuzzywuzzy
and rouge 1.0.1 must be installed, without python-Levenshtein. CONSTANTS.py is
scripts/eval/synthetic/constants.py of github.com/NVIDIA/RULER. Each line has a scorer, a
reply, its references, the classes, and the score.
"""

import importlib.util
import inspect
import json
import random
import re
import sys


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


metrics = load("metrics", sys.argv[1])
constants = load("constants", sys.argv[2])
assert metrics.fuzz.SequenceMatcher.__module__ == "difflib"
r = random.Random(23)

WORDS = """the The a an A river Theory of banana Anna ΟΔΟΣ İstanbul naïve café the-end O'Neill U.S. 3.14 1,000
42 number _x_ Straße 北京 a\u0301 x² ½ ² … “quoted” Paris France in is was built by 1889 Eiffel tower tall metres
and not all of them over under again never green blue sun night committee agreed budget rose fell percent""".split()
SPACES = [" ", " ", " ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\x1c", ". ", ", ", "."]
CLASSES = ["Number", "Number of", "Number of something", "Date", "Place", "Individual", "Organization", "Other number",
           "Description of a person", "Description", "Age", "Other entity", "Other location", "Country", "City", "State"]
CODE = ["for i in range(n):", "    return self.value + other", "if (a != b) { // compare", "x = y  # assign", "```python",
        "", "int main(void) {", "    print(f\"{a} {b}\")", "return x;", "def f(x, y=None):", "\tfor (;;) break;"]


def text(low, high):
    out = ""
    for _ in range(r.randint(low, high)):
        out += r.choice(WORDS) + r.choice(SPACES)
    return out


def changed(source):
    """A text with some words dropped, replaced or moved."""
    parts = re.split(r"(\s+)", source)
    for _ in range(r.randint(0, max(1, len(parts) // 3))):
        at = r.randrange(len(parts))
        kind = r.randrange(3)
        if kind == 0:
            parts[at] = ""
        elif kind == 1:
            parts[at] = r.choice(WORDS)
        else:
            other = r.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
    return "".join(parts)


def prose(low, high):
    references = [text(low, high) for _ in range(r.randint(1, 3))]
    reply = changed(r.choice(references)) if r.random() < 0.9 else text(0, high)
    return reply, references, None


def count():
    want = str(r.randint(1, 30))
    reply = " ".join(r.choice([want, want, str(r.randint(1, 30)), "there", "are", "٣", "x" + want]) for _ in range(r.randint(0, 6)))
    return reply, [want], None


def retrieval(word):
    n = r.randint(1, 30)
    reply = " ".join(r.choice([word + str(n), str(n), str(r.randint(1, 30)), "or", word]) for _ in range(r.randint(0, 5)))
    return reply, [r.choice(["", "It is " + word + "x, "]) + word + str(n)], None


def classification():
    named = r.sample(CLASSES, r.randint(0, 5))
    if r.random() < 0.3:  # two of its substrings are classes, one after the other
        named = ["Number of something"]
    return "Type: " + ", ".join(named) + r.choice(["", "\n", " or so"]), [r.choice(named or CLASSES)], CLASSES


def code():
    reference = r.choice(CODE) + r.choice(["", " " + text(1, 4).replace("\n", " "), text(40, 60).replace("\n", " ")])
    line = list(reference)
    for _ in range(r.randint(0, 1 + len(line) // 4)):
        if line:
            line[r.randrange(len(line))] = r.choice("abcxyz (){}=+")
    lines = [r.choice(CODE) for _ in range(r.randint(0, 2))] + ["".join(line)] + [r.choice(CODE)]
    return r.choice(["", "\n", "\n\n"]) + "\n".join(lines), [reference], None


def ruler():
    references = [r.choice(WORDS) + str(r.randint(0, 99)) for _ in range(r.randint(1, 5))]
    found = [x.swapcase() if r.random() < 0.3 else x for x in references if r.random() < 0.6]
    return r.choice(["", "\x07 "]) + r.choice([" ", "\x01", "\n", ", "]).join(found + [text(0, 3)]), references, None


def published(function):
    def score(reply, references, classes):
        return max([0.0] + [float(function(reply, x, all_classes=classes)) for x in references])
    return score


def qa_f1(reply, reference, **_):
    return metrics.qa_f1_score(reply, reference)


def string_match(function):
    extra = ["en"] if len(inspect.signature(function).parameters) > 2 else []  # a fork adds the language

    def score(reply, references, _):
        reply = re.sub(r"[\x00-\x1f]", "\n", reply.strip()).strip()  # postprocess_pred of RULER's evaluate.py
        return function([reply] * 7, [references] * 7, *extra) / 100
    return score


CASES = [
    ("qa_f1", published(qa_f1), lambda: prose(1, 14)),
    ("rouge_l", published(metrics.rouge_score), lambda: prose(0, 60)),
    ("classification", published(metrics.classification_score), classification),
    ("retrieval", published(metrics.retrieval_score), lambda: retrieval("Paragraph ")),
    ("retrieval_zh", published(metrics.retrieval_zh_score), lambda: retrieval("段落")),
    ("count", published(metrics.count_score), count),
    ("code_sim", published(metrics.code_sim_score), code),
    ("match_all", string_match(constants.string_match_all), ruler),
    ("match_part", string_match(constants.string_match_part), ruler),
]

for name, score, make in CASES:
    for _ in range(60 if name in ("qa_f1", "rouge_l", "code_sim") else 30 if not name.startswith("match") else 100):
        reply, references, classes = make()
        row = {"scorer": name, "reply": reply, "references": references, "score": score(reply, references, classes)}
        if classes:
            row["classes"] = classes
        print(json.dumps(row, ensure_ascii=False))
