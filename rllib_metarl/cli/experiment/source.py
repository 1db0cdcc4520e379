"""Where an experiment was written down: a YAML file with line numbers, or command-line options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_metarl.errors import UserError, shortened
from rllib_metarl.reading import (
    MAX_DEPTH,
    MOST_YAML,
    KeyPath,
    Unreadable,
    parse_json,
    parse_yaml,
    read_text,
)

__all__ = ["KeyPath", "Source", "put", "read_json", "read_set", "read_yaml"]


@dataclass(frozen=True)
class Source:
    """Plain data and, for each key in it, the place where it was written.

    Attributes:
        label: file name, or the name of an option.
        data: what was written, as plain Python data.
        lines: line (counted from 1) of each key path; empty for options.
        elsewhere: the file of each key path that was not written in the one called `label`.
    """

    label: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    elsewhere: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath = ()) -> str:
        """``file:line`` of the key at ``path``, or of the closest one above it."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path)
        label = self.elsewhere.get(path, self.label)
        return f"{label}:{line}" if line else label

    def error(self, path: KeyPath, message: str) -> UserError:
        """A UserError that begins with the place of ``path``."""
        return UserError(f"{self.where(path)}: {message}")


def read_yaml(path: Path) -> Source:
    """Read a YAML file and remember the line of each key.

    Raises:
        UserError: the file cannot be read, is empty, is not YAML, or repeats a key.
    """
    path = Path(path)
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


def read_set(written: str) -> tuple[tuple[str, ...], Any]:
    """Parse ``key.of.key=value`` as given to ``--set``; the value is YAML.

    Returns:
        the keys from the outermost to the innermost, and the value.

    Raises:
        UserError: there is no ``=``, a key is empty, or the value is not YAML.
    """
    name, equals, text = written.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise UserError(
            f"--set {shortened(written, 100)}: expected key=value, or key.inner=value, "
            "e.g. --set lr=0.001 --set env_config.size=7"
        )
    option = f"--set {shortened(name.strip(), 100)}"
    if len(keys) > MAX_DEPTH or len(text) > MOST_YAML:
        raise UserError(f"{option}: too long or too deeply nested")
    try:
        return keys, parse_yaml(text)[0]
    except Unreadable as error:
        raise UserError(f"{option}: not valid YAML: {error}") from None


def put(config: dict[Any, Any], keys: tuple[str, ...], value: Any) -> None:
    """Set the value at dotted keys; what lies beside them stays.

    Raises:
        UserError: something on the way has no keys.
    """
    for number, key in enumerate(keys[:-1], 1):
        inner = config.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UserError(
                f"--set {'.'.join(keys)}: {'.'.join(keys[:number])} is "
                f"{shortened(repr(inner), 100)}, which has no keys"
            )
        config = inner
    config[keys[-1]] = value
