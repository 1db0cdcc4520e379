"""Agents that come trained with the package: ``load_agent("example:dynamite/gridworld")``.

A folder of each has what acts (``policy.json``, ``policy.npz``: float32, no code) and
``about.json``: where it is from, and what it got there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rllib_metarl.errors import UserError
from rllib_metarl.spelling import suggestion

PREFIX = "example:"
ABOUT = "about.json"


def folders() -> dict[str, Path]:
    """The folder of each trained agent, by its name: that of the tuned example it is from."""
    here = Path(__file__).resolve().parent
    return {
        file.parent.relative_to(here).as_posix(): file.parent
        for file in sorted(here.glob(f"*/*/{ABOUT}"))
    }


def about(folder: Path) -> dict[str, Any]:
    """What is told of a trained agent.

    Returns:
        ``title``; ``seed`` and ``env_steps`` of its training; ``episodes``, ``held_out_seed`` and
        ``return_mean``: its evaluation by the protocol of its page; ``page`` and ``row``: the
        results page, and the agent's key in its ``summary.json``.
    """
    told: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return told


def is_name(given: object) -> bool:
    """Whether a path is the name of a trained agent: ``example:...``."""
    return str(given).startswith(PREFIX)


def named(given: object) -> Path:
    """The folder of ``example:dynamite/gridworld``.

    Raises:
        UserError: there is no such agent.
    """
    name, known = str(given).removeprefix(PREFIX), folders()
    if name not in known:
        raise UserError(
            f"{given}: no trained agent of this name{suggestion(name, known)} "
            f"(`rllib list --trained` names them: {', '.join(known)})"
        )
    return known[name]
