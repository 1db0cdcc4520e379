"""One driver for one experiment: a lock on its folder that dies with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from rllib_metarl.errors import UserError
from rllib_metarl.reading import parse_json

LOCK = ".rllib/lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds an experiment's folder for the length of a ``with`` block.

    The kernel lets go of the lock when its process ends, however it ends: what a killed run left
    behind never has to be removed by hand.

    Raises:
        UserError: another process has it, or it cannot be written.
    """
    path = folder / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        _hold(handle, folder)
        yield
    finally:
        os.close(handle)


def _hold(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # NFS says EACCES for the same
        raise UserError(
            f"{folder} is in use by another `rllib train`{_holder(handle)}; wait for it or stop "
            "it, or choose another --storage-path or experiment name"
        ) from None
    except OSError:
        return  # a file system without locks; better to train unlocked than not at all
    me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
    with contextlib.suppress(OSError):  # a full disk must not stop a run that only reads
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(me).encode(), 0)


def _holder(handle: int) -> str:
    try:
        holder = parse_json(os.pread(handle, 4096, 0).decode())
        return f" (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
