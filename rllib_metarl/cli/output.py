"""Writing results as JSON, and finding out early whether that will work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_metarl.errors import UserError


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
