"""``DLCMDP/GridWorldFamily-v0``: grid worlds whose law of change is hidden too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.bayes import FiniteFilter
from ..core.contexts import Markov
from ..core.dlcmdp import LatentPath, draw_latent
from ..core.vector import Simulator
from .env import GridWorldSimulator
from .family_bayes import bayes_bounds
from .family_filter import exact_filter, filter_step, initial_belief
from .family_parameters import MEMBERS, FamilyParameters, step_matrices
from .family_references import family_references, reference_returns

__all__ = [
    "MEMBERS",
    "FamilyParameters",
    "GridWorldFamilyEnv",
    "GridWorldFamilySimulator",
    "GridWorldFamilyVectorEnv",
    "bayes_bounds",
    "reference_returns",
]


class GridWorldFamilySimulator(GridWorldSimulator):
    """N grid worlds, each of a member drawn for the meta-episode. See `GridWorldFamilyEnv`."""

    def __init__(self, num_envs: int, parameters: FamilyParameters):
        super().__init__(num_envs, parameters.grid)
        self.family = parameters
        self.uniforms_per_episode += 1  # the last one draws the member
        self._laws = [(w.process, Markov(w.prior, w.transition)) for w in parameters.worlds()]
        self._members = np.array(parameters.members)
        self._context = np.zeros((len(self._context), 4), np.float32)
        self._steps = step_matrices(parameters.members)
        if parameters.grid.show_posterior:
            self._posterior = np.zeros((num_envs, len(self._laws), 2))

    @property
    def task_columns(self) -> NDArray[np.int64]:
        return np.array([3, self.uniforms_per_episode - 1])  # the first context and the member

    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        super().begin(rows, uniforms)
        if self._posterior is not None:
            self._posterior[rows] = initial_belief(self.family)

    def _draw_path(self, uniforms: NDArray[np.float64]) -> LatentPath:
        member = (uniforms[:, -1] * len(self._laws)).astype(np.int64)
        rows, times = len(uniforms), self.parameters.horizon + 1
        context = np.empty((rows, times, 4), np.float32)
        context[..., 1:] = self._members[member, None]
        session, switched = np.empty((rows, times), np.int64), np.empty((rows, times), np.int8)
        for number, (process, dynamics) in enumerate(self._laws):
            own = member == number
            path = draw_latent(process, dynamics, uniforms[own, :-1])
            context[own, :, :1] = path.context
            session[own], switched[own] = path.session, path.switched
        return LatentPath(context, session, switched)

    def _filter(self, kind: NDArray[np.int64]) -> None:
        assert self._posterior is not None
        self._posterior = filter_step(self._steps, self._posterior, self._evidence(kind))

    def labels(self) -> dict[str, NDArray[Any]]:
        labels = super().labels()
        if "posterior" in labels:
            labels["posterior"] = labels["posterior"].reshape(self.num_envs, -1)
        return labels

    def reference_returns(self) -> dict[str, float] | None:
        return family_references(self.family)

    def notified_returns(self, level: str) -> dict[str, float] | None:
        return Simulator.notified_returns(self, level)

    def notified_filter(self, level: str) -> None:
        return None

    def exact_filter(self) -> FiniteFilter:
        return exact_filter(self.family)

    def variants(self) -> dict[str, dict[str, Any]]:
        return self._both_alike() | {"switches_every_step": {"members": [[1.0, 1.0, 1.0]]}}


class GridWorldFamilyEnv(
    ParametrisedEnv, parameters=FamilyParameters.make, simulator=GridWorldFamilySimulator
):
    """The grid world of ``DLCMDP/GridWorld-v0`` whose law of change is hidden as well.

    ## Description

    Two goals in sight, one of which pays; which one is hidden and changes (`GridWorldEnv`). At the
    start of each meta-episode a *member* of the family is drawn, and it stays: how often the
    context changes, and to what. So there are two hidden things to infer, one above the other. A
    good agent learns, as the meta-episode goes on, whether it pays to run after the reward or to
    wait for it, and at which goal.

    ## Action space

    ``Discrete(5)``, or ``Discrete(4)`` with ``stay=False``: right, down, left, up, stay. What would
    leave the grid stays put.

    ## Observation space

    ``Box(0, 1, (6,), float32)``: x, y of the agent, of goal 0 and of goal 1, divided by (size - 1).

    ## Rewards

    For the cell entered (or stayed on): `active_reward` (+1) on the active goal, `inactive_reward`
    (0) on the other one, `step_reward` (-0.1) elsewhere. A meta-episode of the default grid returns
    between -6 and 60.

    ## Starting state

    Agent on a cell uniform over the grid, goals on a pair of distinct cells uniform over all pairs,
    unless `start` and `goals` fix them; a member of the family, each equally likely.

    ## Episode end

    Truncated after `horizon` steps, never terminated. Nothing is reset when the context changes.

    ## Latent

    | | |
    |---|---|
    | member | (p, T(1 given 0), T(0 given 1)), one of `members`, constant |
    | context m | index of the active goal, 0 or 1; first one by `prior`, uniform by default |
    | sessions | after each step's reward a session ends with the member's probability p |
    | change | T(m' given m) of the member |
    | what tells m | the reward on a goal cell reveals it exactly; other cells tell nothing |
    | what tells the member | nothing but how m goes on; p T alone matters, as no switch is seen |

    Default members: changes that are rare (p = 0.05) or frequent (0.5), four in five of them to
    goal 0 or four in five to goal 1. Returns of the default: random walk -3.12, blind 29.20,
    Bayes-optimal 47.42 (proven: 47.32 to 47.56), member known 49.61, oracle 51.65. Anyone who takes
    one law of change for certain, and acts Bayes-optimally by it, has about 43.2 at best.

    `info` carries `context` (float32 [4]: m, p, T(1 given 0), T(0 given 1)), `session` (int64,
    switches so far) and `switched` (int8) for the coming transition and, with `show_posterior`,
    `posterior` (float32 [2 n]): the exact filter's P(member, m), goal 0 and 1 of the first member,
    then of the second. `reference_returns()` gives the references for any parameters.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `members` | see Latent | the family: a list of (p_switch, T(1 given 0), T(0 given 1)) |
    | `size` | 5 | cells along an edge, 2 or more |
    | `horizon` | 60 | steps in a meta-episode, 1 or more |
    | `prior` | [0.5, 0.5] | distribution of the first context |
    | `stay` | True | whether there is a fifth action, to stay |
    | `goals` | None | two distinct (x, y) cells, or None for random ones |
    | `start` | None | the agent's first (x, y) cell, or None for a random one |
    | `active_reward`, `inactive_reward`, `step_reward` | 1, 0, -0.1 | see Rewards |
    | `show_posterior` | False | whether `info` carries the exact filter's posterior |
    | `context_matters` | True | False lets both goals pay the same: worlds unlike any other |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}


class GridWorldFamilyVectorEnv(ParametrisedVectorEnv, of=GridWorldFamilyEnv):
    """N grid worlds of a family stepped as arrays; arguments as in `GridWorldFamilyEnv`.

    With equal seeds, sub-env i's trajectory is that of a `GridWorldFamilyEnv` with seed i.
    """
