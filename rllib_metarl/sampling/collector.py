"""The acting loop: one batched forward and one vector-env step at a time, whole meta-episodes out.

Knows nothing of RLlib, so that training and evaluation step environments by the same code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_metarl.columns import ACTION_MASK, RECORDED
from rllib_metarl.envs import BrokenEnv, EnvFault, name_of
from rllib_metarl.errors import UserError
from rllib_metarl.models.step import Inputs
from rllib_metarl.sampling.acting import Actor
from rllib_metarl.sampling.patience import MAX_STEPS, Patience, bytes_of, time_limit

LABELLED = (*RECORDED, ACTION_MASK)
LOOK_EVERY = 500  # steps

logger = logging.getLogger("rllib_metarl")

HOW_TO_LABEL = {
    "context": "Wrap the env in rllib_metarl.envs.Sessions, or put the true context into info.",
    "posterior": "Set its argument show_posterior where it has one, or use oracle_sees: context.",
}


@dataclass
class MetaEpisodeData:
    """One finished meta-episode of T steps.

    observations `[T + 1, O]`, actions `[T]` or `[T, P]` (flat, see `ActionCodec`), rewards `[T]`,
    belief `[T, D]` and logits `[T, A]` as the policy saw and gave them, final_belief `[D]` after
    the last observation (for bootstrapping where the end is a truncation), labels: arrays
    `[T, ...]` of `LABELLED` where the env gives them, env_index: the sub-env it was played in,
    unstable: whether it ended because its physics broke down, None where the env does not say.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    belief: np.ndarray
    logits: np.ndarray
    log_prob: np.ndarray
    final_belief: np.ndarray
    terminated: bool
    truncated: bool
    env_index: int
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    unstable: bool | None = None

    def __len__(self) -> int:
        return len(self.rewards)


class Collector:
    """Steps a SAME_STEP vector env with a belief module and cuts finished meta-episodes out.

    Unfinished meta-episodes continue in the next call, with the recurrent state they had.

    Args:
        env: a vector env whose metadata says ``AutoresetMode.SAME_STEP``.
        module: acts: an `Actor`, or a module for one.
        seed: seeds the stream that actions are drawn from.
        max_steps: how many steps a meta-episode may have.

    Raises:
        UserError: if the env autoresets in another way, an oracle lacks the context, the env fails
            or a meta-episode does not end; see `blamed` and `Patience`.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        module: Any,
        *,
        seed: int = 0,
        device: Any = "cpu",
        max_steps: int = MAX_STEPS,
    ) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != gym.vector.AutoresetMode.SAME_STEP:
            raise UserError(
                f"vector env {env} has autoreset_mode {mode}: meta-episodes are cut only from "
                "AutoresetMode.SAME_STEP envs. Build it with rllib_metarl.envs.make_vector."
            )
        self.env = env
        self.act_with(module)
        self.device = torch.device(device)
        self._codec = self.module.observations
        self._mask: np.ndarray | None = None
        self.generator = torch.Generator(device=self.device)
        self.generator.manual_seed(seed)
        self._observation: Any = None  # not begun
        self._max_steps = max_steps
        self._patience = Patience(env_name(env), time_limit(env), max_steps)

    def act_with(self, module: Any) -> None:
        """Lets another act from the next `reset` on, in the same spaces."""
        self._actor = module if isinstance(module, Actor) else Actor(module)
        self.module = self._actor.module

    def reset(self) -> None:
        """Starts a new meta-episode in every sub-env; what was unfinished is dropped."""
        with blamed(self.env):
            observation, infos = self.env.reset()
        self._mask = None
        self._see(observation, infos)
        self._steps: list[dict[str, Any]] = []
        self._start = np.zeros(self.env.num_envs, dtype=np.int64)
        begun = self._actor.begin(self.env.num_envs, self.device)
        self._previous_action, self._previous_reward, self._state = begun
        self._check_finite(self._observation, "an observation")

    def _see(self, observation: Any, infos: dict[str, Any]) -> None:
        """Takes what the env shows: flat observations, and masks, which are given always or never.

        Raises:
            UserError: a mask is missing, or is none of this action space.
        """
        self._infos = infos
        if "final_obs" in infos:  # the env has begun the next: the last one is apart
            infos["final_obs"] = self._codec.flatten(infos["final_obs"])
        given = self._codec.mask(observation)
        given = infos.get(self._codec.mask_key) if given is None else given
        if given is not None:
            self._mask = self.module.actions.mask_of(given, self.env.num_envs)
        elif self._mask is not None:
            raise UserError(
                f"env {env_name(self.env)} gives info['{self._codec.mask_key}'] at some steps and "
                "not at others: give it in every reset and step, all ones where nothing is "
                "forbidden."
            )
        self._observation = self._codec.flatten(observation)

    @property
    def unfinished_steps(self) -> int:
        """Steps of meta-episodes that have begun and not ended."""
        if self._observation is None:
            return 0
        return int((len(self._steps) - self._start).sum())

    @torch.inference_mode()
    def collect(
        self, min_steps: int = 0, *, min_episodes: int = 0, explore: bool = True
    ) -> list[MetaEpisodeData]:
        """Steps until finished meta-episodes hold `min_steps` steps and number `min_episodes`."""
        if self._observation is None:
            self.reset()
        self.module.eval()
        finished: list[MetaEpisodeData] = []
        steps = 0
        with blamed(self.env):
            while steps < min_steps or len(finished) < min_episodes:
                done = self._step(explore)
                if done.any():
                    episodes = self._cut(done)
                    finished.extend(episodes)
                    steps += sum(map(len, episodes))
                self._look_at_the_longest()
        self._forget()
        return finished

    def collect_round(self, *, explore: bool = True) -> list[MetaEpisodeData]:
        """The first meta-episode of each sub-env from now on, in their order.

        All begin anew; what is under way at the end is dropped, so that the next call does too.
        """
        self.reset()
        first: dict[int, MetaEpisodeData] = {}
        while len(first) < self.env.num_envs:
            for episode in self.collect(min_episodes=1, explore=explore):
                first.setdefault(episode.env_index, episode)
        self._observation = None
        return [first[index] for index in range(self.env.num_envs)]

    def _look_at_the_longest(self) -> None:
        steps = len(self._steps)
        if steps and not steps % LOOK_EVERY or steps > self._max_steps:
            self._patience.look(steps, bytes_of(self._steps[-1]))

    def _step(self, explore: bool) -> np.ndarray:
        mask = self._mask
        inputs = Inputs(
            self._float(self._observation),
            self._previous_action,
            self._previous_reward,
            self._state,
            self._privileged(self._infos),
            self._inner_done(),
        )
        decided = self._actor.decide(
            inputs,
            mask=None if mask is None else torch.as_tensor(mask, device=self.device),
            explore=explore,
            generator=self.generator,
        )
        action_array = decided.action.cpu().numpy()
        labels = {key: _label(key, self._infos[key]) for key in RECORDED if key in self._infos}
        record = {
            "observation": self._observation,
            "action": action_array,
            "belief": decided.belief,
            "logits": decided.logits,
            "labels": labels if mask is None else labels | {ACTION_MASK: mask},
        }
        result = self.env.step(self.module.actions.to_env(action_array))
        observation, reward, terminated, truncated, infos = result
        self._check_finite(reward, "a reward")
        self._see(observation, infos)
        if "final_obs" in infos:
            self._check_finite(self._infos["final_obs"], "an observation")
        self._check_finite(self._observation, "an observation")
        record.update(reward=reward, terminated=terminated, truncated=truncated)
        self._steps.append(record)
        self._state, self._previous_action = decided.state, decided.encoded
        self._previous_reward = torch.as_tensor(reward, dtype=torch.float32, device=self.device)
        return np.logical_or(terminated, truncated)

    def _inner_done(self) -> torch.Tensor | None:
        """Which sub-envs have begun an inner episode with the last step, `[N]`; None if unknown."""
        flags = self._infos.get("inner_done")
        return None if flags is None else torch.as_tensor(flags, device=self.device)

    def _privileged(self, infos: dict[str, Any]) -> torch.Tensor | None:
        label = self.module.needs_privileged
        if not label:
            return None
        if label not in infos:
            why = getattr(self.env.unwrapped, "unusable_labels", {}).get(label)
            raise UserError(no_label(f"env {env_name(self.env)}", label, why))
        array = np.asarray(infos[label], dtype=np.float32)
        return torch.as_tensor(array.reshape(len(array), -1), device=self.device)

    def _cut(self, done: np.ndarray) -> list[MetaEpisodeData]:
        """Cuts the meta-episodes that ended at the newest step out of the stored steps."""
        indices = np.flatnonzero(done)
        begin = int(self._start[indices].min())
        stacked = _stack(self._steps[begin:], indices)
        taken = torch.as_tensor(stacked["action"], device=self.device)
        stacked["log_prob"] = self.module.actions.log_prob(stacked["logits"], taken)
        arrays = {key: _to_numpy(value) for key, value in stacked.items()}
        final = self._infos["final_obs"]
        final_belief = self._final_belief(indices)
        last = self._steps[-1]
        broke = self._infos.get("final_info", {}).get("unstable")
        episodes = []
        for row, i in enumerate(indices):
            cut = (slice(int(self._start[i]) - begin, None), row)
            episodes.append(
                MetaEpisodeData(
                    np.concatenate([arrays["observation"][cut], final[i : i + 1]]),
                    arrays["action"][cut],
                    arrays["reward"][cut],
                    arrays["belief"][cut],
                    arrays["logits"][cut],
                    arrays["log_prob"][cut],
                    final_belief[row],
                    bool(last["terminated"][i]),
                    bool(last["truncated"][i]),
                    int(i),
                    {key: arrays[key][cut] for key in LABELLED if key in arrays},
                    None if broke is None else bool(broke[i]),
                )
            )
        self._begin_anew(done)
        return episodes

    def _final_belief(self, indices: np.ndarray) -> np.ndarray:
        """Beliefs `[len(indices), D]` after the last observation of meta-episodes that ended."""
        if self.module.belief_size == 0:
            return np.zeros((len(indices), 0), np.float32)
        rows = torch.as_tensor(indices, device=self.device)
        observation = self._float(self._infos["final_obs"][indices])
        state = {key: value[rows] for key, value in self._state.items()}
        privileged = self._privileged(self._infos.get("final_info", {}))
        inputs = Inputs(
            observation,
            self._previous_action[rows],
            self._previous_reward[rows],
            state,
            None if privileged is None else privileged[rows],
            generator=self.generator,
        )
        return self.module.step(inputs).belief.cpu().numpy()

    def _begin_anew(self, done: np.ndarray) -> None:
        self._start[done] = len(self._steps)
        mask = torch.as_tensor(done, device=self.device)
        fresh = self.module.initial_state(int(done.sum()), self.device)
        for key, value in self._state.items():
            value = value.clone()
            value[mask] = fresh[key]
            self._state[key] = value
        self._previous_action = self._previous_action.masked_fill(mask.unsqueeze(-1), 0.0)
        self._previous_reward = self._previous_reward.masked_fill(mask, 0.0)
        self._forget()

    def _forget(self) -> None:
        """Drops the stored steps that no unfinished meta-episode needs."""
        begin = int(self._start.min())
        del self._steps[:begin]
        self._start -= begin

    def _check_finite(self, array: np.ndarray, what: str) -> None:
        if np.isfinite(array).all():
            return
        index = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0])
        step = len(self._steps) - int(self._start[index])
        raise UserError(
            f"env {env_name(self.env)}: sub-env {index} gave {what} that is NaN or infinite "
            f"({array[index]}) at step {step} of its meta-episode. Fix the env (bound its state, "
            "clip its reward); training can then be resumed from the last checkpoint."
        )

    def _float(self, array: np.ndarray) -> torch.Tensor:
        """Networks are in single precision, whatever the env computes in."""
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    # --- checkpoints ----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The random streams and the meta-episodes under way, as plain data, for checkpoints."""
        env = self.env.unwrapped
        return {
            "actions": self.generator.get_state().cpu().numpy(),
            "env": env.rng_state() if hasattr(env, "rng_state") else None,
            "under_way": self._under_way(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `state()`: the next `collect` goes on with the meta-episodes under way.

        Where the env cannot (it has no `set_under_way`, or does not do the same again) new ones are
        begun, with tasks that come next in its streams.
        """
        env = self.env.unwrapped
        self._observation = None
        if state.get("under_way") is not None and hasattr(env, "set_under_way"):
            try:
                env.set_under_way(state["under_way"]["env"])
                self._set_under_way(state["under_way"])
            except Exception as error:  # of the env's own code, run again
                logger.warning("meta-episodes under way are restarted: %s", error)
                self._observation = None
        if state["env"] is not None and hasattr(env, "set_rng_state"):
            env.set_rng_state(state["env"])
        self.generator.set_state(torch.as_tensor(state["actions"]))

    @property
    def has_begun(self) -> bool:
        """Whether meta-episodes are under way."""
        return self._observation is not None

    def _under_way(self) -> dict[str, Any] | None:
        env = self.env.unwrapped
        if self._observation is None or not hasattr(env, "under_way"):
            return None
        record = env.under_way()
        if record is None:
            return None
        return {
            "env": record,
            "observation": np.array(self._observation),
            "mask": self._mask,
            "infos": {k: np.array(v) for k, v in self._infos.items() if _is_numeric(v)},
            "start": self._start.copy(),
            "state": {key: value.cpu().numpy() for key, value in self._state.items()},
            "previous_action": self._previous_action.cpu().numpy(),
            "previous_reward": self._previous_reward.cpu().numpy(),
            "steps": [_plain(step) for step in self._steps],
        }

    def _set_under_way(self, record: dict[str, Any]) -> None:
        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array, device=self.device)

        self._infos = dict(record["infos"])
        self._start = np.array(record["start"])
        self._state = {key: tensor(value) for key, value in record["state"].items()}
        self._previous_action = tensor(record["previous_action"])
        self._previous_reward = tensor(record["previous_reward"])
        self._steps = [
            step | {key: tensor(step[key]) for key in ("belief", "logits")}
            for step in record["steps"]
        ]
        self._mask = record.get("mask")
        self._observation = record["observation"]


def _is_numeric(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _plain(value: Any) -> Any:
    """A copy of nested dicts of tensors and arrays, with arrays alone."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return np.array(_to_numpy(value))


def env_name(env: gym.vector.VectorEnv) -> str:
    """The env as the user called it, else by its id or class."""
    given: str = getattr(env.unwrapped, "env_name", "") or name_of(env)
    return given


@contextmanager
def blamed(env: gym.vector.VectorEnv) -> Iterator[None]:
    """Names the env where it fails.

    Raises:
        UserError: in place of `BrokenEnv` and `EnvFault`.
    """
    try:
        yield
    except (BrokenEnv, EnvFault) as error:
        raise broken(env_name(env), error) from error


def broken(name: str, error: Exception) -> UserError:
    """What to say of an env that fails too often."""
    return UserError(
        f"env {name}: {error}. Fix the env, then continue with --resume; if occasional failures "
        "are expected, raise max_env_faults."
    )


def no_label(env: str, label: str, why: str | None = None) -> str:
    """What to say where an oracle's label is missing, or of no use for the reason `why`."""
    if why:
        return f"{env}: an oracle needs info[{label!r}], and {why}."
    return f"{env} gives no info[{label!r}]: an oracle needs it. {HOW_TO_LABEL[label]}"


def _label(key: str, label: np.ndarray) -> np.ndarray:
    """A context is a vector `[N, C]`, also where a vector env gives one number for each."""
    return label[:, None] if key == "context" and np.ndim(label) == 1 else label


def _stack(steps: list[dict[str, Any]], rows: np.ndarray) -> dict[str, Any]:
    """Steps of some sub-envs as `[T, len(rows), ...]`, labels lifted to the top."""
    stacked: dict[str, Any] = {
        key: np.stack([step[key][rows] for step in steps])
        for key in ("observation", "action", "reward")
    }
    stacked |= {
        key: torch.stack([step[key][rows] for step in steps]) for key in ("belief", "logits")
    }
    for key in steps[0]["labels"]:
        stacked[key] = np.stack([step["labels"][key][rows] for step in steps])
    return stacked


def _to_numpy(value: Any) -> np.ndarray:
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value
