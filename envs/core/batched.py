"""Single environments behind the interface of the native vector environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from .dlcmdp import Sessions
from .streams import Stream, check_count, seeds_of

Infos = dict[str, Any]


class BatchedEnvs(VectorEnv):
    """N single environments stepped in turn, with same-step autoreset and dict-of-arrays infos.

    Of what the environments put into `info`, the numeric entries that all of them give in that step
    are stacked, row i for sub-env i; labels that an environment does not have are simply absent.
    See `DLCMDPVectorEnv` for ``final_obs`` and ``final_info``.

    Args:
        envs: environments with equal spaces, at least one. They belong to this object from now on.
    """

    def __init__(self, envs: Sequence[gym.Env]):
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

    def set_stream(self, stream: Stream) -> None:
        """Let sub-env i draw from ``stream.generator(i)`` from its next meta-episode on.

        Each environment is seeded from its stream in gymnasium's way, with a number below 2**32,
        since some environments take no larger ones: once, in its next reset, in training; in every
        reset in evaluation, so that its k-th task does not depend on what was done in the others.
        """
        streams = [stream.generator(i) for i in range(self.num_envs)]
        self._seeds = [int(rng.integers(2**32)) for rng in streams]
        self._held_out = streams if stream.evaluation else None

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
            for rng, rng_state in zip(_generators(env), saved["generators"], strict=True):
                rng.bit_generator.state = rng_state

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
        results = [self._reset_one(i, options) for i in range(self.num_envs)]
        self._observations = [observation for observation, _ in results]
        return self._stack(self._observations), _stack_infos([info for _, info in results])

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
        for i, action in enumerate(iterate(self.action_space, actions)):
            observation, rewards[i], terminated[i], truncated[i], info = self.envs[i].step(action)
            observations.append(observation)
            infos.append(info)
        done = np.flatnonzero(terminated | truncated)
        final = {}
        if len(done):
            final = {"final_obs": self._stack(observations), "final_info": _stack_infos(infos)}
            for row in done.tolist():
                observations[row], infos[row] = self._reset_one(row, None)
        self._observations = observations
        stacked = {**_stack_infos(infos), **final}
        return self._stack(observations), rewards, terminated, truncated, stacked

    def render(self) -> tuple[Any, ...]:
        """Return one picture of each sub-env."""
        return tuple(env.render() for env in self.envs)

    def reference_returns(self) -> dict[str, float] | None:
        """Return the environments' exact reference returns, or None if they have none."""
        if not self.envs[0].has_wrapper_attr("reference_returns"):
            return None
        references: dict[str, float] | None = self.envs[0].get_wrapper_attr("reference_returns")()
        return references

    def close_extras(self, **kwargs: Any) -> None:
        """Close every sub-env."""
        for env in self.envs:
            env.close()

    def _reset_one(self, i: int, options: dict[str, Any] | None) -> tuple[Any, Infos]:
        seed, self._seeds[i] = self._seeds[i], None
        if self._held_out is not None:
            self._seeds[i] = int(self._held_out[i].integers(2**32))
        return self.envs[i].reset(seed=seed, options=options)

    def _stack(self, observations: list[Any]) -> Any:
        space = self.single_observation_space
        return concatenate(space, observations, create_empty_array(space, self.num_envs))


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
