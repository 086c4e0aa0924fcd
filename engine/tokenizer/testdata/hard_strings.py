"""Strings that are hard to tokenise: scripts, marks, spaces, code, special tokens."""
import random

PIECES = ["the", " and", "Hello", "world", "'s", "'LL", "don't", "\n", "\n\n", "\r\n", "\t", "  ", "   ", "        ", "1", "12", "123", "1234", "3.14", "1,000,000",
          "naïve", "café", "Ünïcödé", "ß", "ΑΒΓ", "привет", "мир", "你好", "世界", "こんにちは", "カタカナ", "한국어", "العربية", "עברית", "हिन्दी", "ไทย",
          "😀", "👩‍👩‍👧", "🇩🇪", "é", "é", "ﬁ", "½", "²", "Ⅷ", " ", " ", "　", "​", "‍", "﻿", "\x00", "\x07", "\x7f", "…", "—", "“", "”",
          "def f(x):", "return", "    if x == 1:", "{\"a\": [1, 2]}", "</s>", "<s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "[INST]", "[/INST]",
          "http://a.b/c?d=e&f", "a_b_c", "camelCase", "SCREAMING", "x" * 30, "ab" * 20, "!!!", "...", "@#$%^&*()", "\\n", "'", "\"", "`", "~", "_", "▁", "Ġ", "Ċ"]


def strings(count):
    r = random.Random(20240422)
    yield ""
    yield " "
    yield "\n"
    for n in range(count - 3):
        kind = n % 5
        if kind == 0:
            yield "".join(r.choice(PIECES) for _ in range(r.randint(1, 8)))
        elif kind == 1:
            yield " ".join(r.choice(PIECES) for _ in range(r.randint(1, 8)))
        elif kind == 2:
            yield "".join(chr(r.choice([r.randint(0, 0x7f), r.randint(0x80, 0x24f), r.randint(0x370, 0x7ff), r.randint(0x900, 0xd7ff), r.randint(0xe000, 0xffff), r.randint(0x10000, 0x1ffff)])) for _ in range(r.randint(1, 20)))
        elif kind == 3:
            yield "".join(r.choice("abcdefghijklmnopqrstuvwxyzABC 0123456789.,'\n-") for _ in range(r.randint(1, 60)))
        else:
            word = r.choice(PIECES)
            yield word * r.randint(1, 12) + " " * r.randint(0, 5) + r.choice(PIECES)
