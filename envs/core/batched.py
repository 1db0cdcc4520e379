"""Single environments behind the interface of the native vector environments."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from numpy.typing import ArrayLike, NDArray

from .calling import call_env, interruptible
from .dlcmdp import Sessions
from .faults import BrokenEnv, EnvFault, described, name_of
from .guard import Guard
from .hooks import hook_of
from .nested import joined_mask, nested, rows_of, same, values_of
from .returned import Labels, not_finite, plain_reset, plain_step
from .streams import Stream, check_count, seeds_of, set_state, state_of
from .tasks import TASK, TASK_ID, Held, held_tasks

Infos = dict[str, Any]

_said: set[tuple[str, str]] = set()
"""Envs and labels that were said to be unusable: once is enough."""

logger = logging.getLogger("rllib_metarl")


class BatchedEnvs(VectorEnv):
    """N single environments stepped in turn, with same-step autoreset and dict-of-arrays infos.

    Of what the environments put into `info`, the numeric entries that all of them give in that step
    are stacked, row i for sub-env i. Labels (`context` and the like) come as arrays whatever they
    were given as, see `plain_label`; those that an environment does not give from its first reset
    on are absent. See `DLCMDPVectorEnv` for ``final_obs`` and ``final_info``.

    Args:
        envs: environments with equal spaces, at least one. They belong to this object from now on.
        guard: what to do where one raises, hangs or returns what cannot be used: its meta-episode
            is truncated where it was, with reward 0, and a new one takes its place. With None,
            exceptions come through, and the rest raises `BrokenEnv`.
        name: the environment's, for messages; None for that of its id or class.
    """

    def __init__(
        self, envs: Sequence[gym.Env], guard: Guard | None = None, name: str | None = None
    ):
        self.envs = list(envs)
        if not self.envs:
            raise ValueError("BatchedEnvs: got no environment; give at least one.")
        first = self.envs[0]
        for env in self.envs:
            same = env.observation_space == first.observation_space
            if not same or env.action_space != first.action_space:
                raise ValueError(
                    f"BatchedEnvs: {env} has other spaces than {first}; "
                    "all environments of one batch need equal spaces."
                )
        self.num_envs = len(self.envs)
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = first.render_mode
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self._seeds: list[int | None] = [None] * self.num_envs
        self._held_out: list[np.random.Generator] | None = None
        self._observations: list[Any] = []
        self._infos: list[Infos] = []
        self._stacked: Any = None
        self._labels = Labels()
        self._guard = guard
        self.env_name = name or name_of(first)
        if guard is not None:
            guard.name = self.env_name
        self._broken = [False] * self.num_envs
        self._spare = [np.random.default_rng() for _ in self.envs]
        self._history = History(self.num_envs)
        self._held: Held | None = None
        self._playing = np.full(self.num_envs, -1)  # the held tasks of what is under way

    def set_stream(self, stream: Stream) -> None:
        """Let sub-env i draw from ``stream.generator(i)`` from its next meta-episode on.

        Each environment is seeded from its stream in gymnasium's way, with a number below 2**32,
        since some environments take no larger ones: once, in its next reset, in training; in every
        reset in evaluation, so that its k-th task does not depend on what was done in the others.
        """
        streams = [stream.generator(i) for i in range(self.num_envs)]
        self._seeds = [int(rng.integers(2**32)) for rng in streams]
        self._spare = [np.random.default_rng([seed, 1]) for seed in self._seeds if seed is not None]
        self._held_out = streams if stream.evaluation else None

    @property
    def task_width(self) -> int:
        """How many uniforms make a task; 0 where the environments do not say."""
        return int(hook_of(self.envs[0], "task_width") or 0)

    def hold_tasks(self, tasks: ArrayLike | None, ids: ArrayLike = ()) -> None:
        """As `DLCMDPVectorEnv.hold_tasks`, tasks [M, W], ids [N]; by ``options={"task": ...}``."""
        self._held = held_tasks(self, tasks, ids)

    @property
    def faults(self) -> int:
        """How often an environment raised, hung or returned what cannot be used."""
        return 0 if self._guard is None else self._guard.faults

    @property
    def unusable_labels(self) -> dict[str, str]:
        """Why labels that the environments give are left out: key -> a clause."""
        return self._labels.unusable

    def fault_news(self) -> list[str]:
        """One sentence on each fault since the last call (of many, on the first ones)."""
        if self._guard is None:
            return []
        news, self._guard.news = self._guard.news, []
        return news

    def rng_state(self) -> list[Any]:
        """Return the states of each sub-env's generators, picklable."""
        return [
            {"next_seed": seed, "generators": list(map(state_of, _generators(env)))}
            for env, seed in zip(self.envs, self._seeds, strict=True)
        ]

    def set_rng_state(self, state: Sequence[Any]) -> None:
        """Continue from `rng_state()`: the next meta-episodes are those that would have come."""
        check_count("set_rng_state", "states", state, self.num_envs)
        for i, (env, saved) in enumerate(zip(self.envs, state, strict=True)):
            self._seeds[i] = saved["next_seed"]
            _set_generators(env, saved["generators"])

    def under_way(self) -> list[dict[str, Any]] | None:
        """Return how each sub-env's meta-episode came to be where it is, as plain data, or None.

        That is what its generators were at its beginning, and the actions since: environments
        cannot in general be saved, but their meta-episodes can be played again.
        """
        if not self._observations:
            return None
        return [
            begun | {"actions": actions, "observation": self._plain(observation)}
            for (begun, actions), observation in zip(
                self._history.tell(), self._observations, strict=True
            )
        ]

    def set_under_way(self, state: list[dict[str, Any]]) -> None:
        """Play the meta-episodes of `under_way()` again, up to where they were.

        The generators end up where the meta-episodes leave them, `set_rng_state` comes after it.

        Raises:
            ValueError: if one ends before that or comes out elsewhere: the environment is another,
                or draws from a generator that is not its own, or carries something over resets.
        """
        check_count("set_under_way", "meta-episodes", state, self.num_envs)
        with interruptible():
            played = [self._replay(i, begun) for i, begun in enumerate(state)]
        self._learn_labels([first for _, first, _ in played])
        self._observations = [observation for observation, _, _ in played]
        self._infos = [self._labels.read(info) for _, _, info in played]
        self._stacked = self._stack(self._observations)
        self._history.set([(_begun(begun), begun["actions"]) for begun in state])

    def _replay(self, i: int, begun: dict[str, Any]) -> tuple[Any, Infos, Infos]:
        """The observation that it comes to, and the infos of its reset and of its last step."""
        env, over, space = self.envs[i], False, self.single_observation_space
        _set_generators(env, begun["generators"])
        result = call_env(env.reset, seed=begun["seed"], options=begun["options"])
        observation, first = plain_reset(space, result)
        info = first
        for action in begun["actions"]:
            result = plain_step(space, call_env(env.step, action))
            observation, _, terminated, truncated, info = result
            over = over or terminated or truncated
        if over or not same(space, observation, begun["observation"]):
            raise ValueError(
                f"set_under_way: {env} did not do the same again with the same generators and "
                "actions; its meta-episodes under way cannot be gone on with."
            )
        return observation, first, info

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, Infos]:
        """Begin an episode in every sub-env; `seed` as in `DLCMDPVectorEnv.reset`."""
        if seed is not None:
            self._seeds = list(seeds_of(seed, self.num_envs))
            self._held_out = None
        self._history = History(self.num_envs)
        if self._guard is not None:
            self._guard.look_at_the_clock()
        with interruptible():
            results = [self._begin_one(i, options) for i in range(self.num_envs)]
        self._observations = [observation for observation, _ in results]
        self._infos = [info for _, info in results]
        if not self._labels.known:
            self._learn_labels(self._infos)
            self._infos = [self._labels.read(info) for info in self._infos]
        self._stacked = self._stack(self._observations)
        return self._stacked, self._labelled(self._infos)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Act in every sub-env; begin a new episode wherever one ended.

        Args:
            actions: N actions, batched by the action space.

        Returns:
            observations, rewards [N], terminated [N], truncated [N], infos.

        Raises:
            RuntimeError: before the first reset.
            BrokenEnv: if sub-envs fail too often in a row.
        """
        if not self._observations:
            raise RuntimeError("BatchedEnvs: no episode is running; call reset().")
        with interruptible():
            return self._step(actions)

    def _step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        observations: list[Any] = []
        infos: list[Infos] = []
        rows = rows_of(self.single_action_space, actions)
        self._history.add(actions if isinstance(actions, np.ndarray) else rows)
        if self._guard is not None:
            self._guard.look_at_the_clock()
        for i, action in enumerate(rows):
            observation, rewards[i], terminated[i], truncated[i], info = self._step_one(i, action)
            observations.append(observation)
            infos.append(info)
        stacked = self._stack(observations)
        if self._guard is not None:
            faulty = not_finite(self.single_observation_space, stacked, rewards)
            for i, error in faulty.items():
                fixed = self._as_it_was(i, error)
                observations[i], rewards[i], terminated[i], truncated[i], infos[i] = fixed
            if faulty:
                stacked = self._stack(observations)
            if ((terminated | truncated) & ~np.array(self._broken)).any():
                self._guard.ended_well()
        done = np.flatnonzero(terminated | truncated)
        final = {}
        if len(done):
            final = {"final_obs": stacked, "final_info": self._labelled(infos)}
            for row in done.tolist():
                observations[row], infos[row] = self._begin_one(row, None)
            stacked = self._stack(observations)
        self._observations, self._infos, self._stacked = observations, infos, stacked
        return stacked, rewards, terminated, truncated, {**self._labelled(infos), **final}

    def _labelled(self, infos: list[Infos]) -> Infos:
        stacked = _stack_infos(infos)
        if self._held is not None:
            stacked[TASK_ID] = self._playing.copy()
        return stacked

    def render(self) -> tuple[Any, ...]:
        """Return one picture of each sub-env."""
        return tuple(env.render() for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        """Close every sub-env; one that fails does not keep the others open."""
        failed = []
        for env in self.envs:
            try:
                call_env(env.close)
            except Exception as error:  # an env's code can raise anything
                failed.append(f"env {name_of(env)} failed at its close: {described(error)}")
        if failed:
            logger.warning(failed[0])

    def _reset_one(self, i: int, options: dict[str, Any] | None) -> tuple[Any, Infos]:
        seed, self._seeds[i] = self._seeds[i], None
        if self._held_out is not None:
            self._seeds[i] = int(self._held_out[i].integers(2**32))
        self._playing[i] = -1 if self._held is None else self._held.ids[i]
        if self._held is not None:
            options = {**(options or {}), TASK: self._held.uniforms(i)}
        generators = list(map(state_of, _generators(self.envs[i])))
        self._history.begin(i, {"seed": seed, "options": options, "generators": generators})
        result = self._call(self.envs[i].reset, seed=seed, options=options)
        observation, info = plain_reset(self.single_observation_space, result)
        return observation, self._labels.read(info)

    def _learn_labels(self, infos: list[Infos]) -> None:
        self._labels.learn(infos)
        for key, why in self._labels.unusable.items():
            if (self.env_name, key) not in _said:
                _said.add((self.env_name, key))
                logger.warning("env %s: info[%r] is left out: %s", self.env_name, key, why)

    # --- environments that fail ------------------------------------------------------------------

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        call = call_env if self._guard is None else self._guard.call
        return call(function, *args, **kwargs)

    def _step_one(self, i: int, action: Any) -> tuple[Any, float, bool, bool, Infos]:
        try:
            result = self._call(self.envs[i].step, action)
            *rest, info = plain_step(self.single_observation_space, result)
            info = self._labels.read(info)
        except Exception as error:  # an environment's code can raise anything
            return self._as_it_was(i, error)
        if self._guard is not None:
            self._guard.worked()
        return *rest, info

    def _as_it_was(self, i: int, error: Exception) -> tuple[Any, float, bool, bool, Infos]:
        """What is returned in place of a faulty step: a truncation where the environment was."""
        self._blame(i, error)
        # A copy: an environment may have written into its own array meanwhile.
        before = rows_of(self.single_observation_space, self._stacked)[i]
        return before, 0.0, False, True, self._infos[i]

    def _blame(self, i: int, error: Exception) -> None:
        """Counts a fault; without a guard, the first one is too many."""
        if self._guard is None:
            if isinstance(error, EnvFault):
                raise BrokenEnv(f"sub-env {i} {described(error)}") from error
            raise error
        self._broken[i] = True
        self._guard.count(i, error)

    def _begin_one(self, i: int, options: dict[str, Any] | None) -> tuple[Any, Infos]:
        """A new meta-episode, in a new environment where the old one is broken."""
        while True:
            try:
                if self._broken[i]:
                    self._renew(i)
                return self._reset_one(i, options)
            except Exception as error:  # an environment's code can raise anything
                self._blame(i, error)

    def _renew(self, i: int) -> None:
        assert self._guard is not None
        self.envs[i] = self._guard.renew(i, self.envs[i])
        if self._held_out is None:
            self._seeds[i] = int(self._spare[i].integers(2**32))
        self._broken[i] = False

    def _plain(self, observation: Any) -> Any:
        space = self.single_observation_space
        return nested(space, map(np.asarray, values_of(space, observation)))

    def _stack(self, observations: list[Any]) -> Any:
        space = self.single_observation_space
        return concatenate(space, observations, create_empty_array(space, self.num_envs))


class History:
    """How the meta-episodes under way in N sub-envs began, and all actions since.

    Args:
        num_envs: N.
    """

    def __init__(self, num_envs: int) -> None:
        self._begun: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self._since = [0] * num_envs
        self._actions: list[Any] = []

    def begin(self, i: int, begun: dict[str, Any]) -> None:
        """A meta-episode begins in sub-env i; its old one is forgotten."""
        self._begun[i], self._since[i] = begun, len(self._actions)
        oldest = min(self._since)
        if oldest > len(self._actions) // 2:  # now and then, so that a step is cheap
            del self._actions[:oldest]
            self._since = [since - oldest for since in self._since]

    def add(self, actions: Any) -> None:
        """All sub-envs act."""
        self._actions.append(copy.deepcopy(actions))

    def tell(self) -> list[tuple[dict[str, Any], list[Any]]]:
        """What each meta-episode began with and its actions."""
        return [
            (begun, [actions[i] for actions in self._actions[since:]])
            for i, (begun, since) in enumerate(zip(self._begun, self._since, strict=True))
        ]

    def set(self, records: list[tuple[dict[str, Any], list[Any]]]) -> None:
        """Takes over `tell()`; shorter histories begin later."""
        self._begun = [begun for begun, _ in records]
        longest = max(len(actions) for _, actions in records)
        self._since = [longest - len(actions) for _, actions in records]
        padded = [[None] * (longest - len(actions)) + list(actions) for _, actions in records]
        self._actions = [list(row) for row in zip(*padded, strict=True)]


def _begun(begun: dict[str, Any]) -> dict[str, Any]:
    return {key: begun[key] for key in ("seed", "options", "generators")}


def _set_generators(env: gym.Env, states: list[Any]) -> None:
    for rng, state in zip(_generators(env), states, strict=True):
        set_state(rng, state)


def _generators(env: gym.Env) -> list[Any]:
    """All generators that the environment and the wrappers around it draw from."""
    found: list[Any] = [env.unwrapped.np_random]
    while isinstance(env, gym.Wrapper):
        if isinstance(env, Sessions):
            found.append(env.session_random)
        env = env.env
    return found


def _stack_infos(infos: list[Infos]) -> Infos:
    """Stack the numeric entries that every info has, [N, ...]."""
    common = set(infos[0]).intersection(*infos[1:])
    stacked: Infos = {}
    for key in sorted(common, key=str):
        try:
            values = [_array(info[key]) for info in infos]
        except Exception:  # ragged, or whatever a foreign type raises
            continue
        alike = all(v.shape == values[0].shape and v.dtype.kind in "biuf" for v in values)
        if alike:
            stacked[key] = np.stack(values)
    return stacked


def _array(value: Any) -> Any:
    try:
        return np.asarray(value)
    except ValueError:  # of parts that differ in length: an action mask of several categories
        return joined_mask(value)
