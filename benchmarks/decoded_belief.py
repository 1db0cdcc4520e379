"""Which part of the ELBO keeps an agent's own decoded belief from the exact filter's.

    python benchmarks/decoded_belief.py CHECKPOINT                 # every change, some minutes
    python benchmarks/decoded_belief.py CHECKPOINT --only once
    python benchmarks/decoded_belief.py --report

Encoder and decoder of a trained agent learn on, with one change each, from play that stays the
same: its own, or that of a policy that acts at random. What its own decoder then says on held-out
play of the same kind is added to `docs/results/conditioning/decoded.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import conditioning
import session_prior
import torch
from torch import Tensor

from rllib_metarl import Checkpoint
from rllib_metarl.sampling.held_out import HeldOut

FIT: dict[str, Any] = {"steps": 300, "rows": 32, "lr": 0.001, "episodes": 1024}
HELD_OUT = {"episodes": 256, "seed": 2718}
FILE = "decoded.json"


@dataclass(frozen=True)
class Change:
    """What is another way than in training."""

    settings: dict[str, Any] = field(default_factory=dict)
    at_random: bool = False
    """The play is that of a policy that acts at random."""
    past: bool = True
    """A belief decodes transitions of its session that it has seen, too."""
    once: bool = False
    """All of a session's transitions to one cell count as one."""


CHANGES = {
    "as-it-is": Change(),
    "no-kl": Change({"kl_weight": 0.0}),
    "no-consistency": Change({"consistency_weight": 0.0}),
    "all-pairs": Change({"vae_max_pairs": 0}),
    "once": Change(once=True),
    "once-weak-kl": Change({"kl_weight": 0.005}, once=True),
    "future": Change(past=False),
    "random": Change(at_random=True),
    "random-future": Change(at_random=True, past=False),
}


def main(argv: list[str] | None = None) -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--results", type=Path, default=conditioning.RESULTS)
    parser.add_argument("--report", action="store_true", help="print the table of what is there")
    arguments = parser.parse_args(argv)
    file = arguments.results / FILE
    told = json.loads(file.read_text()) if file.exists() else {}
    for name in () if arguments.report else arguments.only:
        told[name] = changed(arguments.checkpoint, CHANGES[name])
        lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in told.items())
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(table(told))


def changed(checkpoint: Path, change: Change) -> dict[str, Any]:
    """Learns on with a change; what the agent's own decoder then says."""
    learner = conditioning.learner_of(checkpoint, change.settings, {}, 0)
    agent, player = learner.agent, Checkpoint.open(checkpoint).module()
    if change.at_random:
        for parameter in player.policy.output.parameters():
            torch.nn.init.zeros_(parameter)
    played = conditioning.play(learner.config, player, FIT["episodes"], 0)
    learner.reconstruction = reconstruction(learner, change)
    parts = (agent.encoder, agent.reward_decoder, agent.session_prior)
    parameters = [x for part in parts for x in part.parameters() if x.requires_grad]
    conditioning.fit(agent, parameters, lambda batch: learner.elbo(batch)[0], played, **FIT)
    held_out = HeldOut(learner.config.env, {}, **HELD_OUT)
    try:
        told = session_prior.told_of(agent, held_out, change.at_random, player)
    finally:
        held_out.close()
    belief: dict[str, Any] = told["belief"]
    return belief


def reconstruction(learner: Any, change: Change) -> Callable[..., dict[str, Tensor]]:
    """The reward loss per belief with a change of what is decoded."""

    def terms(data: Any, latent: Tensor, all_pairs: Any) -> dict[str, Tensor]:
        pairs, each = learner.thinned(all_pairs, data)
        b, t, j = all_pairs.all() if pairs is None else pairs
        loss, _ = learner.decoded_rewards(learner.agent.reward_decoder, data, latent, (b, t, j))
        weight = torch.ones_like(loss) if change.past else (j >= t).float()
        if change.once:
            cell = data.observation[:, 1:, :2]
            same = (cell[:, :, None] == cell[:, None]).all(-1)
            same &= data.session[:, :, None] == data.session[:, None]
            weight = weight / same.sum(-1)[b, j]
        return {"vae_reward_loss": (loss * weight).mean() * each}

    return terms


def table(told: dict[str, Any]) -> str:
    """One row for each change."""
    keys = ("log_loss", "log_loss_exact", "ece")
    lines = [
        "| learnt on with | log-loss | exact filter | calibration error | P(pays) of a goal that "
        "the filter gives above 0.9 | of the other | of the filter's move in the same step |",
        "|---" * 7 + "|",
    ]
    for name, belief in told.items():
        paid = (belief["paid"][key] for key in ("likely_goal", "others"))
        numbers = (*(belief[key] for key in keys), *paid, belief["moves"]["share"])
        lines.append(f"| {name} | " + " | ".join(f"{x:.2f}" for x in numbers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
