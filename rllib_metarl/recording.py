"""Played meta-episodes as arrays: what the agent saw, did and believed, beside the truth.

What evaluation judges, what IIDA is fitted on, and what a page or a picture shows is cut from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DIGITS = 4


@dataclass(frozen=True)
class Recording:
    """B meta-episodes, right-padded to T steps; entry t of what has T + 1 goes with o_t.

    Belief t knows everything up to o_t and nothing of transition t; the labels with o_t describe
    transition t, the coming one (at the end, where none comes, the last ones go on).

    Attributes:
        observations: `[B, T + 1, O]`; actions `[B, T]` or `[B, T, A]`; rewards `[B, T]`.
        valid: `[B, T]` bool, whether there was a transition t.
        belief: `[B, T + 1, D]`, what the policy saw of its belief; D is 0 for a blind one.
        mean, log_var: `[B, T + 1, L]`, the belief as a Gaussian; None where it is none.
        context: `[B, T + 1, C]`; session, switched, inner_done `[B, T + 1]`; None where the env
            gives no such label.
    """

    observations: Array
    actions: Array
    rewards: Array
    valid: Array
    belief: Array
    mean: Array | None = None
    log_var: Array | None = None
    context: Array | None = None
    session: Array | None = None
    switched: Array | None = None
    inner_done: Array | None = None

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def horizon(self) -> int:
        """T, steps of the longest meta-episode."""
        return int(self.rewards.shape[1])

    @property
    def returns(self) -> Array:
        """Undiscounted returns `[B]`."""
        return np.asarray((self.rewards * self.valid).sum(1))

    @property
    def lengths(self) -> Array:
        """Steps of each meta-episode `[B]`."""
        return np.asarray(self.valid.sum(1))

    def take(self, rows: Any) -> Recording:
        """Some of the meta-episodes, by index, slice or mask."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[rows] for k, v in given.items() if v is not None})

    @property
    def seen(self) -> Array:
        """Which of T + 1 observations there were, `[B, T + 1]` bool."""
        return np.pad(self.valid, ((0, 0), (1, 0)), constant_values=True)

    def shown(self, row: int, **more: Array | None) -> dict[str, Any]:
        """One meta-episode as plain lists, to be looked at step by step.

        Args:
            row: which one.
            more: other columns `[B, T + 1, ...]`, or None.
        """
        std = None if self.log_var is None else np.exp(0.5 * self.log_var)
        labels = {name: getattr(self, name) for name in ("context", "session", "switched")}
        columns = labels | {"belief_mean": self.mean, "belief_std": std} | more
        steps = int(self.lengths[row])
        return {
            "return": float(self.returns[row]),
            "horizon": steps,
            "actions": plain_list(self.actions[row, :steps]),
            "rewards": plain_list(self.rewards[row, :steps]),
            **{
                name: None if values is None else plain_list(values[row, : steps + 1])
                for name, values in columns.items()
            },
        }


def plain_list(values: Array) -> list[Any]:
    """Lists of numbers, of a few decimals."""
    if values.dtype.kind in "iub":
        return list(values.tolist())
    return list(np.round(values.astype(np.float64), DIGITS).tolist())


def record(episodes: Sequence[Any], latents: Mapping[str, slice] | None = None) -> Recording:
    """The recording of meta-episodes that were played.

    Args:
        episodes: `rllib_metarl.sampling.collector.MetaEpisodeData`s; lengths may differ.
        latents: which columns of the belief are the means of which latent; as many columns behind
            them are its log-variances. None for a belief that is no Gaussian.
    """
    steps = max(map(len, episodes))
    belief = [np.concatenate([e.belief, e.final_belief[None]]) for e in episodes]
    seen = padded(belief, steps + 1)
    mean, log_var = gaussian_of(seen, latents) if latents else (None, None)
    lengths = np.array([len(e) for e in episodes])
    return Recording(
        observations=padded([e.observations for e in episodes], steps + 1),
        actions=padded([e.actions for e in episodes], steps),
        rewards=padded([np.asarray(e.rewards, np.float64) for e in episodes], steps),
        valid=np.arange(steps) < lengths[:, None],
        belief=seen,
        mean=mean,
        log_var=log_var,
        context=_label(episodes, "context", steps),
        session=_label(episodes, "session", steps),
        switched=_label(episodes, "switched", steps, repeat=False),
        inner_done=_label(episodes, "inner_done", steps, repeat=False),
    )


def gaussian_of(belief: Array, latents: Mapping[str, slice]) -> tuple[Array, Array]:
    """Means and log-variances `[..., L]` of what the policy saw, `[..., D]`, all latents together.

    Args:
        belief: what the policy saw.
        latents: see `record`.
    """
    behind = [slice(s.stop, 2 * s.stop - s.start) for s in latents.values()]
    means = np.concatenate([belief[..., s] for s in latents.values()], -1)
    return means, np.concatenate([belief[..., s] for s in behind], -1)


def _label(episodes: Sequence[Any], name: str, steps: int, *, repeat: bool = True) -> Array | None:
    """A label `[B, T + 1, ...]`; its last value goes on where nothing comes, else zeros do."""
    if any(name not in e.labels for e in episodes):
        return None
    columns = [np.asarray(e.labels[name]) for e in episodes]
    if repeat:
        return np.stack([x[np.minimum(np.arange(steps + 1), len(x) - 1)] for x in columns])
    return padded(columns, steps + 1)


def padded(arrays: Sequence[Array], length: int) -> Array:
    """Arrays `[T_i, ...]` as one `[B, length, ...]`, zeros behind."""
    if all(len(array) == length for array in arrays):
        return np.stack(arrays)
    rows = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(rows, arrays, strict=True):
        row[: len(array)] = array
    return rows
