"""Short trainings whose every number is kept: what a change of the code must leave as it is."""

from __future__ import annotations

import hashlib
import json
import platform
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import torch
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_metarl.sampling.collector import MetaEpisodeData
from rllib_metarl.sampling.held_out import HeldOut
from rllib_metarl.sampling.stepwise import StepwiseHeldOut
from tests.algorithms.small import GRID, SMALL_GRID, small_config, small_learner
from tests.reliability.resuming import WanderingSessions

FOLDER = Path(__file__).parent
ITERATIONS, STEPS = 3, 48
REACHER = {"env": "DLCMDP/Reacher-v0", "env_config": {"horizon": 6, "p_switch": 0.2}}
# Meta-episodes that end by chance, so that rows are padded and some go on in the next batch.
WANDERING = {"env": WanderingSessions, "env_config": {}}
ONE_STEP = {"num_epochs": 1, "minibatch_size": None}
FROM_REWARDS = {"session_prior": "rewards", "held_belief": "mixture"}


def _filtered(env: Any = None, spaces: Any = None, device: Any = None) -> Any:
    return MeanStdFilter()


# Algorithm -> name of a run -> its settings; each has one on the grid and one with physics.
RUNS: dict[str, dict[str, dict[str, Any]]] = {
    "DynaMITE": {
        "grid": {},
        "reacher": REACHER,
        "wandering": WANDERING | {"policy_min_std": [[0, 0.3], [96, 0.1]]},
        "prior-from-rewards": FROM_REWARDS | {"decode_state": True},
        "prior-from-rewards-wandering": WANDERING | FROM_REWARDS | {"cut_memory": True},
        "every-term": {
            "belief_conditioning": "concat",
            "policy_gradient_to_encoder": True,
            "decode_state": True,
            "reward_decoder_inputs": ["observation", "action", "next_observation"],
            "vae_max_pairs": 30,
        },
        "connectors": {"connector": _filtered},
        "lstm": {"recurrent_cell": "lstm", "cut_memory": True},
    },
    "VariBAD": {"grid": {"reward_likelihood": "bernoulli"}, "reacher": REACHER},
    "HLTDynaMITE": {"grid": {}, "reacher": REACHER, "version-1": {"hlt_version": 1}},
    "RL2": {
        "grid": {},
        "reacher": REACHER,
        "wandering": WANDERING | {"recurrent_cell": "lstm", "whole_transitions": True},
        "connectors": {"connector": _filtered},
    },
    "LSTMA2C": {"grid": ONE_STEP, "reacher": REACHER | ONE_STEP},
    "LSTMA3C": {"grid": ONE_STEP | {"runners": 1}, "reacher": REACHER | ONE_STEP | {"runners": 1}},
    "ContextPPO": {
        "grid": {},
        "reacher": REACHER | {"context": "explicit", "context_size": 2},
        "latent": {"context": "latent", "train_encoder": True, "forward_hidden": [8]},
    },
    "BlindPPO": {"grid": {}, "reacher": REACHER},
    "MAML": {
        "grid": {},
        "reacher": REACHER | {"inner_steps": 2, "lambda_": 0.9},
        "wandering": WANDERING | {"outer_update": "emaml", "curvature_stride": 3},
        "first-order": {"first_order": True},
        "no-inner-step": REACHER | {"inner_steps": 0},
        "promp": REACHER | {"outer_update": "promp"},
        "reptile": {"outer_update": "reptile"},
    },
    "PEARL": {
        "grid": {},
        "reacher": REACHER | {"env_config": {"horizon": 6, "p_switch": 0.0, "inner_episodes": 2}},
        "wandering": WANDERING | {"context_next_observation": True, "context_from": "all"},
        "todays-critics": REACHER | {"critic_target": "critics", "temperature": "auto"},
    },
    "MAME": {"grid": {}, "reacher": REACHER},
    "OraclePPO": {
        "grid": {},
        "reacher": REACHER | {"context_size": 2},
        "posterior": {
            "env_config": SMALL_GRID | {"show_posterior": True},
            "oracle_sees": "posterior",
        },
        "connectors": {"connector": _filtered},
    },
}


def machine() -> dict[str, str]:
    """What the bits of a sum depend on; where all is equal, so are the bits."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    cpu = [line for line in lines if line.startswith(("vendor_id", "cpu family", "model", "flags"))]
    return {
        "machine": platform.machine(),
        "cpu": _digest([line.encode() for line in sorted(set(cpu))]),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gymnasium": gym.__version__,
        "mujoco": mujoco.__version__,
    }


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def digest_of(weights: dict[str, torch.Tensor]) -> str:
    """Of the tensors whatever they are called and in whatever order they come."""
    arrays = [tensor.detach().cpu().numpy() for tensor in weights.values()]
    return _digest(sorted(f"{a.dtype}{a.shape}".encode() + a.tobytes() for a in arrays))


def config_of(algorithm: str, settings: dict[str, Any]) -> Any:
    """The config of a run."""
    settings = {"env": GRID} | settings
    connector = settings.pop("connector", None)
    config = small_config(algorithm, **settings)
    if connector is not None:
        config.env_runners(env_to_module_connector=connector)
    return config


def play(algorithm: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Samples and learns three times, then plays held-out tasks; everything without Ray."""
    config = config_of(algorithm, settings)
    config.validate()
    torch.manual_seed(0)
    runner = config.env_runner_cls(config=config, worker_index=1, num_workers=2)
    learner = small_learner(config)
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    iterations = [_iteration(runner, learner, STEPS * (i + 1)) for i in range(ITERATIONS)]
    told = {"iterations": iterations, "held_out": _held_out(runner)}
    runner.stop()
    return told


def _held_out(runner: Any) -> dict[str, Any]:
    """Greedy meta-episodes: their mean return, and a digest of all that is kept of them."""
    config = runner.config
    if config.acts_through_connectors():
        held_out: HeldOut = StepwiseHeldOut(config, 4, seed=0)
    else:
        held_out = config.held_out(4, 0)
    held_out.follow(runner)
    played = held_out.play(runner.module)
    held_out.close()
    arrays = [column for episode in played for column in _columns(episode)]
    return {
        "return_mean": float(np.mean([episode.rewards.sum() for episode in played])),
        "digest": _digest(np.ascontiguousarray(column).tobytes() for column in arrays),
    }


def _columns(episode: MetaEpisodeData) -> list[np.ndarray]:
    labels = [episode.labels[key] for key in sorted(episode.labels)]
    acting = [episode.belief, episode.logits, episode.log_prob, episode.final_belief]
    return [episode.observations, episode.actions, episode.rewards, *acting, *labels]


def _iteration(runner: Any, learner: Any, steps: int) -> dict[str, Any]:
    config = learner.config
    reported = learner.update(
        episodes=runner.sample(num_timesteps=STEPS, explore=True),
        timesteps={"num_env_steps_sampled_lifetime": steps},
        num_epochs=config.num_epochs,
        minibatch_size=config.minibatch_size,
    )[DEFAULT_MODULE_ID]
    runner.module.set_state(learner.module[DEFAULT_MODULE_ID].get_state(inference_only=True))
    weights = learner.agent.state_dict()
    total = sum(tensor.double().abs().sum() for tensor in weights.values())
    numbers = {
        key: float(value.peek())
        for key, value in sorted(reported.items())
        if not key.endswith("trainable_parameters")  # counted in the first iteration only
    }
    return {"numbers": numbers, "weights": digest_of(weights), "size": float(total)}


def play_all(algorithm: str) -> dict[str, Any]:
    """All runs of an algorithm, on one thread, as they are kept."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runs = {name: play(algorithm, settings) for name, settings in RUNS[algorithm].items()}
    finally:
        torch.set_num_threads(threads)
    return {"machine": machine(), "runs": runs}


def file_of(algorithm: str) -> Path:
    """Where an algorithm's runs are kept."""
    return FOLDER / f"{algorithm}.json"


def kept(algorithm: str) -> dict[str, Any]:
    """What `record` wrote."""
    told: dict[str, Any] = json.loads(file_of(algorithm).read_text())
    return told


def unlike(got: Any, expected: Any, *, exactly: bool, where: str = "") -> list[str]:
    """Where two recordings differ; within a tolerance, and but for digests, unless exactly."""
    if isinstance(expected, dict) and isinstance(got, dict):
        keys = sorted(expected.keys() | got.keys())
        pairs = [(got.get(key), expected.get(key), f"{where}/{key}") for key in keys]
    elif isinstance(expected, list) and isinstance(got, list) and len(got) == len(expected):
        pairs = [(g, e, f"{where}/{i}") for i, (g, e) in enumerate(zip(got, expected, strict=True))]
    elif isinstance(expected, float) and isinstance(got, float) and not exactly:
        return (
            [] if np.isclose(got, expected, rtol=1e-3, atol=1e-4) else [_told(where, got, expected)]
        )
    elif isinstance(expected, str) and not exactly:
        return []
    else:
        return [] if got == expected else [_told(where, got, expected)]
    return [line for g, e, at in pairs for line in unlike(g, e, exactly=exactly, where=at)]


def _told(where: str, got: Any, expected: Any) -> str:
    return f"{where.lstrip('/')}: {got}, kept {expected}"
