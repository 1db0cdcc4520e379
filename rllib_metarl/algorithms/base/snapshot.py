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

from rllib_metarl.learning.batch import trajectories_of
from rllib_metarl.ops.gaussian import entropy
from rllib_metarl.recording import Recording, plain_list, record
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
    latents = module.latents
    if not latents:
        return None
    recorded = record(played, latents)
    assert recorded.log_var is not None
    return {
        "meta_episode": recorded.shown(0, termination=_termination(recorded, module, termination)),
        "entropy": _histogram(recorded.log_var[recorded.seen]),
        "latents": _sample(recorded),
    }


@torch.inference_mode()
def _termination(played: Recording, module: Any, trained: bool) -> FloatArray | None:
    """P(the transition just seen opened a new session) `[1, T + 1]`, from the encoder run again."""
    if not trained:
        return None
    belief = module.encode(trajectories_of(played.take(slice(1)), module).inputs)
    return np.asarray(torch.sigmoid(belief.termination_logit), np.float64)


def _histogram(log_var: FloatArray) -> dict[str, Any]:
    values = entropy(torch.as_tensor(log_var, dtype=torch.float64)).numpy()
    counts, edges = np.histogram(values, BINS)
    return {
        "counts": counts.tolist(),
        "edges": plain_list(edges),
        "num": len(values),
        "sum": float(values.sum()),
        "sum_squares": float((values**2).sum()),
    }


def _sample(played: Recording) -> dict[str, Any]:
    """Beliefs spread evenly over all steps of all meta-episodes, before each transition."""
    number, step = np.nonzero(played.valid)
    kept = np.linspace(0, len(step) - 1, min(LATENTS, len(step))).round().astype(int)
    at = number[kept], step[kept]
    columns = {"context": played.context, "session": played.session}
    assert played.mean is not None
    return {
        "values": plain_list(played.mean[at]),
        "meta_episode": at[0].tolist(),
        "step": at[1].tolist(),
        **{name: values[at].tolist() for name, values in columns.items() if values is not None},
    }
