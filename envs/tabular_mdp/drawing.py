"""Pictures of a random tabular MDP: what each action pays in each state, and where the agent is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELL = 32
"""Pixels along the edge of a cell."""

_PAPER, _AGENT = (250, 250, 247), (35, 86, 168)
_POOR, _EVEN, _RICH = np.array([[178, 60, 60], [240, 240, 236], [46, 139, 87]], np.float64)
_SPAN = 3.0  # rewards at which the colours are full


class Scene(NamedTuple):
    """What there is to see: mean rewards [S, A], the state, steps and inner episodes so far."""

    rewards: NDArray[np.float64]
    state: int
    step: int
    episode: int


def draw(scene: Scene, mode: str) -> NDArray[np.uint8] | str:
    """Return the scene as a picture [H, W, 3] (``rgb_array``) or as text (``ansi``)."""
    return text(scene) if mode == "ansi" else picture(scene)


def text(scene: Scene) -> str:
    """Return a line with the time and one for each state: > marks the agent's, then R(s, a)."""
    lines = [f"inner episode {scene.episode}, step {scene.step}"]
    for state, rewards in enumerate(scene.rewards):
        mark = ">" if state == scene.state else " "
        lines.append(f"{mark}{state:3d}" + "".join(f"{reward:7.2f}" for reward in rewards))
    return "\n".join(lines) + "\n"


def picture(scene: Scene) -> NDArray[np.uint8]:
    """Return the table as a picture [(A + 1) * CELL, S * CELL, 3], a column for each state.

    Green cells pay, red ones cost; the blue square on top is the agent, and the bar above it grows
    with the steps of the inner episode.
    """
    states, actions = scene.rewards.shape
    image = np.empty(((actions + 1) * CELL, states * CELL, 3), np.uint8)
    image[:] = _PAPER
    colours = _colours(scene.rewards.T).repeat(CELL, 0).repeat(CELL, 1)
    image[CELL:] = colours
    image[CELL::CELL], image[CELL:, ::CELL] = _PAPER, _PAPER
    left = scene.state * CELL
    image[CELL // 4 : -2, left : left + 2] = _AGENT
    image[CELL // 4 : -2, left + CELL - 2 : left + CELL] = _AGENT
    image[CELL // 4 : CELL, left : left + CELL] = _AGENT
    image[: CELL // 8, : min(scene.step * CELL // 2, image.shape[1])] = _AGENT
    return image


def _colours(rewards: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Red below zero, pale at zero, green above; [..., 3]."""
    strength = np.clip(np.abs(rewards) / _SPAN, 0.0, 1.0)[..., None]
    full = np.where(rewards[..., None] < 0.0, _POOR, _RICH)
    return (_EVEN + strength * (full - _EVEN)).round().astype(np.uint8)
