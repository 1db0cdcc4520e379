"""From a path to an agent."""

from __future__ import annotations

from pathlib import Path

from rllib_metarl.checkpoint import Checkpoint, find
from rllib_metarl.serving.agent import Agent


def load_agent(path: str | Path) -> Agent:
    """The agent of a checkpoint, or of the newest one below a run's folder.

    Raises:
        UserError: there is none, or it is damaged; see `Checkpoint.open` and `Checkpoint.agent`.
    """
    return Checkpoint.open(find(path)).agent()
