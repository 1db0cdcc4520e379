"""Where an experiment was written down: a YAML file with line numbers, or command-line options."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_metarl.errors import UserError
from rllib_metarl.reading import (
    MOST_YAML,
    KeyPath,
    Unreadable,
    parse_json,
    parse_yaml,
    read_text,
)

__all__ = ["KeyPath", "Source", "read_json", "read_yaml"]


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


def read_yaml(path: Path) -> Source:
    """Read a YAML file and remember the line of each key.

    Raises:
        UserError: the file cannot be read, is empty, is not YAML, or repeats a key.
    """
    path = Path(path)
    if not os.path.exists(path):  # unlike Path.exists, also of names that no file can have
        raise UserError(_missing_file(path))
    try:
        data, lines = parse_yaml(read_text(path, MOST_YAML))
    except Unreadable as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise UserError(f"{place}: not valid YAML: {error}") from None
    if not lines:
        raise UserError(f"{path}: the file is empty; see docs/experiment-file.md for an example")
    return Source(str(path), data, lines)


def read_json(option: str, text: str | None) -> Source:
    """Parse the JSON object given to a command-line option; None stands for ``{}``.

    Raises:
        UserError: the text is not a JSON object.
    """
    try:
        data = {} if text is None else parse_json(text, written_by_hand=True)
    except Unreadable as error:
        raise UserError(
            f"{option}: not valid JSON: {error}; "
            f"""write it as {option} '{{"key": value}}'"""
        ) from None
    if not isinstance(data, dict):
        raise UserError(f"{option}: expected a JSON object like '{{\"key\": value}}', got {text}")
    return Source(option, data)


def _missing_file(path: Path) -> str:
    from rllib_metarl.spelling import suggestion

    beside = [str(p) for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    return f"{path}: no such file{suggestion(str(path), beside)}"
