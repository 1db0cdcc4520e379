"""Where an experiment was written down: a YAML file with line numbers, or command-line options."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rllib_metarl.errors import UserError

KeyPath = tuple[Any, ...]
MAX_DEPTH, MAX_NODES = 40, 50_000


@dataclass(frozen=True)
class Source:
    """Plain data and, for each key in it, the place where it was written.

    Attributes:
        label: file name, or the name of an option.
        data: what was written, as plain Python data.
        lines: line (counted from 1) of each key path; empty for options.
    """

    label: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def where(self, path: KeyPath = ()) -> str:
        """``file:line`` of the key at ``path``, or of the closest one above it."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        return f"{self.label}:{line}" if line else self.label

    def error(self, path: KeyPath, message: str) -> UserError:
        """A UserError that begins with the place of ``path``."""
        return UserError(f"{self.where(path)}: {message}")


class _Loader(yaml.SafeLoader):
    """SafeLoader in which ``1e-4`` is a number, as it is in YAML 1.2 and in Python."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> Source:
    """Read a YAML file and remember the line of each key.

    Raises:
        UserError: the file cannot be read, is empty, is not YAML, or repeats a key.
    """
    text = _read_text(path)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise UserError(
                    f"{path}: the file is empty; see docs/experiment-file.md for an example"
                )
            lines: dict[KeyPath, int] = {}
            _collect_lines(node, (), lines, str(path))
            data = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UserError(_yaml_message(path, error)) from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: nested too deeply") from None
    except (ValueError, TypeError, OverflowError) as error:
        # What looks like a number or a date and is none: 0x_, 2024-13-45.
        raise UserError(f"{path}: not valid YAML: {error}; put text in quotation marks") from None
    return Source(str(path), data, lines)


def read_json(option: str, text: str | None) -> Source:
    """Parse the JSON object given to a command-line option; None stands for ``{}``.

    Raises:
        UserError: the text is not a JSON object.
    """
    try:
        data = json.loads(text) if text is not None else {}
    except json.JSONDecodeError as error:
        raise UserError(
            f"{option}: not valid JSON: {error.msg} at column {error.colno}; "
            f"""write it as {option} '{{"key": value}}'"""
        ) from None
    if not isinstance(data, dict):
        raise UserError(f"{option}: expected a JSON object like '{{\"key\": value}}', got {text}")
    return Source(option, data)


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise UserError(f"{path}: is a directory, expected an experiment file (.yaml)")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(_missing_file(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _missing_file(path: Path) -> str:
    from rllib_metarl.cli.names import suggestion

    beside = [str(p) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    return f"{path}: no such file{suggestion(str(path), beside)}"


def _yaml_message(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{path}:{mark.line + 1}" if mark else str(path)
    problem = getattr(error, "problem", None) or error
    return f"{place}: not valid YAML: {' '.join(str(problem).split())}"


def _collect_lines(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], label: str) -> None:
    here = f"{label}:{node.start_mark.line + 1}"
    if len(path) > MAX_DEPTH:
        raise UserError(f"{here}: nested more than {MAX_DEPTH} levels deep")
    if len(lines) > MAX_NODES:  # aliases of aliases, which a short file can multiply without end
        raise UserError(f"{here}: more than {MAX_NODES:,} values, with what aliases repeat")
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*path, index), lines, label)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                _collect_lines(value, path, lines, label)
                continue
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{label}:{line}: a key must be a word, found a list or a mapping")
            if key.value in seen:
                raise UserError(f"{label}:{line}: key '{key.value}' is written twice; keep one")
            seen.add(key.value)
            lines[(*path, key.value)] = line
            _collect_lines(value, (*path, key.value), lines, label)
