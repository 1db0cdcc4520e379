"""Whole checkpoints: each holds a list of its files with their digests, which is written last.

A checkpoint without the list, or with a file that is not as the list says, was cut short: nothing
ever chooses it. The list also bears a seal, made with a key in the user's home, that tells a
checkpoint of this user's own runs from one that came from elsewhere (see ``docs/reliability.md``).

The list itself may be a stranger's: it names plain files inside the folder, links and devices are
not read, and of no file more than the size that the list gives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from rllib_metarl.errors import UserError
from rllib_metarl.reading import parse_json
from rllib_metarl.seal import is_sealed, seal_of

WHY = "docs/reliability.md says why"
_TRUSTED = ContextVar("trusted", default=False)
LIST = "whole.json"
POLICY, WEIGHTS = "policy.json", "policy.npz"
"""The policy apart, see `algorithms.base.exported`."""
DESCRIPTION = "class_and_ctor_args.pkl"
"""RLlib's file of what a checkpoint is of."""
MOST_LISTED = 16 << 20
"""Bytes of a list at most."""
_BLOCK = 1 << 20
_PLAIN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


@dataclasses.dataclass(frozen=True)
class Examined:
    """What became of a folder's files since their list was written.

    Attributes:
        problem: what is not as the list says, in a few words; None for a whole folder.
        listed: file name -> size and digest; empty where there is no list that can be used.
        own: whether it is whole, was sealed by this user on this machine, and has no file more.
    """

    problem: str | None
    listed: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    own: bool = False


def finish(folder: Path) -> None:
    """Makes the files of a folder last on the disk, and writes the list that makes it whole.

    Raises:
        OSError: if it cannot be written; the folder is then not whole.
    """
    (folder / LIST).unlink(missing_ok=True)
    names = [name for name in _entries(folder) if _is_plain(folder / name)]
    files = {name: digest_of(folder / name, lasting=True) for name in names}
    record = {"files": files, "seal": seal_of(files)}
    write_whole(folder / LIST, json.dumps(record, indent=1).encode())


def has_list(folder: Path) -> bool:
    """Whether a folder was finished; if not, nothing says what its files should be."""
    return os.path.lexists(folder / LIST)


def examine(folder: Path) -> Examined:
    """Compares every file of a folder's list with what is there."""
    try:
        record = parse_json(read_plain(folder / LIST, MOST_LISTED))
        files = record["files"]
    except FileNotFoundError:
        return Examined(f"{LIST}, the list of its files, is missing")
    except (OSError, ValueError, KeyError, TypeError):
        return Examined(f"{LIST} is damaged")
    if not isinstance(files, dict) or not files:
        return Examined(f"{LIST} is damaged")
    if not all(_is_inside(name) and _is_digest(digest) for name, digest in files.items()):
        return Examined(f"{LIST} names what cannot be a file of its folder")
    problem = _first_problem(folder, files)
    if problem is not None:
        return Examined(problem, files)
    own = is_sealed(files, record.get("seal")) and set(_entries(folder)) == set(files)
    return Examined(None, files, own)


def is_whole(folder: Path) -> bool:
    """Whether every file of the list is there and is as it was when the list was written."""
    return examine(folder).problem is None


def is_own(folder: Path) -> bool:
    """Whether a folder is whole, was sealed by this user on this machine, and has no file more."""
    return examine(folder).own


def is_usable(folder: Path) -> bool:
    """Whether a folder is whole, and is one's own or one has said that others are trusted."""
    found = examine(folder)
    return found.problem is None and (found.own or is_trusting())


@contextlib.contextmanager
def trusting(trusted: bool = True) -> Iterator[None]:
    """Within the block, pickles may be read although they are not this user's own."""
    before = _TRUSTED.set(trusted)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def is_trusting() -> bool:
    """Whether the call is within `trusting`."""
    return _TRUSTED.get()


def is_trusted(folder: Path) -> bool:
    """Whether pickles of a folder may be read: they are one's own, or one has said so."""
    return is_trusting() or is_own(folder)


def require_trust(checkpoint: Path) -> None:
    """To be called before a pickle of a checkpoint is read: it can run any code.

    Raises:
        UserError: the checkpoint is not one's own, and the call is not within `trusting`.
    """
    if not is_trusted(checkpoint):
        raise not_trusted(checkpoint)


def not_trusted(checkpoint: Path) -> UserError:
    """What to say of a checkpoint whose pickles may not be read."""
    return UserError(
        f"{checkpoint} holds more than weights and numbers, and this user's `rllib train` did "
        "not write it here, or it was changed since: loading it can run any code. If you know "
        f"where it is from, add --trust-checkpoint; {WHY}"
    )


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; there is none of a name that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def newest_whole(folders: list[Path]) -> Path | None:
    """The last one that is whole; no earlier one is looked at."""
    return next(filter(is_whole, reversed(folders)), None)


def numbered(place: Path, kind: str = "checkpoint") -> list[Path]:
    """All ``checkpoint_000012`` folders of a place, whole or not, in their order; or of a kind."""
    found = [f for f in place.glob(f"{kind}_*") if f.is_dir() and number_of(f) is not None]
    return sorted(found, key=lambda folder: number_of(folder) or 0)


def number_of(folder: Path) -> int | None:
    """The number in a checkpoint's name; None where there is none."""
    digits = folder.name.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else None


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that, whenever the process or the machine stops, it is the old or the new.

    Raises:
        OSError: if it cannot be written; what was there before stays.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        with new.open("xb") as file:  # never through an existing link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    _make_last(path.parent)


# --- files --------------------------------------------------------------------------------------


def read_plain(path: Path, most: int) -> bytes:
    """The content of a plain file; neither a link is followed nor a pipe waited for.

    Raises:
        OSError: it is none, or holds more than `most` bytes.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"{size:,} bytes, more than the {most:,} it may have")
        return file.read(size)


def read_listed(folder: Path, name: str, listed: list[Any]) -> bytes:
    """The content of a listed file, which is as the list says at the moment it is read.

    Raises:
        OSError: it is not.
    """
    content = read_plain(folder / name, listed[0])
    if [len(content), hashlib.sha256(content).hexdigest()] != listed:
        raise OSError(errno.EIO, "not as it was written")
    return content


def open_plain(path: Path) -> BinaryIO:
    """Opens a plain file to read it.

    Raises:
        OSError: it is a link, a pipe, a device or a folder, or cannot be read.
    """
    try:
        handle = os.open(path, _PLAIN)
    except ValueError as error:  # a name that no file can have
        raise OSError(errno.EINVAL, str(error)) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a plain file")
    return open(handle, "rb")


def digest_of(path: Path, size: int | None = None, lasting: bool = False) -> list[Any]:
    """Size and SHA-256 of a plain file; of one of another size than `size` nothing is read.

    Raises:
        OSError: it cannot be read, or is not a plain file.
    """
    with open_plain(path) as file:
        found = os.fstat(file.fileno()).st_size
        if size is not None and found != size:
            return [found, ""]
        if lasting:
            os.fsync(file.fileno())
        digest, left = hashlib.sha256(), found
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
        return [found - left, digest.hexdigest()]


def _first_problem(folder: Path, files: dict[str, list[Any]]) -> str | None:
    """The first file that is not as the list says, in a few words."""
    within: dict[str, bool] = {}
    for name, listed in files.items():
        place = os.path.dirname(name)
        try:
            if place not in within:
                within[place] = _is_within(folder, place)
            if not within[place]:
                return f"{name} is behind a link"
            size, digest = digest_of(folder / name, listed[0])
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} is no plain file that can be read ({error.strerror})"
        if size != listed[0]:
            return f"{name} has {size:,} bytes, not {listed[0]:,} as when it was written"
        if digest != listed[1]:
            return f"{name} is not as it was written"
    return None


def _is_within(folder: Path, place: str) -> bool:
    """Whether no part of a folder's place is a link."""
    parts = place.split("/") if place else []
    return not any(Path(folder, *parts[: n + 1]).is_symlink() for n in range(len(parts)))


def _is_inside(name: str) -> bool:
    """Whether a listed name can only be of a file in the folder."""
    parts = name.split("/")
    return name != LIST and "\0" not in name and not {"", ".", ".."} & set(parts)


def _is_digest(listed: Any) -> bool:
    if not isinstance(listed, list) or len(listed) != 2:
        return False
    return type(listed[0]) is int and listed[0] >= 0 and isinstance(listed[1], str)


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _entries(folder: Path) -> list[str]:
    """Names of all that is in a folder and is no folder, but for its own list."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in files + links]
    return sorted(set(found) - {LIST})


def _make_last(folder: Path) -> None:
    """A renamed file is only safe from a power cut once its folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
