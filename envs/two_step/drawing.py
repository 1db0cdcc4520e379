"""Pictures of the two-step task: the first state above, A and B below it, and the time gone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELL = 64
"""Pixels along the edge of a state's box."""

_PAPER, _GREY = (250, 250, 247), (190, 190, 190)
_GOOD, _AGENT, _PAID = (46, 139, 87), (35, 86, 168), (230, 170, 30)
_PLACES = ((1, 1), (3, 0), (3, 2))
"""Row (in half boxes) and column (in boxes) of the three states."""


class Scene(NamedTuple):
    """What there is to see.

    Attributes:
        state: 0 (first step), 1 (A) or 2 (B).
        good: the good one, 1 or 2.
        round: rounds gone.
        progress: the share of the rounds that is gone, 0 to 1.
        paid: whether the last step was rewarded.
    """

    state: int
    good: int
    round: int
    progress: float
    paid: bool


def draw(scene: Scene, mode: str) -> NDArray[np.uint8] | str:
    """Return the scene as a picture [H, W, 3] (``rgb_array``) or as text (``ansi``)."""
    return text(scene) if mode == "ansi" else picture(scene)


def text(scene: Scene) -> str:
    """Return lines of text: brackets are round the agent's state, a star is at the good one."""
    names = ["first step", "A", "B"]
    names[scene.good] += "*"
    names[scene.state] = f"[{names[scene.state]}]"
    last = "reward 1" if scene.paid else "reward 0"
    return f"round {scene.round}, {last}\n  {names[0]}\n  {names[1]}   {names[2]}\n"


def picture(scene: Scene) -> NDArray[np.uint8]:
    """Return a picture [3 * CELL, 3 * CELL, 3].

    The good state's box is green, the agent a blue square, yellow-rimmed after a reward; the bar at
    the top grows with the rounds.
    """
    image = np.full((3 * CELL, 3 * CELL, 3), _PAPER, np.uint8)
    for state, (row, column) in enumerate(_PLACES):
        box = image[row * CELL // 2 :, column * CELL :][:CELL, :CELL]
        _square(box, CELL // 8, _GOOD if state == scene.good else _GREY)
        if state == scene.state:
            _square(box, CELL // 4, _PAID if scene.paid else _PAPER)
            _square(box, CELL // 4 + 4, _AGENT)
    image[: CELL // 8, : round(scene.progress * 3 * CELL)] = _AGENT
    return image


def _square(box: NDArray[np.uint8], margin: int, colour: tuple[int, int, int]) -> None:
    box[margin:-margin, margin:-margin] = colour
