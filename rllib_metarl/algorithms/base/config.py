"""Settings that all algorithms share, whatever RLlib config they are based on."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.env_to_module import AddObservationsFromEpisodesToBatch
from ray.rllib.connectors.module_to_env import NormalizeAndClipActions
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import LEARNER_RESULTS

from rllib_metarl.algorithms.base import settings
from rllib_metarl.algorithms.base.exported import named_class
from rllib_metarl.algorithms.base.rllib_settings import COMMON, MOST
from rllib_metarl.algorithms.base.settings import (
    Condition,
    Entry,
    Setting,
    Whole,
    check_conditions,
    check_settings,
    gathered,
    network_settings,
    own_settings,
)
from rllib_metarl.errors import UserError
from rllib_metarl.learning.group import BeliefLearnerGroup
from rllib_metarl.sampling.connectors import (
    ActionsToEnv,
    AddPreviousTransition,
    FlatObservations,
)
from rllib_metarl.sampling.held_out import HeldOut
from rllib_metarl.sampling.patience import MAX_STEPS
from rllib_metarl.sampling.runner import MetaEpisodeRunner
from rllib_metarl.sampling.stepwise import StepwiseRunner

PER_STEP_CALLBACKS = (
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_episode_end",
)


class MetaConfig(AlgorithmConfig):
    """What every algorithm on meta-episodes takes: held-out tasks, faults, which EnvRunner.

    A mixin: it comes before the RLlib config whose settings are used, as in
    ``class BeliefConfig(MetaConfig, PPOConfig)``.

    Attributes:
        MODULE, LEARNER: the classes of RLModule and Learner.
    """

    MODULE: ClassVar[Any]
    LEARNER: ClassVar[Any]
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "held_out_seed": Setting(
            Whole(0, 2**63 - 1),
            "seed of the tasks that evaluations run on; the same tasks each time",
        ),
        "held_out_episodes": Setting(
            Whole(1, 100_000), "held-out meta-episodes per evaluation during training"
        ),
        "held_out_env_config": Setting(
            settings.BLOCK,
            "env arguments that overrule env_config on the held-out tasks, so that these are of "
            "other classes or ranges than those of training, not only of other seeds",
        ),
        "evaluate_every_steps": Setting(
            Whole(0, 10**15), "env steps between evaluations; 0 for none"
        ),
        "max_skipped_updates": Setting(
            Whole(1, MOST),
            "gradient steps in a row that are left out because their loss or gradient is NaN or "
            "infinite, before training stops",
        ),
        "max_env_faults": Setting(
            Whole(0, MOST),
            "times in a row that an env raises, hangs or returns nonsense, with no meta-episode "
            "ending well between, before training stops; until then a new env takes its place. "
            "With 0 an env's exception ends training at once, with its own traceback",
        ),
        "max_meta_episode_steps": Setting(
            Whole(1, 10**9),
            "steps after which a meta-episode that has not ended stops training: all of them are "
            "kept until its end, and an env without one would fill the memory",
        ),
    }
    RLLIB_SETTINGS: ClassVar[dict[str, Entry]] = COMMON
    ADAPTS: ClassVar[bool] = False
    """Whether trained agents adapt by gradient."""
    ACTS_BY: ClassVar[tuple[str, ...]] = ()
    """RLlib's settings that a trained agent needs, as `to_dict` names them."""

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=named_class(algo_class))
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 64
        self.rollout_fragment_length = "auto"
        self.train_batch_size_per_learner = 3840
        self.held_out_seed = 0
        self.held_out_episodes = 128
        self.held_out_env_config: dict[str, Any] = {}
        self.evaluate_every_steps = 500_000
        self.max_skipped_updates = 20
        self.max_env_faults = 20
        self.max_meta_episode_steps = MAX_STEPS
        self.env_runner_cls = MetaEpisodeRunner
        # RLlib's minute is long to wait for the message of an env that fails.
        self.delay_between_env_runner_restarts_s = 2.0
        # While no EnvRunner is up, RLlib would count empty iterations.
        self.min_sample_timesteps_per_iteration = 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Settings that the version which stored this did not have take their defaults."""
        self.__dict__.update(vars(type(self)()) | state)

    @override(AlgorithmConfig)
    def training(self, **given: Any) -> MetaConfig:
        """Sets own settings by name and hands the others to RLlib.

        Raises:
            UserError: for a name that neither knows.
        """
        own = own_settings(type(self))
        for name in list(given):
            if name in own:
                value = given.pop(name)
                if value is not NotProvided:
                    setattr(self, name, value)
        try:
            super().training(**given)
        except TypeError as error:
            raise UserError(f"training(): {error}") from None
        return self

    def module_class(self) -> Any:
        """Hook: the RLModule class, where settings choose it."""
        return self.MODULE

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=self.module_class())

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> Any:
        return self.LEARNER

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | network_settings(self)

    @override(AlgorithmConfig)
    def build_learner_group(
        self,
        *,
        env: Any = None,
        spaces: Any = None,
        rl_module_spec: Any = None,
        placement_group: Any = None,
    ) -> BeliefLearnerGroup:
        """The learners, who all get whole meta-episodes."""
        return BeliefLearnerGroup(
            config=self.copy(),
            module_spec=rl_module_spec or self.get_multi_rl_module_spec(env=env, spaces=spaces),
            placement_group=placement_group,
        )

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks what RLlib lets pass.

        Raises:
            UserError: one message that names the setting, its value and the fix.
        """
        if self._validate_config:
            check_settings(self)
        self.validate_batches()
        super().validate()
        self._choose_runner()
        if self._validate_config:
            check_conditions(self)

    def validate_batches(self) -> None:
        """Hook: checks batch sizes, before RLlib looks at them.

        Raises:
            UserError: if they do not fit together.
        """
        if self.batch_mode != "truncate_episodes" and not self.in_evaluation:
            raise UserError(
                f"batch_mode is {self.batch_mode!r}: leave it at truncate_episodes. This project's "
                "runner returns whole meta-episodes in any case; RLlib's complete_episodes would "
                "also re-seed the envs at every sample."
            )

    @override(AlgorithmConfig)
    def _value_error(self, errmsg: str) -> None:
        """How RLlib refuses a config."""
        if self._validate_config:
            raise UserError(" ".join(errmsg.split()))

    def needed_labels(self) -> dict[str, str]:
        """Labels that the losses need in the env's info, each with what to do without it."""
        return {}

    def check_env(self, env: Any) -> None:
        """Hook: makes sure that a vector env has what this algorithm needs of it beside labels.

        Raises:
            UserError: it has not.
        """

    def meta_episodes_of_batch(self) -> int | None:
        """Hook: how many meta-episodes a batch always has; None where it ends by env steps."""
        return None

    def held_out_arguments(self) -> dict[str, Any]:
        """The env's arguments on the held-out tasks."""
        return dict(self.env_config or {}) | dict(self.held_out_env_config)

    def adapted(self, module: Any, played: list[Any], step: int) -> Any:
        """Hook, where `ADAPTS`: what acts after a gradient step on meta-episodes of one task.

        Args:
            module: has acted in them. played: `MetaEpisodeData`s. step: how many steps before.

        Raises:
            UserError: nothing can be learnt of them.
        """
        raise NotImplementedError

    def held_out(self, episodes: int, seed: int, *bounds: Any) -> HeldOut:
        """Hook: what plays held-out meta-episodes, where no connectors are in between.

        Args:
            episodes: how many. seed: chooses the tasks. bounds: as `HeldOut` takes them.
        """
        return HeldOut(self.env, self.held_out_arguments(), episodes, seed, *bounds)

    def declared_metrics(self) -> dict[str, Condition | None]:
        """Result key of each metric that algorithm and learner declare, and when it is reported."""
        of_learner = gathered(self.learner_class, "METRICS")
        own = {f"{LEARNER_RESULTS}/{DEFAULT_MODULE_ID}/{key}": of for key, of in of_learner.items()}
        return own | gathered(self.algo_class, "METRICS")

    def termination_head(self) -> float | None:
        """The probability above which a trained head says that a session ended; None: no head."""
        return None

    # --- which runner ---------------------------------------------------------------------------

    def notes(self) -> list[str]:
        """What to tell a user about how these settings will run, a sentence or two each."""
        cause = self.stepwise_cause()
        if cause is None:
            return []
        return [
            f"{cause} is set: envs are stepped by RLlib's own EnvRunner, which runs it and is "
            "slower by an order of magnitude than this project's. Without it, or with "
            "on_sample_end instead of per-step callbacks, the fast one is used."
        ]

    def stepwise_cause(self) -> str | None:
        """The first setting that needs Python at every env step, where the runner was left open."""
        if self.env_runner_cls not in (MetaEpisodeRunner, StepwiseRunner):
            return None
        callbacks = [name for name in PER_STEP_CALLBACKS if self._has_callback(name)]
        return next(iter(self._connectors() + callbacks), None)

    def acts_through_connectors(self) -> bool:
        """Whether the policy sees or does something else than env and module say."""
        runner: Any = self.env_runner_cls
        fast = issubclass(runner or object, MetaEpisodeRunner)
        return not fast and bool(self._connectors())

    def _connectors(self) -> list[str]:
        """The settings through which the user has given connectors."""
        names = ("env_to_module_connector", "module_to_env_connector")
        return [name for name in names if getattr(self, f"_{name}", None) is not None]

    def _choose_runner(self) -> None:
        """The vectorised runner has no per-step Python: what needs it gets RLlib's own."""
        if self.env_runner_cls not in (MetaEpisodeRunner, StepwiseRunner):
            return
        cause = self.stepwise_cause()
        chosen = StepwiseRunner if cause else MetaEpisodeRunner
        if self.env_runner_cls is not chosen:  # a config that Ray has frozen is not assigned to
            self.env_runner_cls = chosen
        mode = gym.VectorizeMode(self.gym_env_vectorize_mode)
        if cause and mode is gym.VectorizeMode.VECTOR_ENTRY_POINT:
            raise UserError(
                f"{cause} is set, and gym_env_vectorize_mode is {mode.value}: RLlib's own "
                "EnvRunner, which it needs, would cut the meta-episodes of this project's vector "
                "envs wrongly. Use gym_env_vectorize_mode: sync (or async)."
            )

    def _has_callback(self, name: str) -> bool:
        classes = self.callbacks_class
        classes = classes if isinstance(classes, (list, tuple)) else [classes]
        base = getattr(RLlibCallback, name)
        overridden = any(getattr(cls, name, base) is not base for cls in classes)
        return overridden or getattr(self, f"callbacks_{name}", None) is not None

    @override(AlgorithmConfig)
    def build_env_to_module_connector(
        self, env: Any = None, spaces: Any = None, device: Any = None
    ) -> Any:
        """RLlib's pipeline, with what the module needs behind the user's own connectors."""
        pipeline = super().build_env_to_module_connector(env=env, spaces=spaces, device=device)
        fast = self.env_runner_cls is MetaEpisodeRunner
        if not fast and self.add_default_connectors_to_env_to_module_pipeline:
            pipeline.insert_before(AddObservationsFromEpisodesToBatch, AddPreviousTransition())
            pipeline.insert_after(AddObservationsFromEpisodesToBatch, FlatObservations())
        return pipeline

    @override(AlgorithmConfig)
    def build_module_to_env_connector(self, env: Any = None, spaces: Any = None) -> Any:
        """RLlib's pipeline, where the module's own codec gives actions the form of the env."""
        pipeline = super().build_module_to_env_connector(env=env, spaces=spaces)
        if self.add_default_connectors_to_module_to_env_pipeline:
            pipeline.insert_after(NormalizeAndClipActions, ActionsToEnv())
            pipeline.remove(NormalizeAndClipActions)
        return pipeline
