"""Which spaces networks take, and the way round for the others."""

from __future__ import annotations

from typing import Final

import gymnasium as gym
from gymnasium import spaces

from rllib_metarl.envs.core.nested import parts_of
from rllib_metarl.errors import UserError

_KNOWN = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_WAYS_ROUND: Final = {
    spaces.Text: (
        "a text has no fixed length. Give numbers for it: a MultiDiscrete of its characters, "
        "padded to one length, or an embedding (a Box)"
    ),
    spaces.Sequence: (
        "a sequence has no fixed length. Pad it to its longest: a Dict of a Box [longest, ...] and "
        "of a MultiBinary(longest) that says which entries count"
    ),
    spaces.Graph: (
        "a graph has no fixed size. Give arrays for it: a Dict of padded nodes (a Box [nodes, "
        "features]) and of the edges between them (a MultiBinary([nodes, nodes]))"
    ),
    spaces.OneOf: (
        "one of several spaces has no fixed size. Give a Tuple of all of them and of a Discrete "
        "that says which one counts"
    ),
}
_OTHER: Final = (
    "known are Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of them. Give one of "
    "these for it"
)
_LEAVE_OUT: Final = (
    "; or leave this part out with gymnasium.wrappers.FilterObservation, if the agent does not "
    "need it"
)
_WRAPPERS: Final = {"observation": "TransformObservation", "action": "TransformAction"}


def supported_parts(space: gym.Space, what: str) -> list[gym.Space]:
    """The parts of a space of observations or actions, each of a fixed size.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of such, nested.
        what: ``observation`` or ``action``.

    Raises:
        UserError: a part has no fixed size, so that no network can take it.
    """
    parts = list(parts_of(space))
    for part in parts:
        if not isinstance(part, _KNOWN):
            way = next((w for kind, w in _WAYS_ROUND.items() if isinstance(part, kind)), _OTHER)
            within = "" if part is space else f", in the {type(space).__name__} of the env,"
            left_out = isinstance(space, gym.spaces.Dict) and what == "observation"
            raise UserError(
                f"{what} space {part}{within} is not supported: {way}, with "
                f"gymnasium.wrappers.{_WRAPPERS[what]} or a wrapper of your own"
                f"{_LEAVE_OUT if left_out else ''}."
            )
    return parts
