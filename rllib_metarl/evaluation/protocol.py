"""Zero-shot evaluation: greedy return on held-out tasks, beside the env's exact references."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.measures import MEASURES

MODULE_PATH = Path("learner_group", "learner", "rl_module", "default_policy")


def evaluate_checkpoint(
    checkpoint: Path,
    episodes: int = 512,
    seed: int | None = None,
    env_config: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Plays a checkpoint's policy greedily on held-out tasks.

    Args:
        checkpoint: a checkpoint folder of one of this project's algorithms.
        episodes: held-out meta-episodes.
        seed: chooses the held-out tasks; the run's own `held_out_seed` where None.
        env_config: arguments of the env that overrule those it was trained with.

    Returns:
        ``run``, ``env``, ``return_mean``, ``return_std`` (over meta-episodes), ``normalised_score``
        and ``references`` (None where the env has none), ``episodes``, ``env_steps``, the env's
        own measures (see `measures`), ``env_config``, ``held_out_seed``, ``checkpoint``.

    Raises:
        UserError: if there is no such checkpoint, it is of another algorithm or version, or its env
            is not registered.
    """
    checkpoint = Path(checkpoint)
    if episodes < 1:
        raise UserError(f"episodes is {episodes}: evaluate at least 1 meta-episode.")
    name, config = read_checkpoint(checkpoint)
    module = load_module(checkpoint)
    seed = config.get("held_out_seed", 0) if seed is None else seed
    config["env_config"] = dict(config.get("env_config") or {}) | (env_config or {})
    held_out = _held_out(checkpoint, config, episodes, seed)
    try:
        played = held_out.play(module)
        result = held_out.summary(played)
    finally:
        held_out.close()
    measure = MEASURES.get(str(config["env"]).rpartition(":")[2])
    return {
        "run": name,
        "env": config["env"],
        "env_config": config["env_config"],
        **result,
        **(measure(played) if measure else {}),
        "held_out_seed": seed,
        "checkpoint": str(checkpoint),
    }


def read_checkpoint(checkpoint: Path) -> tuple[str, dict[str, Any]]:
    """The algorithm's name and its config as a dict.

    Raises:
        UserError: if the folder is not a checkpoint of this project and this Ray version.
    """
    file = checkpoint / "class_and_ctor_args.pkl"
    if not checkpoint.exists():
        raise UserError(f"no checkpoint at {checkpoint}: there is no such folder.")
    if not file.is_file():
        inside = sorted(checkpoint.glob("**/checkpoint_*"))[-1:] if checkpoint.is_dir() else []
        hint = f" Did you mean {inside[0]}?" if inside else ""
        raise UserError(
            f"{checkpoint} is not a checkpoint: it has no class_and_ctor_args.pkl. Name a folder "
            f"checkpoint_XXXXXX inside a trial's folder.{hint}"
        )
    _check_version(checkpoint)
    try:
        algorithm, config = _stored(checkpoint)
        name = algorithm.__name__
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError) as error:
        raise UserError(
            f"{file} cannot be read ({error}): the checkpoint is damaged. Use an older one."
        ) from None
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{file} refers to code that is not here ({error}): install the plugin that the run "
            "used, or evaluate with the version of rllib_metarl that wrote the checkpoint."
        ) from None
    return name, config if isinstance(config, dict) else config.to_dict()


def load_module(checkpoint: Path) -> Any:
    """The trained RLModule of a checkpoint, on the CPU.

    Raises:
        UserError: if the module is not one that acts on a belief, or its weights do not fit.
    """
    from ray.rllib.core.rl_module.rl_module import RLModule

    path = checkpoint / MODULE_PATH
    try:
        module = RLModule.from_checkpoint(str(path.resolve()))
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: the policy cannot be restored ({error}). The checkpoint is incomplete or of "
            "another version; use an older one."
        ) from None
    if not hasattr(module, "needs_privileged"):
        raise UserError(
            f"{checkpoint} holds a {type(module).__name__}, which has no belief: evaluate it with "
            "RLlib's own Algorithm.from_checkpoint(...).evaluate()."
        )
    return module


def _check_version(checkpoint: Path) -> None:
    import ray

    file = checkpoint / "rllib_checkpoint.json"
    if not file.is_file():
        return
    written = json.loads(file.read_text()).get("ray_version", ray.__version__)
    if written.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise UserError(
            f"{checkpoint} was written with Ray {written}, this is Ray {ray.__version__}: install "
            f"ray=={written} to evaluate it, or train anew."
        )


def _stored(checkpoint: Path) -> tuple[Any, Any]:
    """The algorithm's class and its config, a dict where Tune has run it."""
    stored = pickle.loads((checkpoint / "class_and_ctor_args.pkl").read_bytes())
    return stored["class"], stored["ctor_args_and_kwargs"][0][0]


def _held_out(checkpoint: Path, config: dict[str, Any], episodes: int, seed: int) -> Any:
    import gymnasium as gym

    from rllib_metarl.sampling.held_out import HeldOut
    from rllib_metarl.sampling.stepwise import StepwiseHeldOut

    algorithm, _ = _stored(checkpoint)
    settings = algorithm.get_default_config().update_from_dict(config)
    try:
        if settings.acts_through_connectors():
            held_out = StepwiseHeldOut(settings, episodes, seed)
            held_out.runner.restore_from_path(str((checkpoint / "env_runner").resolve()))
            return held_out
        return HeldOut(config["env"], config.get("env_config"), episodes, seed)
    except (gym.error.Error, ModuleNotFoundError, ValueError) as error:
        raise UserError(
            f"env {config['env']} cannot be made ({error}): import the module that registers it, "
            "e.g. with --plugin."
        ) from None
