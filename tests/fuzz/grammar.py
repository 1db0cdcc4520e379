"""Odd inputs made of right ones: values replaced, moved and renamed, tokens lost, files torn."""

from __future__ import annotations

import copy
import datetime
import io
import json
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np

Random = random.Random
Maker = Callable[[Random], Any]

_WORDS = (
    *("", "~", "grid_search", "choice", "when", "then", "else", "uniform", "lr", "run", "config"),
    *("..", "../../x", "/", "/dev/zero", "a.b", ":x", "~nobody/x", "os:system", "no.such.module"),
    *("seed", "env", "name", "DynaMITE", "PPO", "None", "null", "true", "1e5", "0x_", "-1", "nan"),
    *("\x00", "\ud800", "a\nb", "é", "\u202e", "x" * 300, "\\", "<script>", "{{ x }}", "%s", "[b]"),
)
_NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 64, 1_000, -1_000, 10**18, 2**31, 2**32, 2**63, 2**64, 10**30, -(10**30)),
    *(10**400, 0.0, -0.0, 0.5, 1.5, -2.5, 1e-300, 1e300, -1e300, 1e18),
    *(float("nan"), float("inf"), float("-inf")),
)
_SNIPPETS = (
    *(":", "- ", "  ", "\t", "{", "}", "[", "]", ",", "&a ", "*a", "<<: ", "<<: *a", "|", ">", "%"),
    *("'", '"', "# ", "@", "\x07", "\x00", "---\n", "...\n", "? ", "[" * 60, "{a: " * 60, "é", "`"),
    *("!!python/object:os.system ", "!!bool ", "!!int ", "!!timestamp ", "!!binary ", "!!set "),
    *("!!float ", "!!null ", "!!str ", "!!omap ", "!a ", "2024-13-45", "0b_", "1:2:3", "=", "~"),
    *(
        "9" * 5_000,
        "0x" + "f" * 3_000,
        "1e9999",
        "NaN",
        "-Infinity",
        "\\ud800",
        '"\\ud800"',
        ".nan",
    ),
    *("[" * 3_000, '{"a":' * 3_000, "x" * 5_000, "true", "null", "-", '"', "\\"),
)
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\[\]{}:,]|[^\s\[\]{}:,"]+|\s+|"')


def word(pick: Random) -> str:
    """A name, right in some place or in none."""
    if pick.random() < 0.7:
        return pick.choice(_WORDS)
    return "".join(
        chr(pick.choice((97, 98, 32, 47, 233, 0x4E2D))) for _ in range(pick.randrange(6))
    )


def scalar(pick: Random) -> Any:
    """One value."""
    kinds: tuple[Maker, ...] = (
        *(word, word, lambda p: p.choice(_NUMBERS), lambda p: p.choice(_NUMBERS)),
        *(lambda p: None, lambda p: p.random() < 0.5, lambda p: p.randrange(-9, 100)),
    )
    return pick.choice(kinds)(pick)


def value(pick: Random, depth: int = 3) -> Any:
    """A value with others in it."""
    if depth == 0 or pick.random() < 0.6:
        return scalar(pick)
    if pick.random() < 0.03:
        return _nested(pick.choice((30, 50, 90)))
    if pick.random() < 0.5:
        return [value(pick, depth - 1) for _ in range(pick.randrange(4))]
    return {word(pick): value(pick, depth - 1) for _ in range(pick.randrange(4))}


def _nested(depth: int) -> Any:
    made: Any = 1
    for level in range(depth):
        made = [made] if level % 2 else {"a": made}
    return made


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in nested dicts and lists."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        inner = list(node.items())
    elif isinstance(node, list):
        inner = list(enumerate(node))
    found = [path]
    for key, below in inner:
        if len(path) < 30:
            found += places(below, (*path, key))
    return found


def at(node: Any, path: tuple[Any, ...]) -> Any:
    """What stands at a path."""
    for key in path:
        node = node[key]
    return node


def changed(data: Any, pick: Random, new: Maker = value) -> Any:
    """A copy with one to three things replaced, taken away, renamed, added or moved."""
    data = copy.deepcopy(data)
    for _ in range(pick.choice((1, 1, 1, 2, 3))):
        data = _change(data, pick, new)
    return data


def _change(data: Any, pick: Random, new: Maker) -> Any:
    known = places(data)
    path = pick.choice(known)
    if not path:
        return new(pick) if len(known) == 1 or pick.random() < 0.2 else data
    above, last = at(data, path[:-1]), path[-1]
    how = pick.choice(("replace", "replace", "replace", "remove", "rename", "add", "move"))
    if how == "replace":
        above[last] = new(pick)
    elif how == "remove":
        del above[last]
    elif how == "move":
        above[last] = copy.deepcopy(at(data, pick.choice(known)))
    elif isinstance(above, list):
        above.insert(pick.randrange(len(above) + 1), new(pick))
    elif how == "rename":
        above[word(pick)] = above.pop(last)
    else:
        above[word(pick)] = new(pick)
    return data


def broken(text: str, pick: Random) -> str:
    """A text in which one to four tokens were lost, doubled, swapped, replaced or put in."""
    tokens = _TOKEN.findall(text)
    for _ in range(pick.randrange(1, 5)):
        place = pick.randrange(len(tokens) + 1) if tokens else 0
        how = pick.choice(("insert", "replace", "remove", "double", "swap", "cut"))
        if how == "insert" or place == len(tokens):
            tokens.insert(place, pick.choice(_SNIPPETS))
        elif how == "replace":
            tokens[place] = pick.choice(_SNIPPETS)
        elif how == "remove":
            del tokens[place : place + pick.randrange(1, 4)]
        elif how == "double":
            tokens[place:place] = tokens[place : place + pick.randrange(1, 6)]
        elif how == "swap":
            other = pick.randrange(len(tokens))
            tokens[place], tokens[other] = tokens[other], tokens[place]
        elif pick.random() < 0.3:
            tokens = tokens[:place]
    return "".join(tokens)


def torn(content: bytes, pick: Random) -> bytes:
    """A file cut short, with bytes changed, in another encoding, or of another kind."""
    how = pick.randrange(7)
    if how == 0:
        return content[: pick.randrange(len(content) + 1)]
    if how == 1:
        return pick.choice((b"", b"\x00" * 64, b"\xef\xbb\xbf" + content, b"\xff\xfe" + content))
    if how == 2:
        return content.decode("utf-8", "replace").encode(pick.choice(("utf-16", "utf-32", "utf-7")))
    if how == 3:
        return pick.choice((b"\x80\x04K\x01.", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"[" * 100_000))
    if how == 4:
        return pick.randbytes(pick.randrange(200))
    changed_bytes = bytearray(content)
    for _ in range(pick.randrange(1, 6) if content else 0):
        changed_bytes[pick.randrange(len(content))] = pick.randrange(256)
    return bytes(changed_bytes)


def file(data: Any, pick: Random, write: Callable[[Any], str], new: Maker = value) -> bytes:
    """A text file of changed data, or of right data torn."""
    how = pick.random()
    if how < 0.65:
        return write(changed(data, pick, new)).encode("utf-8", "surrogatepass")
    text = write(data)
    if how < 0.9:
        return broken(text, pick).encode("utf-8", "surrogatepass")
    return torn(text.encode(), pick)


def json_text(data: Any) -> str:
    """JSON, also of what JSON has no word for."""
    return json.dumps(data, default=str)


def dated(pick: Random) -> Any:
    """A value for YAML, which knows dates."""
    return datetime.date(2024, 1, pick.randrange(1, 29)) if pick.random() < 0.03 else value(pick)


def arrays(content: dict[str, Any], pick: Random) -> bytes:
    """An ``.npz`` file with one or two arrays changed, or torn."""
    content = dict(content)
    for _ in range(pick.choice((1, 1, 2))):
        name = pick.choice(sorted(content))
        content[name] = _array(np.asarray(content[name]), pick)
        if pick.random() < 0.15:
            content[word(pick).replace("/", "_").replace("\x00", "") or "x"] = content.pop(name)
        elif pick.random() < 0.1:
            del content[name]
        if not content:
            break
    made = io.BytesIO()
    try:
        np.savez(made, **content)
    except UnicodeError:
        return b""
    return torn(made.getvalue(), pick) if pick.random() < 0.2 else made.getvalue()


def _array(array: Any, pick: Random) -> Any:
    how = pick.randrange(8)
    if how == 0:
        return array.reshape(-1)
    if how == 1:
        return array[..., None]
    if how == 2:
        return array[: len(array) // 2] if array.ndim else array
    if how == 3 and array.dtype.kind in "fi":
        return array.astype(pick.choice(("float64", "int8", "bool", "complex64", "float16", "U8")))
    if how == 4:
        return np.asarray(pick.choice(({"a": 1}, "x", 1.5, None, [], [[1]], 10**30)))
    spoilt = np.array(array)
    if spoilt.size and spoilt.dtype.kind in "fi":
        odd = (np.nan, np.inf, 1e38, -1.0) if spoilt.dtype.kind == "f" else (-1, 2**40, 0)
        spoilt.flat[pick.randrange(spoilt.size)] = pick.choice(odd)
    return spoilt
