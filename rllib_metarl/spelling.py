"""Nearest valid names, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to ``name``, or None when nothing is close.

    Case and ``-``/``_`` are ignored first, because those are the commonest slips.
    """
    name, names = str(name), list(known)
    folded = {_fold(other): other for other in names}
    if _fold(name) in folded:
        return folded[_fold(name)]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return close[0]
    close = difflib.get_close_matches(_fold(name), list(folded), n=1, cutoff=0.6)
    if close:
        return folded[close[0]]
    # `return_mean` for `env_runners/episode_return_mean`: a path is often known by its end.
    ends = sorted((other for other in names if other.endswith(name)), key=len)
    return ends[0] if ends and len(name) > 3 else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'lr'?"``, or an empty string when nothing is close."""
    best = nearest(name, known)
    return f"; did you mean '{best}'?" if best else ""


def _fold(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
