"""What a command leaves: results as JSON, and lines of progress where there is no terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from rllib_metarl.checkpoints import write_whole
from rllib_metarl.errors import UserError

LINE_EVERY_S = 5.0
Tell = Callable[[str, float], None]
"""Called with what is being done, and the share that is done."""


def loading() -> None:
    """The first line of a command that RLlib keeps waiting for seconds."""
    print("loading RLlib", flush=True)


def occasional_lines(console: Console) -> Callable[[str], None]:
    """Prints a line of progress at most every `LINE_EVERY_S`, and none before that."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            console.print(line, markup=False, soft_wrap=True)

    return tell


@contextmanager
def progress(
    console: Console, clock: type[ProgressColumn] = TimeElapsedColumn, first: str = "loading"
) -> Iterator[Tell]:
    """A bar on a terminal; elsewhere a line now and then.

    Args:
        console: where.
        clock: rich's column of the time that has gone, or that is left.
        first: the text before the first progress.
    """
    if not console.is_terminal:
        tell = occasional_lines(console)
        yield lambda stage, share: tell(f"{share:4.0%} {stage}")
        return
    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f}%"),
        clock(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(first, total=1.0)
        yield lambda stage, share: bars.update(bar, completed=share, description=stage)


def write_json(path: Path, data: Any, *, replace: bool = False) -> None:
    """Write ``data`` as JSON, making the folder if needed.

    Args:
        path: the file.
        data: plain data.
        replace: put a new file in the place of whatever is there; else what is there is written to,
            which may be a pipe or a link that the user has named.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(data, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if replace:
            write_whole(path, text.encode())
        else:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--json {path}: cannot be written: {error.strerror}") from None


def check_writable(path: Path | None, option: str = "--json") -> None:
    """Find out before a long run whether the file that an option names can be written.

    Folders that are missing are made, for every such option.

    Raises:
        UserError: it cannot.
    """
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{option} {path}: is a directory, expected a file name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            return  # a pipe or a device that the user has named: to open it may take for ever
        new = not path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if new:
            path.unlink()  # nothing is left behind if the work fails
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written: {error.strerror}") from None
