"""Pictures of grid worlds: anti-aliased, with numpy alone, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL = 48
"""Pixels along the edge of a cell."""
_FINE = 3  # sub-pixels along an edge of a pixel

_PAPER, _LINE = (250, 250, 247), (205, 205, 200)
_ACTIVE, _OTHER, _AGENT = (46, 139, 87), (190, 190, 190), (35, 86, 168)


@dataclass(frozen=True)
class Scene:
    """What there is to see: the grid's size and cell numbers (y * size + x)."""

    size: int
    agent: int
    active: int
    others: tuple[int, ...] = ()


def draw(scene: Scene, mode: str) -> NDArray[np.uint8] | str:
    """Return the scene as a picture [H, W, 3] (``rgb_array``) or as text (``ansi``)."""
    return text(scene) if mode == "ansi" else picture(scene)


def text(scene: Scene) -> str:
    """Return the grid as lines of text and a legend.

    A agent, * active goal, o other goal; @ is the agent on the active goal, a on the other.
    """
    cells = ["."] * scene.size**2
    for other in scene.others:
        cells[other] = "o"
    cells[scene.active] = "*"
    cells[scene.agent] = {"*": "@", "o": "a"}.get(cells[scene.agent], "A")
    rows = [" ".join(cells[i : i + scene.size]) for i in range(0, len(cells), scene.size)]
    return "\n".join(rows) + "\n"


def picture(scene: Scene) -> NDArray[np.uint8]:
    """Return the grid as a picture [size * CELL, size * CELL, 3].

    The active goal is a full green square, the other one a grey frame, the agent a blue disc.
    """
    edge = CELL * _FINE
    fine = np.empty((scene.size * edge, scene.size * edge, 3), np.float32)
    fine[:] = _PAPER
    _grid_lines(fine, edge)
    for other in scene.others:
        _square(_cell(fine, scene, other), _OTHER, hollow=True)
    _square(_cell(fine, scene, scene.active), _ACTIVE, hollow=False)
    _disc(_cell(fine, scene, scene.agent), _AGENT)
    shape = (scene.size * CELL, _FINE, scene.size * CELL, _FINE, 3)
    return fine.reshape(shape).mean((1, 3)).round().astype(np.uint8)


def _cell(fine: NDArray[np.float32], scene: Scene, index: int) -> NDArray[np.float32]:
    edge = CELL * _FINE
    x, y = index % scene.size, index // scene.size
    return fine[y * edge : (y + 1) * edge, x * edge : (x + 1) * edge]


def _grid_lines(fine: NDArray[np.float32], edge: int) -> None:
    for offset in range(_FINE):
        fine[offset::edge] = fine[:, offset::edge] = _LINE
        fine[edge - 1 - offset :: edge] = fine[:, edge - 1 - offset :: edge] = _LINE


def _square(cell: NDArray[np.float32], colour: tuple[int, int, int], hollow: bool) -> None:
    margin, frame = len(cell) // 8, len(cell) // 10
    inner = cell[margin:-margin, margin:-margin]
    hole = inner[frame:-frame, frame:-frame].copy()
    inner[:] = colour
    if hollow:
        inner[frame:-frame, frame:-frame] = hole


def _disc(cell: NDArray[np.float32], colour: tuple[int, int, int]) -> None:
    axis = (np.arange(len(cell)) + 0.5) / len(cell) - 0.5
    distance = np.hypot(axis[:, None], axis)
    cell[distance < 0.28] = (255, 255, 255)  # a white rim, so that it stands out on a goal
    cell[distance < 0.24] = colour


def frame(
    size: int, observations: NDArray[Any], goals: Sequence[NDArray[Any]]
) -> dict[str, list[Any] | int]:
    """Return the layout of one meta-episode on a `size` x `size` grid, as `hooks` defines it.

    Args:
        size: cells along an edge.
        observations: [T + 1, 2 or more], x and y of the agent, divided by (size - 1), first.
        goals: (x, y) of each goal likewise.
    """
    position = np.rint(observations[:, 1::-1] * (size - 1)).astype(np.int64)
    places = [np.rint(goal[:2][::-1] * (size - 1)).astype(np.int64).tolist() for goal in goals]
    return {"size": size, "position": position.tolist(), "goals": places}
