"""Pictures of bandits: what the arms pay, and what they have paid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 48, 144
"""Pixels of an arm."""

_PAPER, _FRAME = (250, 250, 247), (205, 205, 200)
_BEST, _OTHER, _PULLED, _PAID = (46, 139, 87), (190, 190, 190), (170, 194, 232), (35, 86, 168)


class Scene(NamedTuple):
    """What there is to see, each [k]: the probabilities, how often pulled, how often it paid."""

    chances: NDArray[np.float64]
    pulled: NDArray[np.int64]
    paid: NDArray[np.int64]
    pulls: int


def draw(scene: Scene, mode: str) -> NDArray[np.uint8] | str:
    """Return the scene as a picture [H, W, 3] (``rgb_array``) or as text (``ansi``)."""
    return text(scene) if mode == "ansi" else picture(scene)


def text(scene: Scene) -> str:
    """Return a line for each arm: its hidden probability as number and bar, pulls and wins."""
    lines = [f"pull {scene.pulled.sum()} of {scene.pulls}"]
    for arm, chance in enumerate(scene.chances):
        bar = ("#" * round(20 * float(chance))).ljust(20, ".")
        lines.append(f"arm {arm:2d} {chance:5.2f} {bar} paid {scene.paid[arm]}/{scene.pulled[arm]}")
    return "\n".join(lines) + "\n"


def picture(scene: Scene) -> NDArray[np.uint8]:
    """Return the arms side by side, [HEIGHT, k * WIDTH, 3].

    Left bar: the hidden probability, green for the best arm. Right bar: the share of all pulls in a
    trial that went to this arm, and the share that it paid, in dark blue.
    """
    image = np.empty((HEIGHT, len(scene.chances) * WIDTH, 3), np.uint8)
    image[:] = _PAPER
    best = int(np.argmax(scene.chances))
    for arm, chance in enumerate(scene.chances):
        cell = image[:, arm * WIDTH : (arm + 1) * WIDTH]
        cell[:, :1] = cell[:1] = cell[-1:] = _FRAME
        _bar(cell[:, 6:22], chance, _BEST if arm == best else _OTHER)
        _bar(cell[:, 26:42], scene.pulled[arm] / scene.pulls, _PULLED)
        _bar(cell[:, 26:42], scene.paid[arm] / scene.pulls, _PAID)
    return image


def _bar(strip: NDArray[np.uint8], share: float, colour: tuple[int, int, int]) -> None:
    height = round(float(share) * (HEIGHT - 8))
    strip[HEIGHT - 4 - height : HEIGHT - 4] = colour
