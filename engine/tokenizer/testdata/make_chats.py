"""Renders chats with chat templates by apply_chat_template of transformers 5.

make_chats.py FOLDER OUT.json: every template FOLDER/*.jinja with every chat below. The
templates in chats/ are our own; they use what the templates of public models use. A folder
with templates of public models can be given as well: engine/tokenizer/long_test.go says how.
"""

import datetime
import json
import pathlib
import sys

import transformers.utils.chat_template_utils as utils
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

NOW = (2024, 3, 7, 9, 5, 3)


class Fixed(datetime.datetime):
    @classmethod
    def now(cls):
        return cls(*NOW)


utils.datetime = Fixed

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Looks up <the weather> & \"more\" – in °C.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "A city, e.g. Zürich"},
                "days": {"type": "integer", "enum": [1, 2], "default": 1.0},
                "where": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": ["number", "null"]}}}},
            },
            "required": ["city"],
        },
        "return": {"type": "string"},
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches.\nIn lines.",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string"},
                "limit": {"type": "integer", "minimum": -5, "maximum": 1e22},
                "exact": {"type": "boolean", "default": False, "nullable": True},
                "filter": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            },
            "additionalProperties": False,
        },
    },
}
BARE = {"name": "ping", "description": "Pings.", "parameters": {"type": "object", "properties": {}}}


def call(name, arguments, identity="call00001"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def tool(text, **more):
    return {"role": "tool", "content": text, **more}


TURNS = [user("Hi <you> & 'me'"), assistant("Hello!\n"), user("  And now?  ")]
CALLED = [
    user("Weather in Zürich?"),
    assistant("", tool_calls=[call("get_weather", {"city": "Zürich", "days": 2, "far": 1.5e-7, "deep": {"a": [None, True]}})]),
    tool("12 °C", name="get_weather", tool_call_id="call00001"),
]
CHATS = {
    "one": {"messages": [user("Hello?")], "add_generation_prompt": True},
    "turns": {"messages": TURNS, "add_generation_prompt": True},
    "turns without prompt": {"messages": TURNS + [assistant("Now.")]},
    "system": {"messages": [system("Be brief.\n")] + TURNS, "add_generation_prompt": True},
    "two systems": {"messages": [system("A"), user("B"), system("C"), user("D")], "add_generation_prompt": True},
    "tools": {"messages": [user("Weather?")], "tools": [WEATHER, SEARCH], "add_generation_prompt": True},
    "tools and system": {"messages": [system("Use tools."), user("Weather?")], "tools": [WEATHER], "add_generation_prompt": True},
    "bare tools": {"messages": [user("Ping")], "tools": [BARE], "add_generation_prompt": True},
    "no tools": {"messages": [user("Hello?")], "tools": [], "add_generation_prompt": True},
    "called": {"messages": CALLED, "tools": [WEATHER], "add_generation_prompt": True},
    "called and told": {"messages": CALLED + [assistant("It is 12 °C."), user("Thanks")], "tools": [WEATHER], "add_generation_prompt": True},
    "two calls": {
        "messages": [
            user("Both?"),
            assistant(
                "Let me see.",
                tool_calls=[call("get_weather", {"city": "Bern"}, "call00001"), call("search", {"query": "a\"b", "limit": 3}, "call00002")],
            ),
            tool("1", name="get_weather", tool_call_id="call00001"),
            tool("2", name="search", tool_call_id="call00002"),
            assistant("Done."),
        ],
        "tools": [WEATHER, SEARCH],
    },
    "arguments as text": {
        "messages": [user("x"), assistant(None, tool_calls=[call("search", '{"query": "é", "limit": 1.0}')]), tool('{"ok": true}')],
        "tools": [SEARCH],
        "add_generation_prompt": True,
    },
    "thoughts": {
        "messages": [user("2+2?"), assistant("4", reasoning_content="I add.\nIt is 4."), user("3+3?")],
        "add_generation_prompt": True,
    },
    "thoughts by another name": {
        "messages": [user("2+2?"), assistant("4", reasoning="I add."), user("3+3?"), assistant("6", thinking="I add again.")],
    },
    "thoughts in the text": {
        "messages": [user("2+2?"), assistant("<think>\nhm\n</think>\n\n4"), user("3+3?"), assistant("<think>ah</think>6")],
    },
    "thinking off": {"messages": TURNS, "variables": {"enable_thinking": False, "thinking": False}, "add_generation_prompt": True},
    "thinking on": {"messages": TURNS, "variables": {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}, "add_generation_prompt": True},
    "parts": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Look."}]},
            {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "three"}]},
            {"role": "user", "content": [{"type": "text", "text": "four"}]},
        ],
        "add_generation_prompt": True,
    },
    "image": {
        "messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What is it?"}]}],
        "add_generation_prompt": True,
    },
    "documents": {
        "messages": [user("Who?")],
        "documents": [{"title": "T", "text": "Somebody."}, {"title": "U", "text": "Nobody\n", "n": 1}],
        "add_generation_prompt": True,
    },
    "continued": {"messages": [user("Count."), assistant("One, two, ")], "continue": "content"},
    "continued parts": {
        "messages": [user("Count."), {"role": "assistant", "content": [{"type": "text", "text": "One, two,"}]}],
        "continue": "content",
    },
    "continued thought": {"messages": [user("Count."), assistant("", reasoning_content="I think")], "continue": "reasoning_content"},
    "empty text": {"messages": [user(""), assistant(""), user(" ")], "add_generation_prompt": True},
    "null text": {"messages": [user("x"), assistant(None), user("y")], "add_generation_prompt": True},
    "two users": {"messages": [user("a"), user("b")], "add_generation_prompt": True},
    "other roles": {"messages": [{"role": "developer", "content": "d"}, user("b"), {"role": "critic", "content": "c", "name": "joe"}], "add_generation_prompt": True},
    "no messages": {"messages": []},
}


def rendered(template, chat):
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 3}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>")),
        bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
    )
    try:
        text = tokenizer.apply_chat_template(
            chat["messages"],
            tools=chat.get("tools"),
            documents=chat.get("documents"),
            chat_template=template,
            add_generation_prompt=chat.get("add_generation_prompt", False),
            continue_final_message=chat.get("continue", False),
            tokenize=False,
            **chat.get("variables", {}),
        )
        return {"text": text}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def main():
    folder, out = sys.argv[1:]
    templates = {}
    for file in sorted(pathlib.Path(folder).glob("*.jinja")):
        text = file.read_bytes().decode()
        templates[file.stem] = {"text": text, "renders": {name: rendered(text, chat) for name, chat in CHATS.items()}}
    result = {"now": "%04d-%02d-%02dT%02d:%02d:%02dZ" % NOW, "chats": CHATS, "templates": templates}
    pathlib.Path(out).write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


main()
