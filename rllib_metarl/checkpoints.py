"""Whole checkpoints: each holds a list of its files with their digests, which is written last.

A checkpoint without the list, or with a file that is not as the list says, was cut short: nothing
ever chooses it. The list also bears a seal, made with a key in the user's home, that tells a
checkpoint of this user's own runs from one that came from elsewhere (see ``docs/reliability.md``).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from rllib_metarl.errors import UserError

WHY = "docs/reliability.md says why"
_TRUSTED = ContextVar("trusted", default=False)
LIST = "whole.json"
KEY_BYTES = 32


def finish(folder: Path) -> None:
    """Makes the files of a folder last on the disk, and writes the list that makes it whole.

    Raises:
        OSError: if it cannot be written; the folder is then not whole.
    """
    (folder / LIST).unlink(missing_ok=True)
    files = {name: _digest(folder / name, lasting=True) for name in _files(folder)}
    told = {"files": files, "seal": seal_of(files)}
    write_whole(folder / LIST, json.dumps(told, indent=1).encode())


def is_whole(folder: Path) -> bool:
    """Whether every file of the list is there and is as it was when the list was written."""
    files = _listed(folder).get("files")
    if not isinstance(files, dict) or not files:
        return False
    try:
        return all(_digest(folder / name) == digest for name, digest in files.items())
    except OSError:
        return False


def is_own(folder: Path) -> bool:
    """Whether a folder is whole, was sealed by this user on this machine, and has no file more."""
    told = _listed(folder)
    if not is_whole(folder) or not is_sealed(told["files"], told.get("seal")):
        return False
    return set(_files(folder)) == set(told["files"])


@contextlib.contextmanager
def trusting(trusted: bool = True) -> Iterator[None]:
    """Within the block, pickles may be read although they are not this user's own."""
    before = _TRUSTED.set(trusted)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def is_trusted(folder: Path) -> bool:
    """Whether pickles of a folder may be read: they are one's own, or one has said so."""
    return _TRUSTED.get() or is_own(folder)


def require_trust(checkpoint: Path) -> None:
    """To be called before a pickle of a checkpoint is read: it can run any code.

    Raises:
        UserError: the checkpoint is not one's own, and the call is not within `trusting`.
    """
    if not is_trusted(checkpoint):
        raise UserError(
            f"{checkpoint} holds more than weights and numbers, and this user's `rllib train` did "
            "not write it here, or it was changed since: loading it can run any code. If you know "
            f"where it is from, add --trust-checkpoint; {WHY}"
        )


def whole_checkpoints(trial: Path) -> list[Path]:
    """The whole checkpoints of a trial's folder, oldest first."""
    return [folder for folder in numbered(trial) if is_whole(folder)]


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
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    _make_last(path.parent)


# --- the seal -----------------------------------------------------------------------------------


def seal_of(files: dict[str, Any]) -> str | None:
    """A seal on a list of digests, by this user's key; None where no key can be kept."""
    key = _key(make=True)
    return None if key is None else _stamp(key, files)


def is_sealed(files: dict[str, Any], seal: Any) -> bool:
    """Whether a seal is this user's and of these very digests."""
    key = _key(make=False)
    if key is None or not isinstance(seal, str):
        return False
    return hmac.compare_digest(_stamp(key, files), seal)


def _stamp(key: bytes, files: dict[str, Any]) -> str:
    return hmac.new(key, json.dumps(files, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    """The key, which only this user may read."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(home, "rllib_metarl", "seal.key")
    try:
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_key(path)
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def _write_key(path: Path) -> None:
    """Two runs that begin at once must end up with one key: the first one's."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        new.unlink()


# --- files --------------------------------------------------------------------------------------


def _listed(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / LIST).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in found if path.name != LIST)


def _digest(path: Path, lasting: bool = False) -> list[Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        if lasting:
            os.fsync(file.fileno())
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return [file.tell(), digest.hexdigest()]


def _make_last(folder: Path) -> None:
    """A renamed file is only safe from a power cut once its folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
