"""The frame of a continuous task: sessions, inner episodes and labels, whatever the physics is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.checks import MOST, check_number, check_size
from ..core.contexts import ContextDynamics
from ..core.dlcmdp import draw_latent
from ..core.sessions import Bernoulli, Never, SessionProcess, session_process
from ..core.vector import Simulator

Array = NDArray[np.float64]
Moved = tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True)
class Trial:
    """How long a meta-episode is and when its context changes. Hashable; use `Trial.make`.

    Attributes:
        horizon: steps in an inner episode.
        inner_episodes: inner episodes in a meta-episode; with 1, one episode is the whole of it.
        process: when the context changes.
    """

    horizon: int
    inner_episodes: int
    process: SessionProcess

    @classmethod
    def make(
        cls,
        where: str,
        horizon: int = 200,
        inner_episodes: int = 1,
        p_switch: float = 0.01,
        session: SessionProcess | dict[str, Any] | None = None,
    ) -> Trial:
        """Check the arguments; ValueError names `where` and the one that is out of its range."""
        check_size(where, "horizon", horizon)
        check_size(where, "inner_episodes", inner_episodes, high=MOST // horizon)
        check_number(where, "p_switch", p_switch, low=0.0, high=1.0)
        if session is not None:
            process = session_process(session)
        else:
            process = Bernoulli(float(p_switch)) if p_switch > 0.0 else Never()
        return cls(int(horizon), int(inner_episodes), process)

    @property
    def steps(self) -> int:
        """The most steps that a meta-episode can have."""
        return self.horizon * self.inner_episodes


class TrialSimulator(Simulator):
    """N meta-episodes of a task that a subclass knows how to start, to move and to observe.

    An inner episode ends after `Trial.horizon` steps, or when the task terminates. The one after
    it begins in the same step, with the context as it is. The end of the last inner episode ends
    the meta-episode. A row whose physics has become unstable is truncated at once: its reward is 0,
    its last observation the last one that was sound, its label `unstable` 1, and `unstable_count`
    counts it.

    With more than one inner episode the observation's last entry is the inner-done flag, and
    `inner_done` is one of the labels.

    Args:
        num_envs: N.
        trial: length and sessions.
        contexts: the prior and the law of change.
        start_uniforms: how many uniforms an inner episode's first state takes.
        observation: the task's observation space, a one-dimensional Box.
        actions: the action space, a Box.
    """

    def __init__(
        self,
        num_envs: int,
        trial: Trial,
        contexts: ContextDynamics,
        start_uniforms: int,
        observation: gym.spaces.Box,
        actions: gym.spaces.Box,
    ):
        self.num_envs, self.trial, self.contexts = num_envs, trial, contexts
        self.observation_space = _flagged(observation) if trial.inner_episodes > 1 else observation
        self.action_space = actions
        self.unstable_count = 0
        """How many meta-episodes ended because the physics became unstable."""
        # First states of all inner episodes; then the context path, as `draw_latent` takes it.
        self._parts = trial.inner_episodes * start_uniforms
        self.uniforms_per_episode = self._parts + 1 + 2 * trial.steps
        self._allocate(num_envs, trial.steps + 1, start_uniforms)

    def _allocate(self, n: int, length: int, start_uniforms: int) -> None:
        self._rows = np.arange(n)
        self._t, self._began, self._inner = np.zeros((3, n), np.int64)
        self._inner_done, self._unstable = np.zeros((2, n), np.int8)
        self._starts = np.zeros((n, self.trial.inner_episodes, start_uniforms))
        self._context = np.zeros((n, length, self.contexts.size), np.float32)
        self._session = np.zeros((n, length), np.int64)
        self._switched = np.zeros((n, length), np.int8)

    @property
    def task_columns(self) -> NDArray[np.int64]:
        return np.array([self._parts])  # the first context

    def begin(self, rows: NDArray[np.int64], uniforms: Array) -> None:
        self._starts[rows] = uniforms[:, : self._parts].reshape(len(rows), *self._starts.shape[1:])
        path = draw_latent(self.trial.process, self.contexts, uniforms[:, self._parts :])
        self._context[rows], self._session[rows] = path.context, path.session
        self._switched[rows] = path.switched
        self._t[rows] = self._began[rows] = self._inner[rows] = 0
        self._inner_done[rows] = self._unstable[rows] = 0
        self._set_contexts(rows, path.context[:, 0].astype(np.float64))
        self._start(rows, self._starts[rows, 0])

    def advance(self, actions: NDArray[Any]) -> Moved:
        rewards, terminated, unstable = self._move(actions.astype(np.float64))
        self._t += 1
        terminated = terminated & ~unstable
        ended = terminated | unstable | (self._t - self._began >= self.trial.horizon)
        over = unstable | (ended & (self._inner + 1 >= self.trial.inner_episodes))
        self._inner_done, self._unstable = ended.astype(np.int8), unstable.astype(np.int8)
        self.unstable_count += int(unstable.sum())
        self._change_contexts(~over)
        self._begin_inner(np.flatnonzero(ended & ~over))
        return np.where(unstable, 0.0, rewards), over & terminated, over & ~terminated

    def _change_contexts(self, going_on: NDArray[np.bool_]) -> None:
        now = np.minimum(self._t, self.trial.steps)
        rows = np.flatnonzero((self._switched[self._rows, now] == 1) & going_on)
        if len(rows):
            self._set_contexts(rows, self._context[rows, now[rows]].astype(np.float64))

    def _begin_inner(self, rows: NDArray[np.int64]) -> None:
        if len(rows):
            self._inner[rows] += 1
            self._began[rows] = self._t[rows]
            self._start(rows, self._starts[rows, self._inner[rows]])

    def observe(self) -> NDArray[np.float32]:
        observation = self._observe().astype(np.float32)
        if self.trial.inner_episodes > 1:
            return np.column_stack([observation, self._inner_done.astype(np.float32)])
        return observation

    def labels(self) -> dict[str, NDArray[Any]]:
        labels: dict[str, NDArray[Any]] = {
            "context": self._context[self._rows, self._t],
            "session": self._session[self._rows, self._t],
            "switched": self._switched[self._rows, self._t],
            "unstable": self._unstable.copy(),
        }
        if self.trial.inner_episodes > 1:
            labels["inner_done"] = self._inner_done.copy()
        return labels

    @property
    def stays(self) -> bool:
        return isinstance(self.trial.process, Never)

    def variants(self) -> dict[str, dict[str, Any]]:
        return {"switches_every_step": {"p_switch": 1.0, "session": None}}

    def context_of(self, row: int) -> Array:
        """Return the context [C] under which `row` acts next."""
        return self._context[row, self._t[row]].astype(np.float64)

    @abstractmethod
    def _set_contexts(self, rows: NDArray[np.int64], contexts: Array) -> None:
        """Let `contexts` [R, C] hold in `rows` [R] from now on; the physical state stays."""

    @abstractmethod
    def _start(self, rows: NDArray[np.int64], uniforms: Array) -> None:
        """Put `rows` [R] into first states, from uniforms [R, start_uniforms]."""

    @abstractmethod
    def _move(self, actions: Array) -> Moved:
        """Act in every row, actions [N, A]; return rewards, terminated and unstable, each [N].

        A row that is unstable has to keep a state that can be observed.
        """

    @abstractmethod
    def _observe(self) -> Array:
        """Return the observations [N, D], without a flag."""


def _flagged(space: gym.spaces.Box) -> gym.spaces.Box:
    low = np.append(space.low, 0.0).astype(np.float32)
    return gym.spaces.Box(low, np.append(space.high, 1.0).astype(np.float32), dtype=np.float32)
