"""A seal on a list of digests, by a key in the user's home: it tells their files from others'."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

KEY_BYTES = 32


def seal_of(files: dict[str, Any]) -> str | None:
    """A seal on a list of digests, by this user's key; None where no key can be kept."""
    key = _key(make=True)
    return None if key is None else _stamp(key, files)


def is_sealed(files: dict[str, Any], seal: Any) -> bool:
    """Whether a seal is this user's and of these very digests."""
    key = _key(make=False)
    if key is None or not isinstance(seal, str) or not seal.isascii():
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
