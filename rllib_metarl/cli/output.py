"""What a command leaves: results as JSON, and lines of progress where there is no terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from rllib_metarl.errors import UserError

LINE_EVERY_S = 5.0


def occasional_lines(console: Console) -> Callable[[str], None]:
    """Prints a line of progress at most every `LINE_EVERY_S`, and none before that."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            console.print(line, markup=False, soft_wrap=True)

    return tell


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` as JSON, making the folder if needed.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {path}: cannot be written: {error.strerror}") from None


def check_writable(path: Path | None) -> None:
    """Find out before a long run whether its summary can be written.

    Raises:
        UserError: it cannot.
    """
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"--json {path}: is a directory, expected a file name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise UserError(f"--json {path}: cannot be written: {error.strerror}") from None
