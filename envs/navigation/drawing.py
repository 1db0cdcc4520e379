"""How navigation is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 41
PICTURE = 240
_PAPER, _LINE, _GOAL, _POINT = (250, 250, 247), (205, 205, 200), (46, 139, 87), (35, 86, 168)


def frame(places: NDArray[Any], goal: NDArray[Any], reach: float) -> dict[str, Any]:
    """Return a meta-episode on a grid over [-reach, reach]², see `core.hooks`.

    Args:
        places: x, y `[T + 1, 2]`; goal: its x, y `[2]`.
        reach: half an edge, in m; what lies beyond is shown at the edge.
    """
    return {"size": CELLS, "position": _cells(places, reach), "goals": _cells(goal[None], reach)}


def _cells(places: NDArray[Any], reach: float) -> NDArray[np.int64]:
    inside = (places / reach + 1.0) / 2.0 * CELLS
    column, up = np.clip(np.floor(inside), 0, CELLS - 1).astype(np.int64).T
    return np.stack([CELLS - 1 - up, column], -1)


def picture(at: NDArray[Any], goal: NDArray[Any], goal_range: float) -> NDArray[np.uint8]:
    """Return a picture [PICTURE, PICTURE, 3]: the goal green, the point blue, the start a cross,
    and the square that goals are in.
    """
    wide = 1.5 * goal_range  # a picture shows [-wide, wide] m in x and y
    axis = ((np.arange(PICTURE) + 0.5) / PICTURE * 2.0 - 1.0) * wide
    places = np.stack(np.meshgrid(axis, -axis), -1)
    pixels = np.empty((PICTURE, PICTURE, 3))
    pixels[:] = _PAPER
    size = np.abs(places).max(-1)
    on_square = np.abs(size - goal_range) - 0.006 * wide
    on_cross = np.maximum(np.abs(places).min(-1) - 0.006 * wide, size - 0.06 * wide)
    for distance, colour in (
        (np.minimum(on_square, on_cross), _LINE),
        (np.linalg.norm(places - goal, axis=-1) - 0.06 * wide, _GOAL),
        (np.linalg.norm(places - at, axis=-1) - 0.04 * wide, _POINT),
    ):
        # Half a pixel on either side of an edge is blended.
        cover = np.clip(0.5 - distance * PICTURE / (2.0 * wide), 0.0, 1.0)[..., None]
        pixels[:] = cover * np.array(colour) + (1.0 - cover) * pixels
    return pixels.round().astype(np.uint8)
