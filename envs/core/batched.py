"""Single environments behind the interface of the native vector environments."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from numpy.typing import NDArray

from .dlcmdp import Sessions
from .guard import Guard, check_kinds, check_observation, not_finite
from .nested import nested, rows_of, same, values_of
from .streams import Stream, check_count, seeds_of

Infos = dict[str, Any]


class BatchedEnvs(VectorEnv):
    """N single environments stepped in turn, with same-step autoreset and dict-of-arrays infos.

    Of what the environments put into `info`, the numeric entries that all of them give in that step
    are stacked, row i for sub-env i; labels that an environment does not have are simply absent.
    See `DLCMDPVectorEnv` for ``final_obs`` and ``final_info``.

    Args:
        envs: environments with equal spaces, at least one. They belong to this object from now on.
        guard: what to do where one raises, hangs or returns rubbish: its meta-episode is truncated
            where it was, with reward 0, and a new one takes its place. None lets it through.
    """

    def __init__(self, envs: Sequence[gym.Env], guard: Guard | None = None):
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
        self._guard = guard
        self._broken = [False] * self.num_envs
        self._spare = [np.random.default_rng() for _ in self.envs]
        self._history = History(self.num_envs)

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
    def faults(self) -> int:
        """How often an environment raised, hung or returned rubbish, as far as that is borne."""
        return 0 if self._guard is None else self._guard.faults

    def fault_news(self) -> list[str]:
        """One sentence on each fault since the last call (of many, on the first ones)."""
        if self._guard is None:
            return []
        news, self._guard.news = self._guard.news, []
        return news

    def rng_state(self) -> list[Any]:
        """Return the states of each sub-env's generators, picklable."""
        return [
            {"next_seed": seed, "generators": [rng.bit_generator.state for rng in _generators(env)]}
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
        self._observations = [self._replay(i, told) for i, told in enumerate(state)]
        self._history.set([(_begun(told), told["actions"]) for told in state])

    def _replay(self, i: int, told: dict[str, Any]) -> Any:
        env, over = self.envs[i], False
        _set_generators(env, told["generators"])
        observation, _ = env.reset(seed=told["seed"], options=told["options"])
        for action in told["actions"]:
            observation, _, terminated, truncated, _ = env.step(action)
            over = over or bool(terminated or truncated)
        if over or not same(self.single_observation_space, observation, told["observation"]):
            raise ValueError(
                f"set_under_way: {env} did not do the same again with the same generators and "
                "actions; its meta-episodes under way cannot be gone on with."
            )
        return observation

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
        results = [self._begin_one(i, options) for i in range(self.num_envs)]
        self._observations = [observation for observation, _ in results]
        self._infos = [info for _, info in results]
        return self._stack(self._observations), _stack_infos(self._infos)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Act in every sub-env; begin a new episode wherever one ended."""
        if not self._observations:
            raise RuntimeError("BatchedEnvs: no episode is running; call reset().")
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        observations: list[Any] = []
        infos: list[Infos] = []
        rows = rows_of(self.single_action_space, actions)
        self._history.add(actions if isinstance(actions, np.ndarray) else rows)
        if self._guard is not None:
            self._guard.look_at_the_clock()
        for i, action in enumerate(rows):
            observation, reward, terminated[i], truncated[i], info = self._step_one(i, action)
            rewards[i] = reward if isinstance(reward, float) else np.reshape(reward, ())
            observations.append(observation)
            infos.append(info)
        stacked = self._stack(observations)
        if self._guard is not None:
            faulty = list(not_finite(stacked, rewards))
            for i, error in faulty:
                mended = self._as_it_was(self._guard, i, error)
                observations[i], rewards[i], terminated[i], truncated[i], infos[i] = mended
            if faulty:
                stacked = self._stack(observations)
            if ((terminated | truncated) & ~np.array(self._broken)).any():
                self._guard.ended_well()
        done = np.flatnonzero(terminated | truncated)
        final = {}
        if len(done):
            final = {"final_obs": stacked, "final_info": _stack_infos(infos)}
            for row in done.tolist():
                observations[row], infos[row] = self._begin_one(row, None)
            stacked = self._stack(observations)
        self._observations, self._infos = observations, infos
        return stacked, rewards, terminated, truncated, {**_stack_infos(infos), **final}

    def render(self) -> tuple[Any, ...]:
        """Return one picture of each sub-env."""
        return tuple(env.render() for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        """Close every sub-env."""
        for env in self.envs:
            env.close()

    def _reset_one(self, i: int, options: dict[str, Any] | None) -> tuple[Any, Infos]:
        seed, self._seeds[i] = self._seeds[i], None
        if self._held_out is not None:
            self._seeds[i] = int(self._held_out[i].integers(2**32))
        generators = [rng.bit_generator.state for rng in _generators(self.envs[i])]
        self._history.begin(i, {"seed": seed, "options": options, "generators": generators})
        if self._guard is None:
            return self.envs[i].reset(seed=seed, options=options)
        result: tuple[Any, Infos] = self._guard.call(self.envs[i].reset, seed=seed, options=options)
        check_observation(self.single_observation_space, result[0])
        return result

    # --- environments that fail ------------------------------------------------------------------

    def _step_one(self, i: int, action: Any) -> tuple[Any, Any, bool, bool, Infos]:
        if self._guard is None:
            return self.envs[i].step(action)
        try:
            result: tuple[Any, Any, bool, bool, Infos] = self._guard.call(self.envs[i].step, action)
            check_kinds(self.single_observation_space, result[0], result[1])
        except Exception as error:  # an environment's code can raise anything
            return self._as_it_was(self._guard, i, error)
        return result

    def _as_it_was(
        self, guard: Guard, i: int, error: Exception
    ) -> tuple[Any, float, bool, bool, Infos]:
        """What is returned in place of a faulty step: a truncation where the environment was."""
        self._broken[i] = True
        guard.count(i, error)
        return self._observations[i], 0.0, False, True, self._infos[i]

    def _begin_one(self, i: int, options: dict[str, Any] | None) -> tuple[Any, Infos]:
        """A new meta-episode, in a new environment where the old one is broken."""
        if self._guard is None:
            return self._reset_one(i, options)
        while True:
            try:
                if self._broken[i]:
                    self._renew(i, self._guard)
                return self._reset_one(i, options)
            except Exception as error:  # an environment's code can raise anything
                self._broken[i] = True
                self._guard.count(i, error)

    def _renew(self, i: int, guard: Guard) -> None:
        self.envs[i] = guard.renew(i, self.envs[i])
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

    def set(self, told: list[tuple[dict[str, Any], list[Any]]]) -> None:
        """Takes over `tell()`; shorter histories begin later."""
        self._begun = [begun for begun, _ in told]
        longest = max(len(actions) for _, actions in told)
        self._since = [longest - len(actions) for _, actions in told]
        padded = [[None] * (longest - len(actions)) + list(actions) for _, actions in told]
        self._actions = [list(row) for row in zip(*padded, strict=True)]


def _begun(told: dict[str, Any]) -> dict[str, Any]:
    return {key: told[key] for key in ("seed", "options", "generators")}


def _set_generators(env: gym.Env, states: list[Any]) -> None:
    for rng, state in zip(_generators(env), states, strict=True):
        rng.bit_generator.state = state


def _generators(env: gym.Env) -> list[np.random.Generator]:
    """All generators that the environment and the wrappers around it draw from."""
    found = [env.unwrapped.np_random]
    while isinstance(env, gym.Wrapper):
        if isinstance(env, Sessions):
            found.append(env.session_random)
        env = env.env
    return found


def _stack_infos(infos: list[Infos]) -> Infos:
    """Stack the numeric entries that every info has, [N, ...]."""
    common = set(infos[0]).intersection(*infos[1:])
    stacked: Infos = {}
    for key in sorted(common):
        values = [np.asarray(info[key]) for info in infos]
        alike = all(v.shape == values[0].shape and v.dtype.kind in "biuf" for v in values)
        if alike:
            stacked[key] = np.stack(values)
    return stacked
