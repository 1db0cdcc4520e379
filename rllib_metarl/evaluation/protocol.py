"""Zero-shot evaluation of a checkpoint on held-out tasks: its return, and what its belief is worth.

`docs/evaluation.md` defines every number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rllib_metarl.checkpoint import Checkpoint
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.knowledge import measures_of, variants_of
from rllib_metarl.sampling.held_out import inner_returns

MOST_SCORED = 1024
"""Meta-episodes that the belief is judged on at most; the return is a mean over all."""
MOST_SET_ASIDE_STEPS = 250_000
SET_ASIDE = 2**32
"""Added to the seed of held-out tasks: other tasks, for what has to be fitted."""
SHOWN = 6
"""Meta-episodes that are kept to be looked at where weights adapt."""
STAGES = 6
"""The number of reported stages of an evaluation that do not play."""

Progress = Callable[[str, float], None]
"""Called with what is being done and with the share of the work that is done."""


def evaluate_checkpoint(
    checkpoint: str | Path | Checkpoint,
    episodes: int = 512,
    seed: int | None = None,
    env_config: dict[str, Any] | None = None,
    *,
    quick: bool = False,
    variants: dict[str, dict[str, Any]] | None = None,
    progress: Progress = lambda stage, share: None,
) -> dict[str, Any]:
    """Plays a checkpoint's policy on held-out tasks and says how well it did, and what it believed.

    Args:
        checkpoint: of one of this project's algorithms; its folder, or opened.
        episodes: held-out meta-episodes.
        seed: chooses the held-out tasks; the run's own `held_out_seed` where None.
        env_config: arguments of the env that overrule those it was trained with.
        quick: play and measure the return, nothing else; greedily, where nothing adapts.
        variants: name -> env arguments of worlds that the agent was not trained on; where None,
            those that the env names itself (see `knowledge`).
        progress: called with the progress.

    Returns:
        ``run``, ``env``, ``return_mean``, ``return_std`` (over meta-episodes), ``normalised_score``
        and ``references`` (None where the env has none), ``episodes``, ``env_steps``, returns of
        inner episodes (see `inner_returns`), the env's own measures, ``env_config``,
        ``held_out_seed``, ``checkpoint``; and, unless quick, ``protocol``, ``belief``,
        ``calibration``, ``uncertainty``, ``termination``,
        ``absent`` and ``meta_episodes`` (see `assessment.assess`). Plain numbers, None for nan.

    Raises:
        UserError: if there is no such checkpoint, it is damaged or of another algorithm or version,
            or its env is not registered.
    """
    if episodes < 1:
        raise UserError(f"episodes is {episodes}: evaluate at least 1 meta-episode.")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint.open(checkpoint)
    config, actor = checkpoint.config, _actor_of(checkpoint)
    seed = (config.get("held_out_seed") or 0) if seed is None else seed
    config |= {"env_config": _arguments(config, env_config), "held_out_env_config": {}}
    work = _Work(progress, checkpoint, config, actor, seed)
    held_out = _held_out(checkpoint, config, episodes, seed)
    try:
        if not quick and not held_out.adapts:
            variants = variants_of(held_out.env) if variants is None else variants
            work.expect(episodes, len(variants), _fitted_on(episodes))
        played = work.play(held_out, "held-out tasks")
        result = held_out.summary(played)
        about = {"run": checkpoint.name, "env": config["env"], "env_config": config["env_config"]}
        measured = inner_returns(played) | measures_of(held_out.env, played)
        source = {"held_out_seed": seed, "checkpoint": str(checkpoint.path)}
        judged = {} if quick else _more(work, held_out, played, result, variants or {})
    finally:
        held_out.close()
    evaluation: dict[str, Any] = plain(about | result | measured | source | judged)
    return evaluation


def _arguments(config: dict[str, Any], given: dict[str, Any] | None) -> dict[str, Any]:
    """The env's arguments: those of training, of its held-out tasks, and those given here."""
    trained, unseen = (config.get(key) or {} for key in ("env_config", "held_out_env_config"))
    return {**trained, **unseen, **(given or {})}


class _Work:
    """The plays of one evaluation, and how much of them is done."""

    def __init__(
        self,
        progress: Progress,
        checkpoint: Checkpoint,
        config: dict[str, Any],
        actor: Any,
        seed: int,
    ) -> None:
        self.progress, self.checkpoint, self.config = progress, checkpoint, config
        self.actor, self.seed = actor, seed
        self.total, self.done, self.stage = 1, 0, 1

    @property
    def module(self) -> Any:
        """The agent's RLModule."""
        from rllib_metarl.sampling.acting import Actor

        return self.actor.module if isinstance(self.actor, Actor) else self.actor

    def expect(self, episodes: int, variants: int, set_aside: int) -> None:
        """All work there will be, in meta-episodes; a stage without play counts as one play."""
        scored = min(episodes, MOST_SCORED)
        self.stage = scored
        self.total = 2 * episodes + set_aside + (variants + STAGES) * scored

    def play(self, held_out: Any, what: str, *, explore: bool = False) -> list[Any]:
        """Plays and tells of it."""

        def tell(played: int) -> None:
            self.progress(f"playing: {what}", min((self.done + played) / self.total, 1.0))

        tell(0)
        played: list[Any] = held_out.play(self.actor, explore=explore, progress=tell)
        self.done += len(played)
        return played

    def play_anew(
        self, what: str, episodes: int, *, seed: int = 0, explore: bool = False, **env_config: Any
    ) -> list[Any]:
        """Plays tasks of other seeds, or of a world with other arguments."""
        config = dict(self.config)
        config["env_config"] = self.config["env_config"] | env_config
        held_out = _held_out(self.checkpoint, config, episodes, self.seed + seed)
        try:
            return self.play(held_out, what, explore=explore)
        finally:
            held_out.close()

    def tell(self, stage: str) -> None:
        """Tells of a stage that does not play."""
        self.progress(stage, min(self.done / self.total, 1.0))
        self.done += self.stage


def _more(
    work: _Work,
    held_out: Any,
    played: list[Any],
    result: dict[str, Any],
    variants: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """What to report beside returns: of the belief or, where weights adapt, of some plays."""
    if not held_out.adapts:
        return _assess(work, held_out.env, played, result, variants)
    from rllib_metarl.evaluation.frames import meta_episodes
    from rllib_metarl.recording import record

    why = "the agent has no belief: it adapts its weights"
    shown = record(held_out.shown(played)[:SHOWN])
    return {"absent": {"belief": why}, "meta_episodes": meta_episodes(shown, held_out.env)}


def _assess(
    work: _Work,
    env: Any,
    played: list[Any],
    result: dict[str, Any],
    variants: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    from rllib_metarl.evaluation.belief.assessment import Plays, assess
    from rllib_metarl.recording import record

    module, config = work.module, work.config
    latents, count = module.latents, min(len(played), MOST_SCORED)
    steps = max(map(len, played))
    aside = min(_fitted_on(len(played)), max(MOST_SET_ASIDE_STEPS // steps, 64))
    plays = Plays(
        record(played[:count], latents),
        record(work.play_anew("tasks set aside", aside, seed=SET_ASIDE), latents),
        record(work.play_anew("stochastic policy", len(played), explore=True), latents),
        {
            name: record(work.play_anew(name, count, **arguments), latents)
            for name, arguments in variants.items()
        },
    )
    agent = agent_of(module, _settings(work.checkpoint, config))
    full = assess(plays, agent, env, work.tell)
    references = result["references"] or {}
    best = references.get("bayes")
    if best is None:
        full["absent"]["protocol.regret_to_bayes"] = "the env knows no Bayes-optimal return"
    full["protocol"]["regret_to_bayes"] = None if best is None else best - result["return_mean"]
    full["protocol"]["return_standard_error"] = (
        result["return_std"] / max(len(played) - 1, 1) ** 0.5
    )
    for row in full["protocol"]["return_by_variant"]:
        row["env_config"] = variants[row["variant"]]
    return full


def agent_of(module: Any, settings: Any) -> Any:
    """What the assessment has to know of a belief agent, an `assessment.AssessedAgent`.

    Args:
        module: its RLModule; what only the learner has may be missing.
        settings: its algorithm's config.
    """
    from rllib_metarl.evaluation.belief.assessment import AssessedAgent
    from rllib_metarl.evaluation.belief.claims import claims_of

    why = None
    if module.belief_size == 0:
        why = "the agent has no belief: it acts on the present observation alone"
    elif module.needs_privileged == "context":
        why = "the agent is given the context, so that there is nothing to believe"
    return AssessedAgent(
        claims=lambda recording: claims_of(module, settings, recording),
        threshold=settings.termination_head(),
        no_belief=why,
        no_variants=_given(module),
        altered="the agent acts through connectors" if settings.acts_through_connectors() else None,
    )


def _given(module: Any) -> str | None:
    """Why an agent that is given a label cannot be judged in a world unlike that of training."""
    if not module.needs_privileged:
        return None
    return f"the agent is given the {module.needs_privileged} by an env that knows what it is"


def _fitted_on(episodes: int) -> int:
    """Tasks that are set aside for what has to be fitted: twice as many as are scored."""
    return 2 * min(episodes, MOST_SCORED)


def plain(value: Any) -> Any:
    """Numbers, strings, lists and dicts only; None in place of nan and infinity."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _actor_of(checkpoint: Checkpoint) -> Any:
    """The agent that can be taken away; the bare module where connectors of an EnvRunner act."""
    if checkpoint.is_rllibs or checkpoint.settings.acts_through_connectors():
        return checkpoint.module()
    return checkpoint.agent()


def _settings(checkpoint: Checkpoint, config: dict[str, Any]) -> Any:
    """The algorithm's config object, for a config that may have been changed."""
    return checkpoint.algorithm.get_default_config().update_from_dict(config)


def _held_out(checkpoint: Checkpoint, config: dict[str, Any], episodes: int, seed: int) -> Any:
    import gymnasium as gym

    from rllib_metarl.sampling.stepwise import StepwiseHeldOut

    settings = _settings(checkpoint, config)
    try:
        if settings.acts_through_connectors():
            held_out = StepwiseHeldOut(settings, episodes, seed)
            checkpoint.require_trust()
            held_out.runner.restore_from_path(str((checkpoint.path / "env_runner").resolve()))
            return held_out
        return settings.held_out(episodes, seed)
    except UserError:
        raise
    except Exception as error:  # an env is anybody's code
        absent = isinstance(error, (gym.error.Error, ModuleNotFoundError))
        fix = (
            "import the module that registers it, e.g. with --plugin"
            if absent
            else ("give it other arguments, or fix it")
        )
        raise UserError(
            f"env {config['env']} cannot be made ({type(error).__name__}: {error}): {fix}."
        ) from error
