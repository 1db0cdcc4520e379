"""Measures what torch.compile would win in the training of the DynaMITE example, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/compiled.py --json compiled.json

Three pieces of an iteration, each as it is and under `torch.compile` with its defaults: PPO's loss
with its backward pass on one minibatch, the ELBO with its backward pass, and one acting step of all
envs. Their results are compared before the clock starts. Figures are CPU time, so that other
work on the machine disturbs them less; wall-clock time is in the JSON. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # a user's first run has no cache
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # in this process, whose CPU time is taken

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from throughput import PROFILED, build_learner, example, machine
from torch._dynamo.utils import counters

from rllib_metarl.learning.batch import flatten_valid, rollout_from_episodes
from rllib_metarl.models.step import Inputs
from rllib_metarl.sampling.runner import MetaEpisodeRunner

RUN_STEPS = 3_000_000
Call = Callable[[], Any]


class Pieces:
    """The example's learner and runner, with data in the buffer, and the pieces to be timed."""

    def __init__(self) -> None:
        self.config = config = example(PROFILED)
        torch.manual_seed(0)
        self.learner = build_learner(config)
        runner = MetaEpisodeRunner(config=config, worker_index=1, num_workers=1)
        runner.module.load_state_dict(self.learner.agent.state_dict(), strict=False)
        self.module = runner.module
        for _ in range(2):
            episodes = runner.sample()
            self.learner.update(
                episodes=episodes, num_epochs=1, minibatch_size=config.minibatch_size
            )
        rollout = rollout_from_episodes(episodes, self.learner.agent)
        columns = flatten_valid(self.learner.ppo_columns(rollout), rollout.trajectories.valid)
        self.minibatch = {key: value[: config.minibatch_size] for key, value in columns.items()}
        self.trials = self.learner.buffer.sample(config.vae_batch_size)
        self.seen = self._acting_inputs(rollout.trajectories.observation[:, 0])

    def _acting_inputs(self, observation: torch.Tensor) -> Inputs:
        count, width = len(observation), self.module.action_width
        state = self.module.initial_state(count, torch.device("cpu"))
        return Inputs(observation, torch.zeros(count, width), torch.zeros(count), state)

    def ppo(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """PPO's loss on a minibatch."""
        return self.learner.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID,
            config=self.config,
            batch=batch,
            fwd_out=self.learner.agent._forward_train(batch),
        )

    def elbo(self, trials: Any) -> torch.Tensor:
        """The loss that beliefs are trained on."""
        return self.learner.elbo(trials)[0]

    def backward(self, loss: Callable[..., torch.Tensor], data: Any) -> torch.Tensor:
        """A loss and the gradients of all parameters; the same latents in each call."""
        self.learner._noise.generator.manual_seed(0)
        self.learner.agent.zero_grad(set_to_none=True)
        value = loss(data)
        value.backward()
        self.learner._log.clear()
        return value.detach()

    @torch.inference_mode()
    def act(self, step: Callable[..., Any]) -> torch.Tensor:
        """One step of all envs."""
        return step(self.seen).logits

    def table(self) -> dict[str, tuple[Callable[[Callable[..., Any]], Call], int]]:
        """Piece -> (its call, given a way to treat its function; calls in an iteration)."""
        config = self.config
        minibatches = config.train_batch_size_per_learner // config.minibatch_size
        return {
            "PPO's loss and backward, 480 steps": (
                lambda treat: partial(self.backward, treat(self.ppo), self.minibatch),
                config.num_epochs * minibatches,
            ),
            "ELBO and backward, 32 trials, 6,000 pairs": (
                lambda treat: partial(self.backward, treat(self.elbo), self.trials),
                config.vae_updates,
            ),
            "acting, one step of 128 envs": (
                lambda treat: partial(self.act, treat(self.module.step)),
                config.rollout_fragment_length,
            ),
        }


def gradients(module: torch.nn.Module) -> torch.Tensor:
    """All gradients of a module in one vector."""
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def clocks() -> dict[str, float]:
    """Seconds of wall-clock time, and of CPU time of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"wall": time.perf_counter(), "cpu": sum(x.ru_utime + x.ru_stime for x in used)}


def seconds(call: Call, repeats: int = 1) -> dict[str, float]:
    """Time of one call by both clocks."""
    start = clocks()
    for _ in range(repeats):
        call()
    return {name: (end - start[name]) / repeats for name, end in clocks().items()}


def check_equal(eager: Call, compiled: Call, module: torch.nn.Module) -> None:
    """Raises AssertionError unless results and gradients are the same."""
    expected, grads = eager(), gradients(module)
    torch.testing.assert_close(compiled(), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(gradients(module), grads, atol=1e-3, rtol=1e-2)


def measure(
    pieces: Pieces, make: Any, per_iteration: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Compile time, milliseconds a call, and after how many iterations compiling has paid."""
    torch._dynamo.reset()
    counters.clear()
    compiler = partial(torch.compile, backend=arguments.backend)
    turns = {"eager": make(lambda f: f), "compiled": make(compiler)}
    turns["eager"]()
    compiling = seconds(turns["compiled"])
    check_equal(turns["eager"], turns["compiled"], pieces.learner.agent)
    timed: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for number in range(arguments.rounds):
        for name in sorted(turns, reverse=bool(number % 2)):
            timed[name].append(seconds(turns[name], arguments.calls))
    row: dict[str, Any] = {"calls_per_iteration": per_iteration}
    for clock, compile_s in compiling.items():
        ms = {k: 1e3 * statistics.median(t[clock] for t in v) for k, v in timed.items()}
        row[clock] = {f"{name}_ms": value for name, value in ms.items()}
        row[clock] |= {"ratio": ms["eager"] / ms["compiled"], "compile_s": compile_s}
        row[clock] |= whole_run(pieces.config, ms, compile_s, per_iteration)
    row["graphs"] = counters["stats"]["unique_graphs"]
    row["graph_breaks"] = {k.split("\n")[0]: n for k, n in counters["graph_break"].items()}
    return row | {"rounds_s": timed}


def whole_run(
    config: Any, ms: dict[str, float], compile_s: float, per_iteration: int
) -> dict[str, Any]:
    """What the figures come to in a run of 3 million env steps."""
    iterations = RUN_STEPS / config.train_batch_size_per_learner
    saved_s = 1e-3 * per_iteration * (ms["eager"] - ms["compiled"])
    eager_s = 1e-3 * per_iteration * ms["eager"] * iterations
    return {
        "break_even_iterations": compile_s / saved_s if saved_s > 0 else None,
        "eager_s_in_run": eager_s,
        "ratio_in_run": eager_s / (eager_s - saved_s * iterations + compile_s),
    }


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=30, help="calls of a piece in a round")
    parser.add_argument("--pieces", nargs="+", default=["PPO", "ELBO", "acting"])
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    pieces = Pieces()
    rows = {
        name: measure(pieces, make, calls, arguments)
        for name, (make, calls) in pieces.table().items()
        if name.startswith(tuple(arguments.pieces))
    }
    result = {"machine": machine(), "run_steps": RUN_STEPS, "rows": rows}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    print("| piece | eager, ms | compiled, ms | ratio | compiling, s | pays after | in 3 M steps |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        cpu = row["cpu"]
        after = cpu["break_even_iterations"]
        print(
            f"| {name} | {cpu['eager_ms']:.2f} | {cpu['compiled_ms']:.2f} | {cpu['ratio']:.2f} | "
            f"{cpu['compile_s']:.0f} | {'never' if after is None else f'{after:.0f} iterations'} | "
            f"{cpu['ratio_in_run']:.2f} |"
        )


if __name__ == "__main__":
    main()
