"""The DLCMDP: an MDP whose hidden context stays within a session and changes between sessions.

Order inside a step: act, reward under the current context m, then draw whether the session ends
and, if so, the new m. A switch after the reward of transition t therefore belongs to t + 1. The
labels delivered with an observation describe the transition that comes next:

==========  ============  =================================================================
key         type          meaning, delivered with observation o_t
==========  ============  =================================================================
context     float32 [C]   m_t
session     int64         number of switches strictly before transition t
switched    int8          1 iff a session ended between reward r_{t-1} and o_t (0 at t = 0)
==========  ============  =================================================================

Labels are for losses that say so and for evaluation. They are never part of the observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .bayes import FiniteFilter, NoExactFilterError, Posterior, hidden_markov, nearest_class
from .contexts import ContextDynamics, Markov
from .hooks import hook_of
from .returned import plain_info
from .sessions import SessionProcess
from .tasks import TASK, Held

LABELS = ("context", "session", "switched", "inner_done")
"""The keys of privileged labels in `info`."""

KEEP_TASK = {"keep_task": True}
"""Reset options for another inner episode of the same task."""


@dataclass(frozen=True)
class LatentPath:
    """The hidden part of N meta-episodes of T transitions; entry t goes with observation o_t.

    Attributes:
        context: [N, T + 1, C] float32.
        session: [N, T + 1] int64.
        switched: [N, T + 1] int8.
    """

    context: NDArray[np.float32]
    session: NDArray[np.int64]
    switched: NDArray[np.int8]


def draw_latent(
    process: SessionProcess, dynamics: ContextDynamics, uniforms: NDArray[np.float64]
) -> LatentPath:
    """Turn uniforms into the hidden part of N meta-episodes.

    Args:
        process: says when the context changes.
        dynamics: says to what.
        uniforms: [N, 1 + 2 T]: one for the first context, T for the switches, T for the changes.
    """
    rows, horizon = len(uniforms), (uniforms.shape[1] - 1) // 2
    switched = np.zeros((rows, horizon + 1), np.int8)
    switched[:, 1:] = process.switches(uniforms[:, 1 : 1 + horizon])
    session = np.cumsum(switched, 1, dtype=np.int64)
    by_session = [dynamics.initial(uniforms[:, 0])]
    everyone = np.arange(rows)
    for number in range(1, int(session[:, -1].max(initial=0)) + 1):
        # Rows with fewer sessions get a context here that nothing refers to.
        first = (session >= number).argmax(1)
        by_session.append(dynamics.change(by_session[-1], uniforms[everyone, horizon + first]))
    contexts = np.stack(by_session, 1).astype(np.float32)
    return LatentPath(contexts[everyone[:, None], session], session, switched)


class Sessions(gym.Wrapper):
    """Turn any environment that has ``set_context(m)`` into a DLCMDP.

    A change of context calls ``set_context(m)`` and nothing else, so the environment keeps its own
    state. The first context is set before the environment's reset. ``reset(options={"keep_task":
    True})`` begins another inner episode of the same trial: the context and its process go on.

    The labels `context`, `session` and `switched` are added to `info` (see the module).

    Args:
        env: an environment with ``set_context(m)``, m a float64 vector [C], on itself or on a
            wrapper inside.
        process: when the context changes.
        dynamics: what it changes to.

    Raises:
        ValueError: if `env` has no ``set_context``.
    """

    _BLOCK = 256  # transitions for which uniforms are drawn at once
    task_width = 1
    """A task, ``options={"task": [u]}``, is the uniform that the first context is drawn from."""

    def __init__(self, env: gym.Env, process: SessionProcess, dynamics: ContextDynamics):
        super().__init__(env)
        if not env.has_wrapper_attr("set_context"):
            raise ValueError(
                f"Sessions: {env} has no method set_context(m); give the environment one that "
                "changes its hidden context and leaves its state alone, or, for a MuJoCo "
                "environment, wrap it with one of rllib_metarl.envs.mujoco.wrappers."
            )
        self.process, self.dynamics = process, dynamics
        self.session_random = np.random.default_rng()
        """What the sessions are drawn from; apart from the environment's own np_random."""
        self._context: NDArray[np.float64] | None = None
        self._session, self._switched, self._age = 0, 0, 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a meta-episode (or, with ``keep_task``, another inner episode of it)."""
        if seed is not None:
            # The spawn key keeps this stream apart from the env's own, which has the bare seed.
            own = np.random.SeedSequence(seed, spawn_key=(1,))
            self.session_random = np.random.default_rng(own)
        keep = bool((options or {}).get("keep_task")) and self._context is not None
        if not keep:
            self._begin((options or {}).get(TASK))
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**plain_info(info), **self._labels()}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act under the current context, then let the session end or go on."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        switch_uniform, change_uniform = self._next_uniforms()
        self._switched = int(switch_uniform < self.process.hazard(self._age))
        self._age = 1 if self._switched else self._age + 1
        self._session += self._switched
        if self._switched:
            assert self._context is not None
            changed = self.dynamics.change(self._context[None], np.array([change_uniform]))
            self._set_context(changed[0])
        return observation, reward, terminated, truncated, {**plain_info(info), **self._labels()}

    def reference_returns(self) -> None:
        """Return None: references of the environment inside do not know of its sessions."""

    def exact_filter(self) -> FiniteFilter | None:
        """Return the exact filter, if the environment inside has a method ``likelihood``.

        ``likelihood(observations, actions, rewards)`` gets `[B, T + 1, ...]`, `[B, T, ...]` and
        `[B, T]` and returns P(what transition t shows | context k) `[B, T, K]` (or any multiple of
        it that is the same for all contexts), in the order of the `Markov` dynamics' values.

        Raises:
            NoExactFilterError: if the dynamics are not `Markov`, or session lengths have a memory.
        """
        likelihood = hook_of(self.env, "likelihood")
        if likelihood is None:
            return None
        if not isinstance(self.dynamics, Markov) or self.process.schedule(1) is None:
            raise NoExactFilterError(
                "the exact filter knows Markov dynamics, and Bernoulli, fixed or no switches; not "
                f"{type(self.dynamics).__name__} with {self.process}"
            )
        dynamics, process = self.dynamics, self.process

        def run(
            observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]
        ) -> Posterior:
            chances = np.asarray(likelihood(observations, actions, rewards), np.float64)
            hazard = process.schedule(chances.shape[1])
            assert hazard is not None
            change = hazard[:, None, None] * dynamics.matrix
            stay = (1 - hazard)[:, None, None] * np.eye(len(dynamics.prior))
            return hidden_markov(dynamics.prior, stay, change, chances)

        names = tuple(", ".join(f"{x:g}" for x in value) for value in dynamics.values)
        return FiniteFilter(names, nearest_class(dynamics.values), run)

    def _begin(self, task: Any = None) -> None:
        self._session, self._switched, self._age = 0, 0, 1
        self._uniforms = self.session_random.random((self._BLOCK, 2))
        self._used = 0
        first = self.session_random.random(1)
        if task is not None:
            first = Held([task], [0], 1, self.task_width).tasks[0]
        self._set_context(self.dynamics.initial(first)[0])

    def _next_uniforms(self) -> NDArray[np.float64]:
        if self._used == self._BLOCK:
            self._uniforms, self._used = self.session_random.random((self._BLOCK, 2)), 0
        self._used += 1
        return self._uniforms[self._used - 1]

    def _set_context(self, context: NDArray[np.float64]) -> None:
        self._context = context
        self.env.get_wrapper_attr("set_context")(context)

    def _labels(self) -> dict[str, Any]:
        assert self._context is not None
        return {
            "context": self._context.astype(np.float32),
            "session": np.int64(self._session),
            "switched": np.int8(self._switched),
        }
