"""Measures sampling and learning against hand-written loops and RLlib's own paths, side by side.

    OMP_NUM_THREADS=1 python benchmarks/throughput.py --json throughput.json
    OMP_NUM_THREADS=1 python benchmarks/throughput.py --quick         # a minute, rougher
    OMP_NUM_THREADS=1 python benchmarks/throughput.py --smoke         # whether it runs, no figures

One torch thread, CPU only. The contestants of a row take turns; a row's figures are medians over
the rounds and its ratio is the quotient of the medians. Where two contestants do the same work,
that is checked before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import gymnasium as gym
import numpy as np
import ray
import torch
import yaml
from phases import Clocks, lap, peak_mib
from plain_maml import maml_training
from plain_pearl import pearl_updates
from plain_varibad import PlainVariBAD, Settings
from racing import Contestant, compare, race
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.columns import CONTEXT_LABELS
from rllib_metarl.envs import make_vector
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.sampling.connectors import AddPreviousTransition
from rllib_metarl.sampling.runner import MetaEpisodeRunner

ROOT = Path(__file__).resolve().parent.parent
GRID = "DLCMDP/GridWorld-v0"
HORIZON = 60
GROWTH = (16, 64, 256, 1024)
PROFILED = "tuned_examples/dynamite/gridworld.yaml"
SCHEDULE = "tuned_examples/varibad/static-gridworld.yaml"


@dataclass(frozen=True)
class Size:
    """How much is measured: `rounds` of a race, or (`smoke`) as little as runs at all."""

    rounds: int = 9
    smoke: bool = False

    @property
    def envs(self) -> int:
        """Sub-envs of a runner."""
        return 4 if self.smoke else 64

    def times(self, repeats: int) -> int:
        """How often a piece of work is done in a round."""
        return 1 if self.smoke else repeats


# --- sampling -----------------------------------------------------------------------------------


class BareSampler:
    """Whole meta-episodes by one loop over a numpy env and torch nets, into preallocated arrays.

    Knows that all meta-episodes last `HORIZON` steps, that actions are discrete, and which nets
    there are; checks nothing.
    """

    def __init__(self, runner: MetaEpisodeRunner) -> None:
        self.module, self.count = runner.module, runner.num_envs
        self.env = make_vector(runner.config.env, self.count, None, runner.stream)
        self.generator = torch.Generator()
        self.generator.set_state(runner.collector.generator.get_state())
        self.module.eval()
        self.current = self.env.reset()

    def act(
        self, observation: torch.Tensor, previous: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Belief, logits and hidden state; `previous` is the last action and reward."""
        encoder, scaled = self.module.encoder, self.module.normalise_observation(observation)
        gru, inputs = encoder.gru, torch.cat([scaled, previous], -1)
        weights = (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0)
        hidden = torch.gru_cell(encoder.embedding(inputs), hidden, *weights)
        mean, log_var = encoder.posterior(hidden).chunk(2, -1)
        belief = torch.cat([mean, log_var.clamp(*encoder.log_var_range)], -1)
        return belief, self.module.policy(scaled, self.module.normalise_belief(belief)), hidden

    @torch.inference_mode()
    def sample(self) -> dict[str, np.ndarray]:
        """One meta-episode in every env, arrays `[T, N, ...]`."""
        observation, info = self.current
        width = self.module.action_width
        out = self.allocate(observation, info)
        hidden = torch.zeros(self.count, self.module.encoder.hidden_size)
        previous = torch.zeros(self.count, width + 1)
        for t in range(HORIZON):
            belief, logits, hidden = self.act(torch.from_numpy(observation), previous, hidden)
            noise = torch.empty_like(logits).exponential_(generator=self.generator)
            action = (logits - noise.log()).argmax(-1)
            out["observation"][t], out["action"][t] = observation, action.numpy()
            out["belief"][t], out["logits"][t] = belief.numpy(), logits.numpy()
            for label in CONTEXT_LABELS:
                out[label][t] = info[label]
            observation, out["reward"][t], _, _, info = self.env.step(action.numpy())
            previous = torch.nn.functional.one_hot(action, width + 1).float()
            previous[:, -1] = torch.from_numpy(out["reward"][t])
        self.current = observation, info
        out["observation"][HORIZON] = info["final_obs"]
        final = torch.from_numpy(info["final_obs"])
        out["final_belief"] = self.act(final, previous, hidden)[0].numpy()
        log_probs = torch.from_numpy(out["logits"]).log_softmax(-1)
        chosen = torch.from_numpy(out["action"]).unsqueeze(-1)
        out["log_prob"] = log_probs.gather(-1, chosen).squeeze(-1).numpy()
        return out

    def allocate(self, observation: np.ndarray, info: dict[str, np.ndarray]) -> dict[str, Any]:
        """Empty arrays for one sample."""
        rows, module = (HORIZON, self.count), self.module
        return {
            "observation": np.empty((HORIZON + 1, *observation.shape), np.float32),
            "action": np.empty(rows, np.int64),
            "reward": np.empty(rows),
            "belief": np.empty((*rows, module.belief_size), np.float32),
            "logits": np.empty((*rows, module.action_width), np.float32),
            **{k: np.empty((HORIZON, *info[k].shape), info[k].dtype) for k in CONTEXT_LABELS},
        }


def grid_config(envs: int) -> Any:
    """VariBAD's defaults on the GridWorld: GRU-64, 5 latent dimensions, FiLM policy 128-128."""
    config = ALGORITHMS["VariBAD"].config()().environment(GRID)
    config.env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=HORIZON)
    config.train_batch_size_per_learner = envs * HORIZON
    return config.debugging(seed=0)


def grid_runner(envs: int) -> MetaEpisodeRunner:
    """Our runner in this process."""
    return MetaEpisodeRunner(config=grid_config(envs), worker_index=0, num_workers=0)


def steps_of(episodes: list[Any]) -> int:
    """Env steps in episodes."""
    return sum(map(len, episodes))


def check_same_sample(runner: MetaEpisodeRunner, bare: BareSampler) -> None:
    """Raises AssertionError unless both give the same meta-episodes for the same streams."""
    arrays, episodes = bare.sample(), runner.sample()
    columns = {Columns.ACTION_LOGP: "log_prob", Columns.ACTION_DIST_INPUTS: "logits"}
    columns |= {key: key for key in ("belief", *CONTEXT_LABELS)}
    for i, episode in enumerate(episodes):
        pairs = [
            (episode.get_observations(), arrays["observation"]),
            (episode.get_actions(), arrays["action"]),
            (episode.get_rewards(), arrays["reward"]),
        ]
        pairs += [(episode.get_extra_model_outputs(k), arrays[v]) for k, v in columns.items()]
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs[:, i], atol=1e-6)
        final = episode.custom_data["final_belief"]
        np.testing.assert_allclose(final, arrays["final_belief"][i], atol=1e-6)


def sampling_bare(size: Size) -> dict[str, Any]:
    """Row 1: our runner and the bare loop."""
    runner = grid_runner(size.envs)
    bare = BareSampler(runner)
    check_same_sample(runner, bare)
    contestants = {
        "ours": Contestant(lambda: steps_of(runner.sample()), repeats=size.times(8)),
        "bare loop": Contestant(lambda: bare.sample()["reward"].size, repeats=size.times(8)),
    }
    work = "sampling, 64 GridWorld envs, GRU-64 belief: our runner / a bare numpy + torch loop"
    return compare(work, 0.75, race(contestants, size.rounds), "bare loop")


def sampling_stock(size: Size) -> dict[str, Any]:
    """Row 2: our runner and RLlib's, the same module."""
    runner, config = grid_runner(size.envs), grid_config(size.envs)
    config.env_runners(
        env_runner_cls=SingleAgentEnvRunner,
        gym_env_vectorize_mode=gym.VectorizeMode.SYNC,
        env_to_module_connector=lambda env, spaces, device: AddPreviousTransition(),
    )
    stock = SingleAgentEnvRunner(config=config, worker_index=0, num_workers=0)
    stock.module.load_state_dict(runner.module.state_dict())
    contestants = {
        "ours": Contestant(lambda: steps_of(runner.sample()), repeats=size.times(8)),
        "stock runner": Contestant(lambda: steps_of(stock.sample())),
    }
    work = "the same: our runner / RLlib's SingleAgentEnvRunner with the same module"
    return compare(work, 12.0, race(contestants, size.rounds), "stock runner")


def growth(size: Size) -> dict[str, Any]:
    """Row 5: our runner at growing numbers of envs, about as many env steps each."""
    counts = GROWTH[:2] if size.smoke else GROWTH
    runners = {count: grid_runner(count) for count in counts}

    def work_of(count: int) -> Callable[[], int]:
        return lambda: steps_of(runners[count].sample())

    contestants = {
        f"{count:04d}": Contestant(work_of(count), repeats=size.times(max(1, 256 // count)))
        for count in counts
    }
    timed = race(contestants, size.rounds)
    times = [timed[name]["wall_us_per_step"] for name in sorted(timed)]
    falls = all(later < earlier for earlier, later in zip(times[:-1], times[1:], strict=True))
    return {
        "work": f"growth: our runner's time per env step at {', '.join(map(str, counts))} envs",
        "mark": "falls all the way",
        "falls": falls,
        "timed": timed,
    }


# --- training -----------------------------------------------------------------------------------


def example(path: str, **changes: Any) -> Any:
    """The config of a tuned example without its evaluations, which are not training."""
    ((_, content),) = yaml.safe_load((ROOT / path).read_text()).items()
    config = ALGORITHMS[content["run"]].config()()
    settings = content["config"] | {"env": content["env"], "evaluate_every_steps": 0} | changes
    config.update_from_dict(settings)
    return config


def check_same_schedule(config: Any, settings: Settings) -> None:
    """Raises AssertionError where the plain script's settings are not those of the example."""
    for name, value in asdict(settings).items():
        assert getattr(config, name) == value, f"{name}: {getattr(config, name)} != {value}"


def training(size: Size) -> dict[str, Any]:
    """Row 3: `Algorithm.train()` and the plain script's iteration."""
    config = example(SCHEDULE)
    algorithm, plain = config.build_algo(), PlainVariBAD()
    check_same_schedule(config, plain.settings)
    per_iteration = config.train_batch_size_per_learner

    def our_work() -> int:
        algorithm.train()
        return per_iteration

    def plain_work() -> int:
        plain.iterate()
        return per_iteration

    past_warmup = config.vae_warmup_steps // per_iteration + 1  # of the VAE
    for _ in range(size.times(past_warmup)):
        our_work(), plain_work()
    contestants = {
        "ours": Contestant(our_work, repeats=size.times(10)),
        "plain script": Contestant(plain_work, repeats=size.times(10)),
    }
    timed = race(contestants, size.rounds)
    algorithm.stop()
    work = (
        "full VariBAD training, 16 envs x 60 steps, 3 updates x 25 trials, 2 x 4 PPO minibatches: "
        "Algorithm.train() / one plain PyTorch script"
    )
    return compare(work, 0.85, timed, "plain script")


def rl2_config(envs: int = 64) -> Any:
    """RL² with an LSTM: 64 envs x 60 steps, 4 epochs of 4 minibatches."""
    config = ALGORITHMS["RL2"].config()().environment(GRID)
    config.env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=HORIZON)
    config.training(
        recurrent_cell="lstm",
        train_batch_size_per_learner=envs * HORIZON,
        minibatch_size=envs * HORIZON // 4,
        num_epochs=4,
        evaluate_every_steps=0,
    )
    return config


def stock_rl2_config(envs: int = 64) -> Any:
    """RLlib's PPO with its LSTM of the same widths; it sees observations only."""
    config = PPOConfig().environment(GRID)
    config.env_runners(
        num_env_runners=0,
        num_envs_per_env_runner=envs,
        rollout_fragment_length=HORIZON,
        gym_env_vectorize_mode=gym.VectorizeMode.SYNC,
    )
    config.rl_module(
        model_config=DefaultModelConfig(
            fcnet_hiddens=[64], use_lstm=True, lstm_cell_size=64, max_seq_len=HORIZON
        )
    )
    config.training(
        train_batch_size_per_learner=envs * HORIZON,
        minibatch_size=envs * HORIZON // 4,
        num_epochs=4,
    )
    return config


def rl2(size: Size) -> dict[str, Any]:
    """Row 4: RL2 and RLlib's PPO with an LSTM, as many gradient steps each."""
    algorithms = {
        "ours": rl2_config(size.envs).build_algo(),
        "stock PPO": stock_rl2_config(size.envs).build_algo(),
    }

    def work_of(algorithm: Any) -> Callable[[], int]:
        return lambda: size.envs * HORIZON * bool(algorithm.train())

    contestants = {name: Contestant(work_of(a)) for name, a in algorithms.items()}
    contestants["ours"].repeats = size.times(4)
    timed = race(contestants, size.rounds)
    for algorithm in algorithms.values():
        algorithm.stop()
    work = "full RL2 training, 64 envs x 60 steps, 4 x 4 minibatches: ours / RLlib's PPO + LSTM"
    return compare(work, 3.5, timed, "stock PPO")


def learning(size: Size) -> dict[str, Any]:
    """Not in the default rows: that both contestants of `training` learn, and alike."""
    config, plain = example(SCHEDULE), PlainVariBAD()
    check_same_schedule(config, plain.settings)
    window = 2 if size.smoke else 60
    algorithm, iterations = config.build_algo(), window * size.rounds
    ours, theirs = [], []
    for _ in range(iterations):
        ours.append(algorithm.train()["env_runners"]["episode_return_mean"])
        theirs.append(plain.iterate()["return_mean"])
    algorithm.stop()
    curves = {"ours": ours, "plain script": theirs}
    means = {k: np.reshape(y, (-1, window)).mean(1).tolist() for k, y in curves.items()}
    return {
        "work": f"learning: mean return of the newest {window} of {iterations} iterations",
        "mark": "alike",
        "env_steps": plain.steps,
        "returns_per_60_iterations": means,
    }


# --- learner batch ------------------------------------------------------------------------------


def stock_learner() -> Any:
    """RLlib's PPO learner with its default LSTM module, its nets about the size of ours."""
    config = PPOConfig().environment(GRID).training(gamma=0.95, lambda_=0.95)
    model = DefaultModelConfig(
        fcnet_hiddens=[64, 64], use_lstm=True, lstm_cell_size=64, max_seq_len=HORIZON + 1
    )
    config.rl_module(model_config=model)
    return build_learner(config)


def build_learner(config: Any) -> Any:
    """A config's learner alone, in this process."""
    env = gym.make(GRID)
    spaces = {DEFAULT_MODULE_ID: (env.observation_space, env.action_space)}
    learner = config.build_learner(env=None, spaces=spaces)
    learner.build()
    return learner


def with_states(episode: SingleAgentEpisode, initial: dict[str, Any]) -> SingleAgentEpisode:
    """The same meta-episode as RLlib's own LSTM agent records it: without our columns, with states.

    Args:
        initial: the LSTM's initial state; stands for the states after every step too.
    """
    columns = (Columns.ACTION_DIST_INPUTS, Columns.ACTION_LOGP)
    outputs = {key: episode.get_extra_model_outputs(key) for key in columns}
    copy = SingleAgentEpisode(
        observation_space=episode.observation_space,
        action_space=episode.action_space,
        observations=episode.get_observations(),
        infos=[{}] * (len(episode) + 1),
        actions=episode.get_actions(),
        rewards=episode.get_rewards(),
        terminated=episode.is_terminated,
        truncated=episode.is_truncated,
        extra_model_outputs=outputs,
        len_lookback_buffer=0,
    )
    states = {k: np.repeat(np.asarray(v)[None], len(episode), 0) for k, v in initial.items()}
    copy.extra_model_outputs[Columns.STATE_OUT] = InfiniteLookbackBuffer(states)
    copy.extra_model_outputs[Columns.STATE_OUT].finalized = True
    return copy


def learner_batch(size: Size) -> dict[str, Any]:
    """Row 4: from 64 meta-episodes to the tensors that PPO's loss reads."""
    runner, ours, stock = (
        grid_runner(size.envs),
        build_learner(grid_config(size.envs)),
        stock_learner(),
    )
    finished = runner.collector.collect(size.envs * HORIZON)
    initial = stock.module[DEFAULT_MODULE_ID].get_initial_state()
    fresh: dict[str, list[SingleAgentEpisode]] = {}

    def prepare_ours() -> None:
        fresh["ours"] = [runner._to_episode(meta) for meta in finished]
        ours._log.clear()

    def prepare_stock() -> None:  # RLlib's pipeline lengthens and renames the episodes it is given
        fresh["stock"] = [with_states(runner._to_episode(meta), initial) for meta in finished]

    def our_work() -> int:
        ours.ppo_columns(rollout_from_episodes(fresh["ours"], ours.agent))
        return size.envs * HORIZON

    def stock_work() -> int:
        stock._learner_connector(
            rl_module=stock.module,
            batch={},
            episodes=fresh["stock"],
            shared_data={},
            metrics=stock.metrics,
        )
        return size.envs * HORIZON

    contestants = {
        "ours": Contestant(our_work, prepare_ours, repeats=size.times(5)),
        "stock pipeline": Contestant(stock_work, prepare_stock, repeats=size.times(2)),
    }
    work = (
        "learner batch, 64 x 60: RLlib's default pipeline (PPO, its LSTM module) / "
        "rollout_from_episodes + ppo_columns"
    )
    return compare(work, 5.0, race(contestants, size.rounds), "stock pipeline")


# --- where the time goes ------------------------------------------------------------------------


def profile(iterations: int, rounds: int) -> dict[str, Any]:
    """Phases of an iteration of the DynaMITE example, in ms, and the process's peak memory."""
    algorithm = example(PROFILED).build_algo()
    built = peak_mib()
    learner = algorithm.learner_group._learner
    for _ in range(iterations - rounds):
        algorithm.train()
    clocks = Clocks()
    clocks.watch(algorithm.env_runner, "sample")
    for name in ("update", "ppo_columns", "learn_policy", "learn_belief"):
        clocks.watch(learner, name)
    laps = [lap(algorithm, clocks) for _ in range(rounds)]
    phases = {key: statistics.median(each[key] for each in laps) for key in laps[0]}
    peak, steps = peak_mib(), algorithm.config.train_batch_size_per_learner
    buffered = len(learner.buffer)
    algorithm.stop()
    return {
        "example": PROFILED,
        "iterations": iterations,
        "env_steps_per_iteration": steps,
        "ms": phases,
        "peak_mib": peak,
        "peak_mib_before_training": built,
        "buffered_meta_episodes": buffered,
    }


def profile_apart(flags: list[str]) -> dict[str, Any]:
    """Runs `profile` in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--profile-only", *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


# --- the report ---------------------------------------------------------------------------------

ROWS = {
    "sampling-bare": sampling_bare,
    "sampling-stock": sampling_stock,
    "training": training,
    "rl2": rl2,
    "maml": maml_training,
    "pearl": pearl_updates,
    "batch": learner_batch,
    "growth": growth,
    "learning": learning,
}
DEFAULT = [name for name in ROWS if name != "learning"] + ["profile"]


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    info = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    models = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
        "numpy": np.__version__,
        "torch_threads": torch.get_num_threads(),
        "date": date.today().isoformat(),
    }


def line(row: dict[str, Any]) -> str:
    """A row of the Markdown table."""
    if "returns_per_60_iterations" in row:
        newest = {name: f"{x[-1]:.2f}" for name, x in row["returns_per_60_iterations"].items()}
        return f"| {row['work']} | {newest} | | | {row['mark']} |"
    timed = row["timed"]
    speeds = ", ".join(f"{name} {timed[name]['wall_us_per_step']:.1f}" for name in sorted(timed))
    if "falls" in row:
        return f"| {row['work']} | {speeds} | {row['falls']} | | {row['mark']} |"
    ratio = f"**{row['wall_ratio']:.2f}** | {row['cpu_ratio']:.2f}"
    return f"| {row['work']} | {speeds} | {ratio} | >= {row['mark']:g} |"


def report(rows: dict[str, Any], phases: dict[str, Any]) -> str:
    """The tables in Markdown."""
    head = [
        "| work | µs per env step | ratio | ratio of CPU time | mark |",
        "|---|---|---|---|---|",
    ]
    lines = head + [line(row) for row in rows.values()]
    if phases:
        total = phases["ms"]["iteration"]
        lines += ["", f"| phase of {phases['example']} | ms | share |", "|---|---|---|"]
        lines += [f"| {k} | {v:.1f} | {v / total:.0%} |" for k, v in phases["ms"].items()]
        lines += ["", f"peak memory {phases['peak_mib']:.0f} MiB"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and runs the rows asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 9")
    parser.add_argument("--smoke", action="store_true", help="as little as runs; no figures")
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "profile"], default=DEFAULT)
    parser.add_argument("--profile-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    size = Size(1 if arguments.smoke else 3 if arguments.quick else 9, arguments.smoke)
    if arguments.profile_only:
        short = arguments.quick or arguments.smoke
        print(json.dumps(profile(size.times(10 if short else 80), size.rounds)))
        return
    rows = {name: ROWS[name](size) for name in ROWS if name in arguments.rows}
    flags = [f"--{name}" for name in ("quick", "smoke") if getattr(arguments, name)]
    phases = profile_apart(flags) if "profile" in arguments.rows else {}
    result = {"machine": machine(), "rounds": size.rounds, "rows": rows, "profile": phases}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["machine"]))
    print(report(rows, phases))


if __name__ == "__main__":
    main()
