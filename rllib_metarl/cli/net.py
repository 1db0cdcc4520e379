"""The last safety net of every command: any error is reported in a line, with an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from rllib_metarl.errors import UserError, shortened

MENDABLE, DEFECT, INTERRUPTED, NOBODY_READS = 2, 70, 130, 141
"""Exit codes; 70 is EX_SOFTWARE of BSD's sysexits.h, 141 what shells give for SIGPIPE."""
_STORAGE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ENOTDIR, errno.EISDIR),
}
"""What no program can fix that is given such a path, disk or machine."""
_HERE = Path(__file__).resolve().parents[1]
_OURS = (_HERE, _HERE.parent / "envs")


def tell(error: BaseException, arguments: Sequence[str]) -> int:
    """Says on standard error what ended a command; returns the exit code.

    Args:
        error: what came through to the command's outermost call.
        arguments: of the command, for the log of a bug.
    """
    if isinstance(error, KeyboardInterrupt):
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        return _nobody_reads()  # typer makes a SystemExit of it
    if type(error).__name__ == "NoArgsIsHelpError":  # click's, for a group without a command
        print(error, file=sys.stderr)
        return MENDABLE
    if type(error).__name__ == "Abort":  # click's, at the end of what is typed in
        return INTERRUPTED
    message, code = _judged(error, arguments)
    print(f"error: {one_line(message)}", file=sys.stderr)
    return code


def one_line(message: str) -> str:
    """A message in one line that any terminal can show, whatever names a file has in it."""
    text = " ".join(message.splitlines())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shortened(text)


def _judged(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    """What to say of an error, and the exit code: is it the user's, the machine's or ours?"""
    if isinstance(error, UserError):
        return str(error), MENDABLE
    if hasattr(error, "format_message"):  # click's own: an unknown option, a missing argument
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "rllib"
        return f"{error.format_message().rstrip('.')}; see {command} --help", MENDABLE
    if isinstance(error, OSError) and error.errno in _STORAGE:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}", MENDABLE
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; ask for less, or use another machine", MENDABLE
    frame, line = _culprit(error)
    if isinstance(error, SystemExit):
        what = f"called sys.exit({error.code!r}), which would end the command without a message"
    else:
        what = f"{type(error).__name__}: {error}"
    log = _log(error, arguments)
    if frame is not None and not _is_ours(frame):
        return f"{frame.f_code.co_filename}:{line}: {what}; {log}", MENDABLE
    return (
        f"a bug in rllib_metarl, not a mistake of yours: {what}; please report it, as "
        f"CONTRIBUTING.md says; {log}"
    ), DEFECT


def _culprit(error: BaseException) -> tuple[FrameType | None, int]:
    """The innermost frame that is neither Python's nor an installed library's, and its line."""
    found: tuple[FrameType | None, int] = (None, 0)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_ours(frame) or not _is_installed(frame):
            found = (frame, line)
    return found


def _is_ours(frame: FrameType) -> bool:
    path = Path(frame.f_code.co_filename)
    return any(path.is_relative_to(place) for place in _OURS)


def _is_installed(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    if name.startswith("<"):  # no file: made while running, by a library
        return True
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    return any(Path(name).is_relative_to(sysconfig.get_path(kind)) for kind in kinds)


def _log(error: BaseException, arguments: Sequence[str]) -> str:
    """Writes the traceback to a file; says where."""
    from rllib_metarl import __version__

    lines = [
        f"rllib_metarl {__version__}, Python {sys.version}, {platform.platform()}\n",
        f"{time.strftime('%F %T')}: rllib {shortened(' '.join(map(repr, arguments)), 4_000)}\n",
        *(f"{name} {version}\n" for name, version in _versions()),
        *traceback.format_exception(error),
    ]
    try:
        handle, name = tempfile.mkstemp(prefix="rllib-metarl-", suffix=".log")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(lines)
    except OSError as problem:
        return f"no log could be written ({problem.strerror})"
    return f"the traceback is in {name}"


def _versions() -> Iterator[tuple[str, str]]:
    from importlib.metadata import PackageNotFoundError, version

    for name in ("ray", "torch", "gymnasium", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)


def _nobody_reads() -> int:
    """Standard output was closed by its reader: stop writing, without an error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return NOBODY_READS


def use_utf8() -> None:
    """Lets every path and name be written, under whatever locale the command is started.

    If Python takes file names for ASCII, the command restarts in Python's UTF-8
    mode, and so do the workers that it starts. What standard output cannot show is escaped.
    """
    unicode = sys.getfilesystemencoding().lower().startswith("utf")
    if not unicode and os.environ.get("PYTHONUTF8") != "1":
        environment = os.environ | {"PYTHONUTF8": "1"}
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, environment)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # not a stream of text that can
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
