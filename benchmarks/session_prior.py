"""Whether an agent's p(m^i | m^{i-1}) has learnt the law of change, and who is told of a switch.

    python benchmarks/session_prior.py CHECKPOINT [CHECKPOINT ...] --json told.json

Plays held-out meta-episodes of a grid world greedily and decodes, with the agent's own reward
decoder, which goal pays: by its belief at the end of a session, and by the prior of the session
that follows. Where the exact filter is sure of the old goal, the prior should say T_m. Beside that:
how much of the previous session's belief reaches the posterior where a session began (the
termination head, at the exact filter's precision), and what the agent's own decoder says at all.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_metarl import Checkpoint
from rllib_metarl.envs import hook_of
from rllib_metarl.evaluation.belief.calibration import ece, log_losses, reliability
from rllib_metarl.evaluation.knowledge import run_filter
from rllib_metarl.learning.batch import Trajectories, trajectories_of
from rllib_metarl.ops.gaussian import sample
from rllib_metarl.recording import Recording, record
from rllib_metarl.sampling.held_out import HeldOut

Array = NDArray[np.float64]
EPISODES, SEED, SAMPLES = 512, 11, 64
SURE = 0.99
STAY = 4


def main(argv: list[str] | None = None) -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--seed", type=int, default=SEED, help="of the held-out tasks")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    told = {}
    for path in arguments.checkpoints:
        told[str(path)] = measured = measure(path, arguments.episodes, arguments.seed)
        print(path, summary(measured), sep="\n", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1) + "\n")


def measure(path: Path, episodes: int = EPISODES, seed: int = SEED) -> dict[str, Any]:
    """All that is measured of one checkpoint, as plain numbers."""
    opened = Checkpoint.open(path)
    config = opened.config
    held_out = HeldOut(config["env"], config.get("env_config"), episodes, seed)
    try:
        told = told_of(opened.module(), held_out)
    finally:
        held_out.close()
    return {"env": config["env"], "env_config": config.get("env_config") or {}, **told}


def told_of(module: Any, held_out: HeldOut, explore: bool = False) -> dict[str, Any]:
    """All that is measured of a trained module on held-out tasks, played greedily or not."""
    module.eval()
    played = record(held_out.play(module, explore=explore))
    exact, law = hook_of(held_out.env, "exact_filter")(), law_of(held_out.env)
    posterior = run_filter(exact, played)
    truth = exact.class_of(played.context)
    with torch.inference_mode():
        told = _told(module, played, truth, posterior, law)
    return {"return_mean": float(played.returns.mean()), **told}


def law_of(env: Any) -> tuple[Array, float]:
    """T_m `[G, G]` and the probability of a switch."""
    parameters = env.unwrapped.simulator.parameters
    return np.array(parameters.transition), float(parameters.process.schedule(1)[0])


def _told(
    module: Any, played: Recording, truth: NDArray[np.int64], posterior: Any, law: Any
) -> dict[str, Any]:
    data = trajectories(module, played)
    belief = module.encode(data.inputs)
    goals = _decoder(module, played)
    own = goals(belief.mean, belief.log_var)
    told: dict[str, Any] = {"belief": _own_belief(own, truth, posterior.probabilities)}
    begins = np.asarray(played.switched) > 0
    begins[:, -1] = False
    told["first_step"] = {
        "log_loss": float(log_losses(own[begins], truth[begins]).mean()),
        "log_loss_exact": float(log_losses(posterior.probabilities[begins], truth[begins]).mean()),
    }
    switch = _probability(belief.termination_logit)
    told["switches"] = _switches(switch, posterior.switch, np.asarray(played.switched) > 0)
    if getattr(module, "session_prior", None) is not None:
        prior = goals(*module.session_prior(belief.mean, belief.log_var))
        told["prior"] = _prior(prior, own, truth, posterior.probabilities, played, law)
    return told


def trajectories(module: Any, played: Recording) -> Trajectories:
    """Recorded meta-episodes with their labels, as what a learner learns from."""
    labels = {"switched": played.switched, "session": played.session}
    known = {k: torch.as_tensor(np.asarray(v)[:, :-1]).long() for k, v in labels.items()}
    return replace(trajectories_of(played, module), **known)


def _decoder(module: Any, played: Recording) -> Any:
    """Gaussians `[B, T + 1, L]` -> P(goal g pays) `[B, T + 1, G]` by the reward decoder.

    It is asked of each goal whether staying there would pay; that exactly one does is used for each
    sample of m (odds are proportional to the decoder's), and the mean taken over samples.
    """
    seen = torch.as_tensor(played.observations, dtype=torch.float32)
    batch, times, width = seen.shape
    features = [_on_goal(module, seen, goal) for goal in range(width // 2 - 1)]
    index = torch.arange(batch * times)
    pairs = (index // times, index % times, index % times)
    generator = torch.Generator().manual_seed(0)

    def decode(mean: Tensor, log_var: Tensor) -> Array:
        total = torch.zeros(batch * times, len(features))
        for _ in range(SAMPLES):
            noise = torch.empty_like(mean).normal_(generator=generator)
            latent = sample(mean, log_var, noise)
            logits = [module.reward_decoder(latent, at, pairs) for at in features]
            total += torch.softmax(torch.cat(logits, -1), -1)
        return (total / SAMPLES).reshape(batch, times, -1).double().numpy()

    return decode


def _on_goal(module: Any, seen: Tensor, goal: int) -> Tensor:
    """What the decoder sees of a transition that stays on a goal, `[B, T + 1, F]`."""
    there = seen.clone()
    there[..., :2] = seen[..., 2 + 2 * goal : 4 + 2 * goal]
    twice = torch.cat([there, there[:, -1:]], 1)  # one more observation than transitions
    action = module.encode_action(torch.full(there.shape[:2], STAY))
    nothing = torch.zeros(there.shape[:2])
    data = Trajectories(twice, action, nothing, nothing.bool(), nothing[:, 0])
    features: Tensor = module.reward_features(data)
    return features


def _own_belief(own: Array, truth: NDArray[np.int64], exact: Array) -> dict[str, Any]:
    """What the agent's own decoder says of the coming transition, beside the exact filter."""
    flat = [x[:, :-1].reshape(-1, *x.shape[2:]) for x in (own, exact)]
    classes = truth[:, :-1].ravel()
    return {
        "log_loss": float(log_losses(flat[0], classes).mean()),
        "log_loss_exact": float(log_losses(flat[1], classes).mean()),
        "ece": ece(reliability(flat[0], classes)),
        "before_evidence": {
            "mean": own[:, 0].mean(0).tolist(),
            "largest_mean": float(own[:, 0].max(-1).mean()),
        },
    }


def _switches(told: Array, exact: Array, switched: NDArray[np.bool_]) -> dict[str, float]:
    """How much of the true switches is told by the head and by the exact filter.

    Entry t of `told` and `exact` is of transition t - 1; `switched[t]` of transition t.
    """
    told, exact, truth = told[:, 1:].ravel(), exact[:, 1:].ravel(), switched[:, :-1].ravel()
    precision, recall = _at(exact > 0.5, truth)
    return {
        "exact_precision": precision,
        "exact_recall": recall,
        "precision_at_half": _at(told > 0.5, truth)[0],
        "recall_at_half": _at(told > 0.5, truth)[1],
        "recall_at_exact_precision": _recall_at(told, truth, precision),
        "mean_at_switches": float(told[truth].mean()),
        "exact_mean_at_switches": float(exact[truth].mean()),
        "mean_elsewhere": float(told[~truth].mean()),
        "exact_mean_elsewhere": float(exact[~truth].mean()),
    }


def _at(chosen: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    hit = float((chosen & truth).sum())
    return hit / max(chosen.sum(), 1), hit / max(truth.sum(), 1)


def _recall_at(told: Array, truth: NDArray[np.bool_], precision: float) -> float:
    """The largest recall at a precision as high."""
    order = np.argsort(-told)
    hits = np.cumsum(truth[order])
    ends = np.append(np.diff(told[order]) != 0, True)  # equal predictions are taken together
    enough = ends & (hits / np.arange(1, len(hits) + 1) >= precision)
    return float(hits[enough].max(initial=0) / max(truth.sum(), 1))


def _prior(
    prior: Array,
    own: Array,
    truth: NDArray[np.int64],
    exact: Array,
    played: Recording,
    law: tuple[Array, float],
) -> dict[str, Any]:
    """What the prior says where a session begins and the exact filter is sure of the old goal."""
    transition, hazard = law
    step = (1 - hazard) * np.eye(len(transition)) + hazard * transition
    old = exact @ np.linalg.inv(step)  # of the transition before, its reward included
    begins = np.asarray(played.switched) > 0
    begins[:, 0] = begins[:, -1] = False
    rows = []
    for goal, goes_to in enumerate(transition):
        sure = begins & (old[..., goal] > SURE)
        if not sure.any():
            continue
        said = prior[sure].mean(0)
        rows.append(
            {
                "old_goal": goal,
                "count": int(sure.sum()),
                "belief": own[sure].mean(0).tolist(),
                "prior": said.tolist(),
                "law": goes_to.tolist(),
                "truth": np.bincount(truth[sure], minlength=len(said)).tolist(),
                "error": float(abs(said - goes_to).max()),
            }
        )
    count = sum(row["count"] for row in rows)
    return {
        "rows": rows,
        "worst_error": max(row["error"] for row in rows) if rows else None,
        "sure_share": count / max(int(begins.sum()), 1),
    }


def _probability(logit: Tensor) -> Array:
    told = torch.sigmoid(logit)
    told[:, 0] = 0.0
    return told.double().numpy()


def summary(told: dict[str, Any]) -> str:
    """A few lines to read."""
    lines = [f"return {told['return_mean']:.2f}"]
    for row in told.get("prior", {}).get("rows", ()):
        numbers = {key: np.round(row[key], 3).tolist() for key in ("belief", "prior", "law")}
        lines.append(f"  old goal {row['old_goal']}, n = {row['count']}: {numbers}")
    for part in ("switches", "belief"):
        lines.append(f"  {part}: " + json.dumps(told[part]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
