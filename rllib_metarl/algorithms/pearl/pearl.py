"""PEARL: soft actor-critic on a sample of a task's posterior (Rakelly et al. 2019, 1903.08254)."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.algorithm import MetaAlgorithm
from rllib_metarl.algorithms.base.config import PER_STEP_CALLBACKS, MetaConfig
from rllib_metarl.algorithms.base.settings import (
    SWITCH,
    Choice,
    Condition,
    Either,
    Entry,
    Number,
    Refused,
    Setting,
    Whole,
    Widths,
    or_null,
)
from rllib_metarl.algorithms.pearl.learner import AUTO, PEARLLearner
from rllib_metarl.algorithms.pearl.module import PEARLModule
from rllib_metarl.algorithms.pearl.runner import TaskSetRunner, require_tasks
from rllib_metarl.errors import UserError
from rllib_metarl.models.mlp import ACTIVATIONS
from rllib_metarl.sampling.held_out import HeldOut, inner_returns

_CONNECTORS = "this algorithm's EnvRunners have no connectors"
_REPLAYED = "updates are on meta_batch_size tasks x task_batch_size transitions of the replay"


class PEARLConfig(MetaConfig):
    """Settings of PEARL; `SETTINGS` says what each is.

    An iteration: each sub-env plays meta-episodes of a training task, until there are
    `train_batch_size_per_learner` env steps; then `updates` updates from the replay of all tasks.
    """

    MODULE = PEARLModule
    LEARNER = PEARLLearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "train_tasks": Setting(Whole(1, 10**6), "tasks of training, drawn once by the seed"),
        "updates": Setting(Whole(0, 10**6), "updates of an iteration"),
        "warmup_steps": Setting(Whole(0, 10**12), "env steps before the first update"),
        "meta_batch_size": Setting(Whole(1, 100_000), "tasks of an update"),
        "task_batch_size": Setting(
            Whole(1, 10**6), "transitions of each, that critics and policy learn from"
        ),
        "context_size": Setting(
            Whole(1, 10**6), "recent transitions of each, that the encoder infers it from"
        ),
        "replay_capacity": Setting(Whole(1, 10**9), "transitions of each task that are kept"),
        "context_capacity": Setting(
            Whole(1, 10**9), "recent transitions of each task that the encoder draws from"
        ),
        "context_from": Setting(
            Choice("prior", "all"),
            "which transitions these are: those that acted on a z from the prior, or all of the "
            "newest meta-episodes",
        ),
        "latent_size": Setting(Whole(1, 4096), "width of z", network=True),
        "kl_weight": Setting(
            Number(0, 10**6), "weight of the posterior's KL from N(0, I), a sum over tasks"
        ),
        "context_next_observation": Setting(
            SWITCH,
            "the encoder sees the observation after each transition, too: where tasks differ in "
            "their dynamics",
            network=True,
        ),
        "prior_draws": Setting(
            Whole(1, 10**6),
            "how many of the z of a meta-episode are drawn from the prior; later ones from the "
            "posterior",
            network=True,
        ),
        "resample_steps": Setting(
            or_null(Whole(1, 10**9)),
            "z is drawn anew after so many steps of a meta-episode, too; null: at the start of "
            "inner episodes alone",
            network=True,
        ),
        "reward_scale": Setting(Number(0, 10**6, above=True), "what rewards are multiplied by"),
        "temperature": Setting(
            Either(Number(0, 10**6, above=True), Choice("auto")),
            "weight of the policy's entropy; auto: learnt, so that the entropy is target_entropy",
        ),
        "target_entropy": Setting(
            or_null(Number(-(10**6), 10**6)),
            "in nats; null: minus the numbers of an action, and 0.3 of the largest of categories",
            AUTO,
        ),
        "critic_target": Setting(
            Choice("value", "critics"),
            "what bootstraps the critics: the target network of a value network (SAC of 2018, as "
            "in the paper), or those of both critics (SAC of today)",
            network=True,
        ),
        "tau": Setting(
            Number(0, 1, above=True), "how far target networks come nearer at each update"
        ),
        "policy_penalty": Setting(
            Number(0, 10**6), "weight of the squares of the policy's means and log deviations"
        ),
        "encoder_layers": Setting(Widths(1), "layers of the encoder", network=True),
        "policy_hidden": Setting(Widths(1), "layers of the policy", network=True),
        "critic_hidden": Setting(Widths(1), "layers of critics and value network", network=True),
        "policy_activation": Setting(
            Choice(*sorted(ACTIVATIONS)), "activation of all networks", network=True
        ),
    }
    RLLIB_SETTINGS: ClassVar[dict[str, Entry]] = {
        "num_epochs": Refused(_REPLAYED),
        "minibatch_size": Refused(_REPLAYED),
        "env_runner_cls": Refused("a replay by task needs this algorithm's own EnvRunner"),
        "_env_to_module_connector": Refused(_CONNECTORS),
        "_module_to_env_connector": Refused(_CONNECTORS),
    }

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or PEARL)
        self.env_runner_cls = TaskSetRunner
        self.num_envs_per_env_runner = 5
        self.train_batch_size_per_learner = 5000
        self.train_tasks = 100
        self.updates = 2000
        self.warmup_steps = 0
        self.meta_batch_size = 16
        self.task_batch_size = 256
        self.context_size = 64
        self.replay_capacity = 100_000
        self.context_capacity = 2_000
        self.context_from = "prior"
        self.latent_size = 5
        self.kl_weight = 0.1
        self.context_next_observation = False
        self.prior_draws = 1
        self.resample_steps: int | None = None
        self.reward_scale = 5.0
        self.temperature: float | str = 1.0
        self.target_entropy: float | None = None
        self.critic_target = "value"
        self.tau = 0.005
        self.policy_penalty = 1e-3
        self.encoder_layers = [200, 200, 200]
        self.policy_hidden = [300, 300, 300]
        self.critic_hidden = [300, 300, 300]
        self.policy_activation = "relu"
        self.lr = 3e-4
        self.gamma = 0.99

    @override(MetaConfig)
    def validate(self) -> None:
        super().validate()
        if self.num_learners > 1:
            raise UserError(
                f"num_learners is {self.num_learners}, but this algorithm's replay is in one "
                "learner: use 0 or 1."
            )
        for name in PER_STEP_CALLBACKS:
            if self._has_callback(name):
                raise UserError(
                    f"{name} is set, which no EnvRunner of this algorithm calls: use on_sample_end."
                )

    @override(MetaConfig)
    def check_env(self, env: Any) -> None:
        require_tasks(env)

    @override(MetaConfig)
    def held_out(self, episodes: int, seed: int, *bounds: Any) -> HeldOut:
        return WalksHeldOut(self.env, self.held_out_arguments(), episodes, seed, *bounds)


class WalksHeldOut(HeldOut):
    """As `HeldOut`; the summary also says what the first and the last inner episode are worth."""

    def summary(self, played: list[Any]) -> dict[str, Any]:
        """As `HeldOut.summary`, with ``first_inner_return`` and ``last_inner_return``."""
        walks = inner_returns(played)
        if not walks:
            return super().summary(played)
        ends = {"first_inner_return": walks["inner_return_1"]}
        return super().summary(played) | ends | {"last_inner_return": walks["last_inner_return"]}


class PEARL(MetaAlgorithm):
    """Off-policy meta-RL with a latent task on RLlib."""

    CONFIG = PEARLConfig
    METRICS: ClassVar[dict[str, Condition | None]] = dict.fromkeys(
        ("evaluation/first_inner_return", "evaluation/last_inner_return"),
        Condition("inner episodes", lambda config: config.resample_steps is None),
    )
