"""What a held-out evaluation during training leaves for pictures: a few kilobytes of lists.

It travels with the result, so it has to be plain and small: one meta-episode in full, the
distribution of the belief's entropy, a sample of latents with their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rllib_metarl.ops.gaussian import entropy
from rllib_metarl.sampling.collector import MetaEpisodeData

SNAPSHOT = "snapshot"
"""Key below ``evaluation/`` in the result of the iteration that evaluated."""

LATENTS, BINS = 512, 30
FloatArray = NDArray[np.float64]


def take_snapshot(
    played: Sequence[MetaEpisodeData], module: Any, *, termination: bool = False
) -> dict[str, Any] | None:
    """The snapshot of some held-out meta-episodes.

    Args:
        played: what was played.
        module: the agent that played; its `latents` say which columns of the belief are means.
        termination: whether its termination head was trained.

    Returns:
        ``meta_episode``: the first, as `rllib evaluate` records them; ``entropy``: a histogram over
        all steps of all meta-episodes, in nats; ``latents``: up to 512 posterior means with
        context, session, step and meta-episode of each. None for agents without a Gaussian belief.
    """
    latents = getattr(module, "latents", None)
    if not latents:
        return None
    beliefs = [_gaussian(episode, latents) for episode in played]
    termination_p = _termination(played[0], module) if termination else None
    return {
        "meta_episode": _meta_episode(played[0], *beliefs[0], termination_p),
        "entropy": _histogram(np.concatenate([log_var for _, log_var in beliefs])),
        "latents": _sample(played, [mean for mean, _ in beliefs]),
    }


def _gaussian(episode: MetaEpisodeData, latents: dict[str, slice]) -> tuple[FloatArray, FloatArray]:
    """Means and log-variances `[T + 1, L]`, of all latents one beside the other."""
    belief = np.concatenate([episode.belief, episode.final_belief[None]])
    behind = [slice(s.stop, 2 * s.stop - s.start) for s in latents.values()]
    means = np.concatenate([belief[:, s] for s in latents.values()], axis=1)
    return means, np.concatenate([belief[:, s] for s in behind], axis=1)


def _meta_episode(
    episode: MetaEpisodeData, mean: FloatArray, log_var: FloatArray, termination: FloatArray | None
) -> dict[str, Any]:
    return {
        "return": float(episode.rewards.sum()),
        "horizon": len(episode),
        "rewards": _plain(episode.rewards),
        **{name: _label(episode, name) for name in ("context", "session", "switched")},
        "belief_mean": _plain(mean),
        "belief_std": _plain(np.exp(0.5 * log_var)),
        "termination": None if termination is None else _plain(termination),
    }


def _label(episode: MetaEpisodeData, name: str) -> list[Any] | None:
    """A label at all T + 1 observations; no transition follows the last: nothing changes."""
    if name not in episode.labels:
        return None
    values = np.asarray(episode.labels[name])
    last = np.zeros_like(values[-1:]) if name == "switched" else values[-1:]
    return np.concatenate([values, last]).tolist()


@torch.inference_mode()
def _termination(episode: MetaEpisodeData, module: Any) -> FloatArray:
    """P(the transition just seen opened a new session) `[T + 1]`, from the encoder run again."""
    action = module.encode_action(torch.as_tensor(episode.actions))
    belief = module.encode(
        torch.as_tensor(episode.observations, dtype=torch.float32)[None],
        torch.cat([torch.zeros_like(action[:1]), action])[None],
        torch.nn.functional.pad(torch.as_tensor(episode.rewards, dtype=torch.float32), (1, 0))[
            None
        ],
    )
    return torch.sigmoid(belief.termination_logit[0]).numpy()


def _histogram(log_var: FloatArray) -> dict[str, Any]:
    values = entropy(torch.as_tensor(log_var, dtype=torch.float64)).numpy()
    counts, edges = np.histogram(values, BINS)
    return {
        "counts": counts.tolist(),
        "edges": _plain(edges),
        "num": len(values),
        "sum": float(values.sum()),
        "sum_squares": float((values**2).sum()),
    }


def _sample(played: Sequence[MetaEpisodeData], means: Sequence[FloatArray]) -> dict[str, Any]:
    """Beliefs spread evenly over all steps of all meta-episodes, before each transition."""
    lengths = [len(episode) for episode in played]
    number = np.repeat(np.arange(len(played)), lengths)
    step = np.concatenate([np.arange(length) for length in lengths])
    kept = np.linspace(0, len(step) - 1, min(LATENTS, len(step))).round().astype(int)
    pairs = [(int(number[k]), int(step[k])) for k in kept]
    labels = {
        name: [np.asarray(played[e].labels[name])[t].tolist() for e, t in pairs]
        for name in ("context", "session")
        if all(name in episode.labels for episode in played)
    }
    return {
        "values": _plain(np.array([means[e][t] for e, t in pairs])),
        "meta_episode": [e for e, _ in pairs],
        "step": [t for _, t in pairs],
        **labels,
    }


def _plain(values: Any) -> list[Any]:
    """Lists of numbers of four decimals."""
    return np.round(np.asarray(values, dtype=np.float64), 4).tolist()
