"""Whether an agent's p(m^i | m^{i-1}) has learnt the law of change, and who is told of a switch.

    python benchmarks/session_prior.py CHECKPOINT [CHECKPOINT ...] --json told.json

Plays held-out meta-episodes of a grid world greedily and decodes, with the agent's own reward
decoder, which goal pays: by its belief at the end of a session, and by the prior of the session
that follows. Where the exact filter is sure of the old goal, the prior should say T_m; read by
which goal pays, and by which sessions its samples explain, as the decoder knows only cells that
were visited. Beside that: how much of the previous session's belief reaches the posterior where a
session began (the termination head, at the exact filter's precision), and what the agent's own
decoder says at all, by the steps since a goal was visited.
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
from rllib_metarl.ops.elbo import bernoulli_log_prob
from rllib_metarl.ops.gaussian import sample
from rllib_metarl.recording import Recording, record
from rllib_metarl.sampling.held_out import HeldOut

Array = NDArray[np.float64]
EPISODES, SEED, SAMPLES = 512, 11, 64
SURE, LIKELY = 0.99, 0.9
STAY = 4
AT_ONCE = 64
"""Sessions to explain at once."""
AGES = 5
"""Steps since a goal was visited that are told apart; more count as so many."""


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


def told_of(
    module: Any, held_out: HeldOut, explore: bool = False, player: Any = None
) -> dict[str, Any]:
    """All that is measured of a trained module on held-out tasks, played greedily or not, by the
    module itself or by another `player`."""
    module.eval()
    played = record(held_out.play(player or module, explore=explore))
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
    own, each = goals(belief.mean, belief.log_var)
    exact = posterior.probabilities
    told: dict[str, Any] = {"belief": _own_belief(own, truth, exact)}
    visited = _on_a_goal(data.observation).numpy() & (np.arange(own.shape[1]) > 0)
    coming = [x[:, :-1] for x in (own, truth, exact, visited)]
    told["belief"] |= {"by_age": _by_age(*coming), "moves": _moves(own, exact)}
    told["belief"]["paid"] = _paid(each, exact)
    begins = np.asarray(played.switched) > 0
    begins[:, -1] = False
    told["first_step"] = {
        "log_loss": float(log_losses(own[begins], truth[begins]).mean()),
        "log_loss_exact": float(log_losses(exact[begins], truth[begins]).mean()),
    }
    switch = _probability(belief.termination_logit)
    told["switches"] = _switches(switch, posterior.switch, np.asarray(played.switched) > 0)
    if getattr(module, "session_prior", None) is not None:
        prior = module.session_prior(belief.mean, belief.log_var)
        sure = _sure(exact, played, law)
        rows = _prior(goals(*prior)[0], own, truth, sure, law[0])
        for row in rows:
            at = sure[row["old_goal"]]
            row["explained"] = _explained(module, data, belief, prior, at, truth)
        told["prior"] = _errors(rows, played)
    return told


def trajectories(module: Any, played: Recording) -> Trajectories:
    """Recorded meta-episodes with their labels, as what a learner learns from."""
    labels = {"switched": played.switched, "session": played.session}
    known = {k: torch.as_tensor(np.asarray(v)[:, :-1]).long() for k, v in labels.items()}
    return replace(trajectories_of(played, module), **known)


def _decoder(module: Any, played: Recording) -> Any:
    """Gaussians `[B, T + 1, L]` -> P(goal g pays) `[B, T + 1, G]`, twice, by the reward decoder.

    It is asked of each goal whether staying there would pay. First that exactly one does is used
    for each sample of m (odds are proportional to the decoder's), second each goal stands alone;
    the mean is taken over samples.
    """
    seen = torch.as_tensor(played.observations, dtype=torch.float32)
    batch, times, _ = seen.shape
    features = [_on_goal(module, seen, goal) for goal in range(_goals(seen))]
    index = torch.arange(batch * times)
    pairs = (index // times, index % times, index % times)
    generator = torch.Generator().manual_seed(0)

    def decode(mean: Tensor, log_var: Tensor) -> tuple[Array, Array]:
        total, each = torch.zeros(2, batch * times, len(features))
        for _ in range(SAMPLES):
            noise = torch.empty_like(mean).normal_(generator=generator)
            latent = sample(mean, log_var, noise)
            logits = torch.cat([module.reward_decoder(latent, at, pairs) for at in features], -1)
            total, each = total + torch.softmax(logits, -1), each + torch.sigmoid(logits)
        odds, alone = (x.reshape(batch, times, -1).double().numpy() for x in (total, each))
        return odds / SAMPLES, alone / SAMPLES

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


def _sure(exact: Array, played: Recording, law: tuple[Array, float]) -> list[NDArray[np.bool_]]:
    """For each goal where `[B, T + 1]` a session begins that the filter is sure came after it."""
    transition, hazard = law
    step = (1 - hazard) * np.eye(len(transition)) + hazard * transition
    old = exact @ np.linalg.inv(step)  # of the transition before, its reward included
    begins = np.asarray(played.switched) > 0
    begins[:, 0] = begins[:, -1] = False
    return [begins & (old[..., goal] > SURE) for goal in range(len(transition))]


def _prior(
    prior: Array,
    own: Array,
    truth: NDArray[np.int64],
    sure: list[NDArray[np.bool_]],
    transition: Array,
) -> list[dict[str, Any]]:
    """What the prior says pays where a session begins and the filter is sure of the old goal."""
    return [
        {
            "old_goal": goal,
            "count": int(at.sum()),
            "belief": own[at].mean(0).tolist(),
            "prior": prior[at].mean(0).tolist(),
            "law": transition[goal].tolist(),
            "truth": np.bincount(truth[at], minlength=len(transition)).tolist(),
        }
        for goal, at in enumerate(sure)
        if at.any()
    ]


def _errors(rows: list[dict[str, Any]], played: Recording) -> dict[str, Any]:
    begins = np.asarray(played.switched)[:, 1:-1] > 0
    told: dict[str, Any] = {"rows": rows, "worst_error": None, "worst_error_explained": None}
    for row in rows:
        for key, error in (("prior", "error"), ("explained", "error_explained")):
            if row[key] is None:
                continue
            row[error] = float(abs(np.array(row[key]) - row["law"]).max())
            told[f"worst_{error}"] = max(told[f"worst_{error}"] or 0.0, row[error])
    return told | {"sure_share": sum(row["count"] for row in rows) / max(int(begins.sum()), 1)}


def _explained(
    module: Any,
    data: Trajectories,
    belief: Any,
    prior: tuple[Tensor, Tensor],
    at: NDArray[np.bool_],
    truth: NDArray[np.int64],
) -> list[float] | None:
    """Shares `[G]` of the prior's samples that explain the sessions `at` of each goal, if any do.

    A sample m explains a session as far as p(all its rewards | m), by the agent's reward decoder,
    comes up to that of the best sample and of the belief after the session. Sessions that visited
    no goal are left out: everything explains those.
    """
    b, t = (torch.as_tensor(x) for x in np.nonzero(at))
    inside = (data.session[b] == data.session[b, t][:, None]) & data.valid[b]
    after = inside.long().cumsum(1).argmax(1)  # the last of the session's transitions
    generator, shares = torch.Generator().manual_seed(0), []
    for part in torch.arange(len(b)).split(AT_ONCE):
        rows, times = b[part], t[part]
        shape = (len(part), SAMPLES, prior[0].shape[-1])
        mean, log_var = (x[rows, times][:, None].expand(shape) for x in prior)
        latent = sample(mean, log_var, torch.empty(shape).normal_(generator=generator))
        latent = torch.cat([latent, belief.mean[rows, after[part]][:, None]], 1)
        session = data.map(lambda x, rows=rows: x[rows])
        evidence = _evidence(module, session, latent, inside[part])
        best = evidence.max(1, keepdim=True).values
        shares.append((evidence[:, :-1] - best).exp().mean(1))
    seen = (_on_a_goal(data.observation[b, 1:]) & inside).any(1).numpy()
    share, goal = torch.cat(shares).numpy()[seen], truth[b, t][seen]
    count = np.bincount(goal, minlength=_goals(data.observation))
    mass = np.bincount(goal, share, len(count)) / count.clip(1)
    return np.asarray(mass / mass.sum()).tolist() if mass.any() else None


def _evidence(module: Any, data: Trajectories, latent: Tensor, inside: Tensor) -> Tensor:
    """log p(rewards of the transitions `inside` `[N, T]` | m) `[N, K]` of latents `[N, K, L]`."""
    n, j = inside.nonzero(as_tuple=True)
    count = latent.shape[1]
    k = torch.arange(count).repeat(len(n))
    n, j = n.repeat_interleave(count), j.repeat_interleave(count)
    logit = module.reward_decoder(latent, module.reward_features(data), (n, k, j)).squeeze(-1)
    log_p = bernoulli_log_prob(logit, (data.reward[n, j] > 0).float())
    return torch.zeros(latent.shape[:2]).index_put((n, k), log_p, accumulate=True)


def _goals(observation: Any) -> int:
    return int(observation.shape[-1] // 2 - 1)


def _on_a_goal(observation: Tensor) -> Tensor:
    """`[..., O]` -> `[...]` bool."""
    here = observation[..., None, :2]
    places = observation[..., 2 : 2 + 2 * _goals(observation)].unflatten(-1, (-1, 2))
    return ((here - places).abs().amax(-1) < 1e-6).any(-1)


def _by_age(own: Array, truth: Any, exact: Array, visited: NDArray[np.bool_]) -> list[Any]:
    """Log-losses and certainties by the steps since a goal was visited; None: never yet."""
    age = np.full(visited.shape, -1)
    for t in range(visited.shape[1]):
        before = age[:, t - 1] if t else age[:, 0]
        older = np.where(before < 0, -1, np.minimum(before + 1, AGES))
        age[:, t] = np.where(visited[:, t], 0, older)
    rows = []
    for steps in range(-1, AGES + 1):
        at = age == steps
        if at.any():
            losses = (float(log_losses(p[at], truth[at]).mean()) for p in (own, exact))
            sure = (float(p[at].max(-1).mean()) for p in (own, exact))
            keys = ("log_loss", "log_loss_exact", "largest", "largest_exact")
            numbers = dict(zip(keys, (*losses, *sure), strict=True))
            rows.append({"age": None if steps < 0 else steps, "share": float(at.mean())} | numbers)
    return rows


def _moves(own: Array, exact: Array) -> dict[str, float]:
    """How much of the filter's move the belief makes in the same step, where that is above 0.5."""
    by = np.diff(exact, axis=1)
    far = by > 0.5
    return {"count": int(far.sum()), "share": float((np.diff(own, axis=1)[far] / by[far]).mean())}


def _paid(each: Array, exact: Array) -> dict[str, float]:
    """What is decoded of each goal by itself where the filter is sure of one: that one, others."""
    sure = exact.max(-1, keepdims=True) > LIKELY
    told = {}
    for name, goals in (("likely_goal", exact > LIKELY), ("others", (exact <= LIKELY) & sure)):
        told |= {name: float(each[goals].mean()), f"{name}_exact": float(exact[goals].mean())}
    return told


def _probability(logit: Tensor) -> Array:
    told = torch.sigmoid(logit)
    told[:, 0] = 0.0
    return told.double().numpy()


def summary(told: dict[str, Any]) -> str:
    """A few lines to read."""
    lines = [f"return {told['return_mean']:.2f}"]
    for row in told.get("prior", {}).get("rows", ()):
        keys = ("belief", "prior", "explained", "law")
        numbers = {key: np.round(row[key], 3).tolist() for key in keys if row[key]}
        lines.append(f"  old goal {row['old_goal']}, n = {row['count']}: {numbers}")
    for part in ("switches", "belief"):
        lines.append(f"  {part}: " + json.dumps(told[part]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
