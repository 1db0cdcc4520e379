"""What a belief is worth, judged while it is being trained."""

from __future__ import annotations

from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_metarl.evaluation.belief.assessment import Plays, assess
from rllib_metarl.evaluation.protocol import SET_ASIDE, agent_of, plain
from rllib_metarl.recording import Recording, record

REPORTED = {
    "belief_log_loss": ("belief", "probe", "log_loss"),
    "belief_accuracy": ("belief", "probe", "accuracy"),
    "belief_nll": ("belief", "probe", "nll"),
    "nats_from_exact": ("belief", "nats_from_exact"),
    "ece": ("calibration", "ece"),
    "coverage_50": ("calibration", "coverage_50"),
    "coverage_90": ("calibration", "coverage_90"),
    "crps": ("calibration", "crps"),
    "termination_auroc": ("termination", "auroc"),
    "detection_delay": ("protocol", "detection_delay"),
}
"""Key under ``evaluation/`` -> where in an assessment the number is."""


class JudgeBelief(RLlibCallback):
    """Adds `REPORTED` to each held-out evaluation of a training: what the env and agent allow.

        config.callbacks(JudgeBelief)

    The held-out tasks are played once more, and twice as many others for the probes; that and
    fitting them take some seconds. What cannot be said is left out.

    It is a callback since RLlib's `custom_evaluation_function` cannot be: RLlib drops the dict that
    one returns, and what it finds under ``evaluation/`` in place of it are the held-out numbers of
    this project's algorithms, emptied.
    """

    def __init__(self) -> None:
        self._newest: dict[str, float] = {}
        self._judged_at: float | None = None

    def on_train_result(
        self, *, algorithm: Any, metrics_logger: Any = None, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Adds the scores to a result that has a new held-out evaluation."""
        evaluation = result.get("evaluation") or {}
        now = evaluation.get("at_env_steps")
        if now is None:
            return
        if now != self._judged_at:
            self._judged_at = now
            self._newest = judge(algorithm)
        result["evaluation"] = {**evaluation, **self._newest}


def judge(algorithm: Any) -> dict[str, float]:
    """The numbers of `REPORTED` for the policy that an algorithm in training has now."""
    config, module = algorithm.config, algorithm.env_runner.module
    episodes, seed = config.held_out_episodes, config.held_out_seed
    held_out = algorithm.make_held_out(episodes, seed)
    aside = algorithm.make_held_out(2 * episodes, seed + SET_ASIDE)
    try:
        plays = Plays(_played(algorithm, module, held_out), _played(algorithm, module, aside))
        judged = plain(assess(plays, agent_of(module, config), held_out.env))
    finally:
        held_out.close()
        aside.close()
    found = {name: _at(judged, path) for name, path in REPORTED.items()}
    return {name: value for name, value in found.items() if value is not None}


def _played(algorithm: Any, module: Any, tasks: Any) -> Recording:
    tasks.follow(algorithm.env_runner)
    return record(tasks.play(module), module.latents)


def _at(judged: Any, path: tuple[str, ...]) -> float | None:
    for name in path:
        judged = (judged or {}).get(name)
    return None if judged is None else float(judged)
