"""The one reader of YAML and the one of JSON: bounded in time and memory, whatever is read.

What they give is plain: None, bool, int, float, str, list, dict (and dates, from YAML), of bounded
depth, no integer beyond the range of floats, no text that could not be written again.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rllib_metarl.errors import UserError, shortened

KeyPath = tuple[Any, ...]
MAX_DEPTH = 40
MAX_NODES = 50_000
"""Values of a YAML file at most, with what aliases and merge keys repeat."""
MOST_YAML, MOST_JSON, MOST_LINE = 1 << 20, 64 << 20, 16 << 20
"""Bytes that are read of a file at most, and of a line of a record."""
MOST_DIGITS = 308
"""Digits of the largest integers that floats hold."""


class Unreadable(ValueError):
    """Text that is not what it should be.

    Attributes:
        line: where, counted from 1; None where that is not known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(shortened(message, 400))
        self.line = line


# --- files ----------------------------------------------------------------------------------------


def expanded(path: str | Path) -> Path:
    """A path with ``~`` as the home directory; one of no user that is known here stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def check_regular(path: Path, most: int | None = None) -> None:
    """Makes sure that a path is a plain file: not a pipe or a device, which may never end.

    Raises:
        UserError: it is not, or holds more than ``most`` bytes, or cannot be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {_why(error)}") from None
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"{path}: is a directory, expected a file")
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path}: is not a regular file; copy its contents into one")
    if most is not None and found.st_size > most:
        raise UserError(f"{path}: {found.st_size:,} bytes, more than the limit of {most:,}")


def read_text(path: Path, most: int = MOST_JSON) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: there is no such file, it is too long, or it is not text.
    """
    check_regular(path, most)
    try:
        with path.open("rb") as file:
            return file.read(most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not a text file in UTF-8 (byte {error.start + 1:,}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {_why(error)}") from None


def read_lines(path: Path) -> Iterator[tuple[int, str, bool]]:
    """The lines of a file that are not empty: number, text, whether the line is ended.

    Raises:
        UserError: as in `read_text`, or a line is too long.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE + 1), b""), 1):
                if len(line) > MOST_LINE:
                    raise UserError(f"{path}:{number}: a line of more than {MOST_LINE:,} bytes")
                if line.strip():
                    yield number, line.decode("utf-8"), line.endswith(b"\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file, it is damaged; leave it out") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {_why(error)}") from None


def read_arrays(path: Path) -> dict[str, Any]:
    """The plain arrays of an ``.npz`` file, all of them; no code of the file is run.

    Raises:
        UserError: there is no such file.
        Unreadable: it holds something else, or is damaged, or holds more than fits into memory.
    """
    import zipfile

    import numpy as np

    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if 2 * size > room:
            raise Unreadable(f"it needs {2 * size:,} bytes of memory, and {room:,} are there")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # damaged archives and headers make numpy raise almost anything
        raise Unreadable(str(error) or type(error).__name__) from None


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


# --- JSON -----------------------------------------------------------------------------------------


def parse_json(text: str | bytes, *, written_by_hand: bool = False) -> Any:
    """The value that a JSON text stands for.

    Args:
        text: the JSON, bytes in UTF-8.
        written_by_hand: refuse keys that are written twice, and integers beyond floats; elsewhere
            the last counts, and integers of more than 64 bits, which numpy cannot compute with, are
            floats, or infinite.

    Raises:
        Unreadable: it is not JSON, or nested too deeply.
    """
    hooks: dict[str, Any] = {"parse_int": _integer if written_by_hand else _number}
    if written_by_hand:
        hooks["object_pairs_hook"] = _once_each
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(text, **hooks)
    except UnicodeDecodeError:
        raise Unreadable("not a text in UTF-8") from None
    except json.JSONDecodeError as error:
        place = f" at column {error.colno}" if error.lineno == 1 else ""
        raise Unreadable(f"{error.msg}{place}", error.lineno) from None
    except RecursionError:
        raise Unreadable(f"nested more than {MAX_DEPTH} levels deep") from None
    _check_plain(value, letters="\\u" in text or not text.isascii())
    return value


_NEEDED = object()
_WORDS = {str: "text", dict: "a mapping", list: "a list", int: "a whole number"} | {
    float: "a number",
    bool: "true or false",
    type(None): "nothing",
}


def field(record: Any, name: str, *kinds: type, default: Any = _NEEDED) -> Any:
    """An entry of a record that was read, known to be of a type that it can be used as.

    Args:
        record: what was read.
        name: of the entry.
        kinds: the types that it may have; a whole number is a `float` too, a bool is no number.
        default: the value of an entry that is missing; else it must be there.

    Raises:
        Unreadable: the record is no mapping, or the entry is missing or something else.
    """
    if not isinstance(record, dict):
        raise Unreadable(f"it is {reprlib.repr(record)}, expected a mapping with {name!r}")
    if name not in record:
        if default is _NEEDED:
            raise Unreadable(f"{name!r} is missing")
        return default
    value = record[name]
    found = type(value)
    if found not in kinds and not (found is int and float in kinds):
        wanted = " or ".join(_WORDS.get(kind, kind.__name__) for kind in kinds)
        raise Unreadable(f"{name!r} is {reprlib.repr(value)}, expected {wanted}")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise Unreadable(f"a number of {len(digits):,} digits")
    return int(digits)


def _number(digits: str) -> float:
    value = int(digits) if len(digits) <= MOST_DIGITS else float(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Unreadable(f"key '{key}' appears twice; keep one")
        found[key] = value
    return found


def _check_plain(value: Any, letters: bool) -> None:
    """Bounded depth, and no half letters, which no file can hold."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} levels deep")
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
                if letters:
                    inner.extend(one)
            elif isinstance(one, list):
                inner.extend(one)
            elif letters and isinstance(one, str):
                check_letters(one)
        level, depth = inner, depth + 1


def check_letters(text: str) -> None:
    r"""Refuses halves of letters (``"\ud800"``), which can be written but never printed or stored.

    Raises:
        Unreadable: there is one.
    """
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Unreadable(f"{text!r} holds half a letter, as \\ud800 is; write the whole letter")


# --- YAML -----------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """SafeLoader of few and shallow nodes, for which ``1e-4`` is a number, as in YAML 1.2."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node with those in it."""
        self.nodes, self.depth = self.nodes + 1, self.depth + 1
        line = self.line + 1
        if self.depth > MAX_DEPTH + 1:
            raise Unreadable(f"nested more than {MAX_DEPTH} levels deep", line)
        if self.nodes > 2 * MAX_NODES:  # keys and values
            raise Unreadable(_MANY, line)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
_MANY = f"more than {MAX_NODES:,} values, with what aliases repeat"
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_SCALARS = {"null", "bool", "int", "float", "str", "timestamp"}


def parse_yaml(text: str) -> tuple[Any, dict[KeyPath, int]]:
    """What a YAML text says, and the line of each key and item, counted from 1.

    Aliases and merge keys are copied out. An empty text gives None and no line.

    Raises:
        Unreadable: it is not YAML, or repeats a key, or holds more than can be wanted.
    """
    try:
        builder = _Builder(_Loader(text))
        node = builder.loader.get_single_node()
        return (None if node is None else builder.build(node, ())), builder.lines
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(
            f"the character {chr(error.character)!r} is not allowed here", line
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise Unreadable(problem, mark.line + 1 if mark else None) from None
    except RecursionError:
        raise Unreadable(f"nested more than {MAX_DEPTH} levels deep") from None


class _Builder:
    """Makes plain data of nodes, and keeps their lines."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.lines: dict[KeyPath, int] = {}
        self.visits = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        """The data of a node; a node that an alias repeats is built, and counted, again."""
        line = node.start_mark.line + 1
        self.visits += 1
        if len(path) > MAX_DEPTH:
            raise Unreadable(f"nested more than {MAX_DEPTH} levels deep", line)
        if self.visits > MAX_NODES:
            raise Unreadable(_MANY, line)
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        kind = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != _TAG + kind:
            raise Unreadable(f"the tag {_shown(node.tag)} is not supported; leave it out", line)
        if kind == "seq":
            return [self.build(item, (*path, n)) for n, item in enumerate(node.value)]
        return self.mapping(node, path)

    def mapping(self, node: Any, path: KeyPath) -> dict[Any, Any]:
        """What is merged first: the mapping's own keys overrule it."""
        found: dict[Any, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in self.merged(value):
                    found.update(self.build(source, path))
        own: set[Any] = set()
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise Unreadable("a key must be a word, found a list or a mapping", line)
            name = self.scalar(key)
            if name in own or key.value in own:
                raise Unreadable(f"key '{key.value}' appears twice; keep one", line)
            own |= {name, key.value}
            self.lines[(*path, key.value)] = line
            found[name] = self.build(value, (*path, key.value))
        return found

    def merged(self, value: Any) -> list[yaml.Node]:
        """The mappings that a merge key names, the one that counts most last."""
        sources = value.value[::-1] if isinstance(value, yaml.SequenceNode) else [value]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                line = source.start_mark.line + 1
                raise Unreadable("'<<' merges mappings; expected one, or a list of them", line)
        return list(sources)

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """A value; what its tag, written or implied, does not fit is refused."""
        tag, line = node.tag.removeprefix(_TAG), node.start_mark.line + 1
        if tag == "value":  # a lone `=`
            return node.value
        if tag not in _SCALARS:
            raise Unreadable(f"the tag {_shown(node.tag)} is not supported; leave it out", line)
        wrong = f"{_shown(node.value)!r} is no {tag}; put text in quotation marks"
        if tag in ("int", "float") and len(node.value) > MOST_DIGITS + 20:
            raise Unreadable(wrong, line)
        try:
            value = self.loader.construct_object(node)
            if isinstance(value, int):
                float(value)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            raise Unreadable(wrong, line) from None
        if isinstance(value, str):
            try:
                check_letters(value)
            except Unreadable as error:
                raise Unreadable(str(error), line) from None
        return value


def _shown(text: str) -> str:
    return shortened(text.replace(_TAG, "!!"), 80)
