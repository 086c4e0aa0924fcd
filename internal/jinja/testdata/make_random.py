"""Writes random templates with what the reference renders, in the form of expressions.json.

make_random.py SEED COUNT OUT.json: random.json is of the seed 4. The templates are short ones
that render; whoever works on the interpreter runs ten thousand of them with
ATTNSCOPE_EXPRESSIONS=OUT.json, which also shows what is refused without need.
"""

import copy
import json
import random
import re
import signal
import sys
import warnings

import transformers.utils.chat_template_utils as utils

warnings.filterwarnings("ignore")
SEED, COUNT, OUT = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
R = random.Random(SEED)
VARIABLES = {
    "messages": [
        {"role": "user", "content": "hi é\n there ", "name": "A"},
        {"role": "assistant", "content": "x, Y_z", "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": "q"}}}]},
        {"role": "user", "content": [{"type": "text", "text": "t1"}, {"type": "image"}]},
    ],
    "m": {
        "a": "q,x,r", "list": [3, 1, 2], "float": 1.5, "neg": -3, "t": True, "n": None, "s": "  Hello World\n\n",
        "d": {"k": [1, "two", None, False], "z": {}}, "e": "", "items": 5,
    },
    "tools": None,
    "bos_token": "<s>",
}
NAMES = "m messages tools x bos_token ns lst v".split()
SLICED = "m.list m.a m.s messages messages[0] m lst v x".split()
ATTRIBUTES = """a list float neg t n s d e role content name tool_calls nope items keys values k z function arguments type
    text get""".split()
FILTERS = """upper;lower;title;capitalize;trim;length;list;first;last;join;join(',');string;int;float;abs;round;sort;
    reverse;unique;sum;min;max;tojson;tojson(indent=2);tojson(sort_keys=true);
    tojson(ensure_ascii=true,separators=(',',':'));default('D');default('D',true);d(1);dictsort;items;map('upper');
    map(attribute='role');map('string');map(attribute='function.name');select;reject;select('string');
    selectattr('role');selectattr('role','equalto','user');rejectattr('role','eq','user');selectattr('type','defined');
    batch(2);slice(2);groupby('role');replace('e','E');replace('\\n',' ',1);indent;indent(2,true);
    indent('>',false,true);wordcount;center(20);truncate(8);truncate(8,true,'~',0);urlencode;escape;safe;e;count;
    attr('a');format(1);sort(reverse=true);sort(attribute='role');round(1);round(2,'floor');int(7);float(0.5);
    first|default('none');list|length"""
TESTS = """defined;undefined;none;string;number;mapping;sequence;iterable;boolean;integer;float;true;false;odd;even;callable;
    upper;lower;eq(1);ne 'a';in [1,'a'];divisibleby 2;gt 1;lt(5);sameas none;escaped;ge 2"""
METHODS = """strip();lstrip();rstrip('\\n');split(',');split();split(' ',1);rsplit(None,1);upper();lower();title();
    capitalize();startswith('h');endswith(('x','r'));find('l');rfind('l');replace('l','L');replace('l','L',1);
    splitlines();join(['a','b']);count('l');index('q');partition(',');rpartition('l');zfill(5);center(9,'*');ljust(5);
    rjust(5);isdigit();isalpha();isspace();isupper();islower();isalnum();swapcase();casefold();removeprefix('q');
    removesuffix('r');format(1);items();keys();values();get('a');get('nope','dd');get('nope');copy();append(1);pop();
    update({});istitle();expandtabs()"""
LITERALS = """1;0;-1;2.5;'abc';"it's";'';true;false;none;[];[1,2,3];['b','A'];{};{'a':1,'b':[2]};(1,2);();10;'a\\nb';1e20;0.1;
    'é😀';'5';'%s-%d';'{}{}';[none,1];range(3);dict(a=1);[[1,2],[3,4]]"""
FILTERS, TESTS, METHODS, LITERALS = ([e.strip() for e in text.split(";")] for text in (FILTERS, TESTS, METHODS, LITERALS))


def operand(depth):
    e = expression(depth)
    return f"({e})" if e[-1] in "0123456789" else e


def expression(depth):
    r = R.random()
    if depth <= 0 or r < 0.12:
        return R.choice(LITERALS)
    if r < 0.25:
        return R.choice(NAMES)
    if r < 0.40:
        return f"{operand(depth - 1)}.{R.choice(ATTRIBUTES)}"
    if r < 0.47:
        index = R.choice(["0", "-1", "1", "1:", ":-1", "::-1", ":2", "5", repr(R.choice(ATTRIBUTES)), expression(depth - 2)])
        return f"{R.choice(SLICED)}[{index}]"
    if r < 0.62:
        return f"{operand(depth - 1)}|{R.choice(FILTERS)}"
    if r < 0.70:
        return f"{operand(depth - 1)}.{R.choice(METHODS)}"
    if r < 0.76:
        return f"({expression(depth - 1)} is {R.choice(['', 'not '])}{R.choice(TESTS)})"
    if r < 0.84:
        return f"({expression(depth - 1)} {R.choice('+ - * / // % ~ **'.split())} {expression(depth - 1)})"
    if r < 0.90:
        operator = R.choice(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"])
        return f"({expression(depth - 1)} {operator} {expression(depth - 1)})"
    if r < 0.94:
        otherwise = R.choice(["", f" else {expression(depth - 1)}"])
        return f"({expression(depth - 1)} if {expression(depth - 1)}{otherwise})"
    if r < 0.96:
        return f"(not {expression(depth - 1)})"
    if r < 0.98:
        return f"[{expression(depth - 1)}, {expression(depth - 1)}]"
    return f"{{'k': {expression(depth - 1)}, 'j': {expression(depth - 1)}}}"


def tag(text):
    return "{%" + R.choice(["", "-", "", "+"]) + " " + text + " " + R.choice(["", "-", "", "+"]) + "%}"


def statement(depth):
    r = R.random()
    space = R.choice(["", " ", "\n", "\n  ", "  \n", "x"])
    inner = lambda: statement(depth - 1)
    if depth <= 0 or r < 0.45:
        left, right = R.choice(["", "-", ""]), R.choice(["", "-", ""])
        return space + "{{" + left + " " + expression(R.choice([1, 2, 2, 3])) + " " + right + "}}" + R.choice(["", "\n", " "])
    if r < 0.60:
        otherwise = tag("else") + inner() if R.random() < 0.5 else ""
        return space + tag("if " + expression(2)) + inner() + otherwise + tag("endif")
    if r < 0.78:
        items = R.choice(["messages", "m.items()", "m.list", "m|dictsort", expression(2), expression(2)])
        condition = R.choice(["", " if " + expression(2)])
        begin = R.choice([
            "", "{{ loop.index }}{{ loop.last }}{{ loop.length }}", "{% if loop.first %}{% continue %}{% endif %}",
            "{% if loop.index > 1 %}{% break %}{% endif %}", "{{ loop.previtem|default('-') }}{{ loop.revindex0 }}",
        ])
        otherwise = tag("else") + inner() if R.random() < 0.3 else ""
        return space + tag(f"for {R.choice(['v', 'k, v'])} in {items}{condition}") + begin + inner() + otherwise + tag("endfor")
    if r < 0.88:
        return space + tag(f"set {R.choice(['x', 'v', 'lst', 'ns.q', 'ns.w'])} = {expression(2)}")
    if r < 0.91:
        return space + tag("set v") + inner() + tag("endset")
    if r < 0.94:
        return space + tag("filter " + R.choice(["upper", "trim", "replace('a','b')", "indent"])) + inner() + tag("endfilter")
    if r < 0.97:
        arguments = R.choice(["", "1", "1,3", "b=5", "a=1"])
        return tag("macro mm(a, b=2)") + inner() + "{{ a }}{{ b }}" + tag("endmacro") + "{{ mm(" + arguments + ") }}"
    return tag("with v=" + expression(2)) + inner() + tag("endwith")


class TooLong(Exception):
    pass


def too_long(*_):
    raise TooLong


signal.signal(signal.SIGALRM, too_long)
cases = []
while len(cases) < COUNT:
    template = "{% set ns = namespace(q=1, w='') %}{% set lst = m.list %}" + "".join(statement(3) for _ in range(R.randint(1, 3)))
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        text = utils._compile_jinja_template(template).render(**copy.deepcopy(VARIABLES))
        text.encode()
    except Exception:
        continue
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if re.search("(?i) at 0x[0-9a-f]+", text) or len(text) + len(template) > 400:
        continue
    cases.append({"template": template, "text": text})
with open(OUT, "w") as out:
    json.dump({"variables": VARIABLES, "cases": cases}, out, ensure_ascii=False, indent=0)
    out.write("\n")
