"""MAML: weights from which a few gradient steps on a new task's own trajectories lead to a policy.

Finn, Abbeel and Levine 2017, arXiv:1703.03400; ProMP: Rothfuss et al. 2019, arXiv:1810.06784;
E-MAML: Stadie et al. 2018, arXiv:1803.01118; Reptile: Nichol et al. 2018, arXiv:1803.02999.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.algorithm import MetaAlgorithm
from rllib_metarl.algorithms.base.config import PER_STEP_CALLBACKS, MetaConfig
from rllib_metarl.algorithms.base.settings import (
    SWITCH,
    Choice,
    Condition,
    Entry,
    Internal,
    Number,
    Refused,
    Schedule,
    Setting,
    Whole,
    Widths,
    or_null,
)
from rllib_metarl.algorithms.maml.adaptation import Adaptation, adapted_module
from rllib_metarl.algorithms.maml.held_out import AdaptingHeldOut
from rllib_metarl.algorithms.maml.learner import (
    ADAPTING,
    BY_RATE,
    PROMP,
    TRUST_REGION,
    MAMLLearner,
)
from rllib_metarl.algorithms.maml.module import MAMLModule
from rllib_metarl.algorithms.maml.runner import TaskRunner, require_tasks
from rllib_metarl.errors import UserError
from rllib_metarl.models.heads import STD_RANGE
from rllib_metarl.models.mlp import ACTIVATIONS
from rllib_metarl.sampling.held_out import HeldOut

MOST_SHOWN = 5
"""Gradient steps of an evaluation whose returns have a name in the table of metrics."""


def _adapting_by(steps: int) -> Condition | None:
    """When an evaluation takes so many gradient steps."""
    if not steps:
        return None
    return Condition(f"adaptation_steps: {steps}", lambda c: c.adaptation_steps >= steps)


_ROUND = "each iteration plays meta_batch_size tasks, rollouts_per_task times before each step"
_CONNECTORS = "this algorithm's EnvRunners have no connectors"


class MAMLConfig(MetaConfig):
    """Settings of adaptation by gradient; `SETTINGS` says what each is.

    An iteration: `meta_batch_size` tasks; in each, `rollouts_per_task` meta-episodes with the
    meta-learnt weights, an inner step on them, as many with the adapted weights (and so on for
    `inner_steps` steps), and one outer update.
    """

    MODULE = MAMLModule
    LEARNER = MAMLLearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "meta_batch_size": Setting(Whole(2, 100_000), "tasks of an iteration, of all EnvRunners"),
        "rollouts_per_task": Setting(
            Whole(1, 100_000), "meta-episodes of each task before each step, and after the last"
        ),
        "inner_steps": Setting(
            Whole(0, 100),
            "gradient steps that training adapts by. 0: none, one policy is trained on all tasks "
            "(the pretrained baseline), and only evaluations adapt",
        ),
        "inner_lr": Setting(Number(0, 1000), "alpha, the size of these steps"),
        "later_inner_lr": Setting(
            or_null(Number(0, 1000)),
            "size of an evaluation's steps beyond those that training takes (the first excepted); "
            "null: half of inner_lr",
        ),
        "first_order": Setting(
            SWITCH, "leave the second derivatives out of the outer gradient (FOMAML)", ADAPTING
        ),
        "outer_update": Setting(
            Choice("trpo", "promp", "emaml", "reptile", "none"),
            "what moves the meta-learnt weights: a trust region step (MAML), ProMP's clipped "
            "surrogate, a trust region step that also credits what was sampled before adapting "
            "(E-MAML), a step towards the adapted weights (Reptile), or nothing: evaluations then "
            "adapt weights as they are drawn (the baseline from scratch)",
        ),
        "kl_limit": Setting(
            Number(0, 100, above=True), "mean KL of an outer step at most", TRUST_REGION
        ),
        "cg_iterations": Setting(
            Whole(1, 1000), "iterations of the conjugate gradient", TRUST_REGION
        ),
        "cg_damping": Setting(Number(0, 100), "added to the curvature's diagonal", TRUST_REGION),
        "line_search_ratio": Setting(
            Number(0, 1, above=True, below=True),
            "what an outer step is shortened by where it fails",
            TRUST_REGION,
        ),
        "line_search_tries": Setting(
            Whole(1, 1000), "lengths that are tried before a step is left out", TRUST_REGION
        ),
        "curvature_stride": Setting(
            Whole(1, 100_000), "the curvature is taken from every so many-th step", TRUST_REGION
        ),
        "clip_param": Setting(
            Number(0, 1000, above=True), "how far a probability's ratio may move", PROMP
        ),
        "inner_kl_coeff": Setting(
            Number(0, 10**6),
            "weight at the start of the KL from the policy that sampled before adapting",
            PROMP,
        ),
        "inner_kl_target": Setting(
            or_null(Number(0, 100, above=True)),
            "that KL's target, to which the weight is adapted; null: the weight stays",
            PROMP,
        ),
        "adaptation_steps": Setting(
            Whole(0, 100), "gradient steps that an evaluation adapts by in each held-out task"
        ),
        "adaptation_rollouts": Setting(
            or_null(Whole(1, 100_000)),
            "meta-episodes of a task before each of them, and after the last; null: "
            "rollouts_per_task",
        ),
        "policy_hidden": Setting(Widths(), "layers of the policy", network=True),
        "policy_activation": Setting(
            Choice(*sorted(ACTIVATIONS)), "their activation", network=True
        ),
        "policy_init_std": Setting(
            Number(*STD_RANGE),
            "standard deviation that a Gaussian policy starts from, the same for all observations",
            network=True,
        ),
    }
    RLLIB_SETTINGS: ClassVar[dict[str, Entry]] = {
        "lambda_": Setting(Number(0, 1), "of generalised advantage estimation"),
        "lr": Setting(
            Schedule(Number(0, 1000)), "Adam's learning rate, or Reptile's step", BY_RATE
        ),
        "num_epochs": Setting(Whole(1, 10_000), "outer steps on a batch", PROMP),
        "grad_clip": Setting(
            or_null(Number(0, 10**9)), "gradient norm at most; 0 or null: no limit", PROMP
        ),
        "num_envs_per_env_runner": Refused(f"{_ROUND}, each in a sub-env of its own"),
        "_train_batch_size_per_learner": Refused(_ROUND),
        "rollout_fragment_length": Internal("RLlib sets it where it evaluates; see `validate`"),
        "minibatch_size": Refused("an outer step is made on a whole batch"),
        "env_runner_cls": Refused("adapted weights need this algorithm's own EnvRunner"),
        "_env_to_module_connector": Refused(_CONNECTORS),
        "_module_to_env_connector": Refused(_CONNECTORS),
    }

    ADAPTS: ClassVar[bool] = True
    ACTS_BY: ClassVar[tuple[str, ...]] = ("gamma", "lambda")

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or MAML)
        self.env_runner_cls = TaskRunner
        self.train_batch_size_per_learner = 1  # one round is enough for any batch
        self.num_envs_per_env_runner = 1
        self.meta_batch_size = 20
        self.rollouts_per_task = 20
        self.inner_steps = 1
        self.inner_lr = 0.1
        self.later_inner_lr: float | None = None
        self.first_order = False
        self.outer_update = "trpo"
        self.kl_limit = 0.01
        self.cg_iterations = 10
        self.cg_damping = 1e-5
        self.line_search_ratio = 0.8
        self.line_search_tries = 15
        self.curvature_stride = 5
        self.clip_param = 0.3
        self.inner_kl_coeff = 5e-4
        self.inner_kl_target: float | None = 0.01
        self.num_epochs = 5
        self.lr = 1e-3
        self.gamma = 0.99
        self.lambda_ = 1.0
        self.adaptation_steps = 1
        self.adaptation_rollouts: int | None = None
        self.held_out_episodes = 40
        self.policy_hidden = [100, 100]
        self.policy_activation = "relu"
        self.policy_init_std = 1.0

    @override(MetaConfig)
    def training(self, *, lambda_: float = NotProvided, **given: Any) -> MAMLConfig:  # type: ignore[assignment]
        super().training(**given)
        if lambda_ is not NotProvided:
            self.lambda_ = lambda_
        return self

    @override(MetaConfig)
    def validate(self) -> None:
        super().validate()
        if self.rollout_fragment_length != "auto" and not self.in_evaluation:
            raise UserError(f"rollout_fragment_length is set, but {_ROUND}: leave it out.")
        if self.num_env_runners > self.meta_batch_size:
            raise UserError(
                f"num_env_runners is {self.num_env_runners}, but an iteration has "
                f"{self.meta_batch_size} tasks, each played by one EnvRunner: lower "
                "num_env_runners, or raise meta_batch_size."
            )
        if self.outer_update in ("reptile", "emaml") and not self.inner_steps:
            raise UserError(
                f"outer_update is {self.outer_update}, which is about what adapting does, but "
                "inner_steps is 0: take 1 or more, or outer_update: trpo."
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
    def meta_episodes_of_batch(self) -> int:
        return self.meta_batch_size * self.rollouts_per_task * (self.inner_steps + 1)

    def adaptation(self) -> Adaptation:
        """How evaluations adapt."""
        return Adaptation.of(self)

    @override(MetaConfig)
    def adapted(self, module: Any, played: list[Any], step: int) -> Any:
        found = adapted_module(module, played, self.adaptation(), step)
        if found is None:
            raise UserError(
                "adapt: the gradient of these trajectories is NaN or infinite: their rewards or "
                "observations are too large."
            )
        return found

    @override(MetaConfig)
    def held_out(self, episodes: int, seed: int, *bounds: Any) -> HeldOut:
        arguments = (self.env, self.held_out_arguments(), episodes, seed, *bounds)
        return AdaptingHeldOut(*arguments, adaptation=self.adaptation())


class MAML(MetaAlgorithm):
    """Adaptation by gradient on RLlib."""

    CONFIG = MAMLConfig
    METRICS: ClassVar[dict[str, Condition | None]] = {
        f"evaluation/return_after_{steps}": _adapting_by(steps) for steps in range(MOST_SHOWN + 1)
    }
