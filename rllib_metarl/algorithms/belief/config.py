"""Settings shared by all belief-based agents; flat attributes, so that Tune can search them."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.env_to_module import AddObservationsFromEpisodesToBatch
from ray.rllib.connectors.module_to_env import NormalizeAndClipActions
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms import settings
from rllib_metarl.algorithms.rllib_settings import COMMON, MOST, PPO
from rllib_metarl.algorithms.settings import (
    SWITCH,
    Choice,
    Entry,
    Number,
    Setting,
    Whole,
    Widths,
    check_conditions,
    check_settings,
    network_settings,
    own_settings,
)
from rllib_metarl.errors import UserError
from rllib_metarl.learning.group import BeliefLearnerGroup
from rllib_metarl.models.mlp import ACTIVATIONS
from rllib_metarl.sampling.connectors import (
    ActionsToEnv,
    AddPreviousTransition,
    FlatObservations,
)
from rllib_metarl.sampling.patience import MAX_STEPS
from rllib_metarl.sampling.runner import MetaEpisodeRunner
from rllib_metarl.sampling.stepwise import StepwiseRunner

# A constant, or a schedule [[env steps, value], ...] that is interpolated linearly.
Schedule = float | list[list[float]]

PER_STEP_CALLBACKS = (
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_episode_end",
)

# A Gaussian policy's standard deviation is kept here: the entropy bonus alone would push it on.
STD_RANGE = (0.007, 7.0)

# Metrics that only asynchronous actors have.
SYNCHRONOUS = {"asynchrony/*": "this algorithm's actors wait for each other; run LSTMA3C"}


class BeliefConfig(PPOConfig):
    """PPO on observation and belief; `SETTINGS` says what each setting of its own is."""

    SETTINGS: ClassVar[dict[str, Setting]] = {
        "latent_size": Setting(
            Whole(1, 4096), "dimension L of the context's posterior", network=True
        ),
        "encoder_embedding": Setting(
            Widths(), "widths of the layers between (a, r, o) and the GRU", network=True
        ),
        "encoder_hidden": Setting(Whole(1, 8192), "width of the GRU", network=True),
        "policy_hidden": Setting(
            Widths(), "layers of the policy and of the value network", network=True
        ),
        "policy_activation": Setting(
            Choice(*sorted(ACTIVATIONS)), "their activation", network=True
        ),
        "belief_conditioning": Setting(
            Choice("film", "concat"), "how the belief enters those networks", network=True
        ),
        "belief_embedding": Setting(
            Whole(1, 4096), "width of the layer through which film reads the belief", network=True
        ),
        "policy_init_std": Setting(
            Number(*STD_RANGE),
            "standard deviation that a Gaussian policy starts from. Envs clip actions to +-1, so "
            "that of 1 a third are at the limits: 0.37 learns locomotion much sooner",
            network=True,
        ),
        "policy_min_std": Setting(
            settings.Schedule(Number(0, STD_RANGE[1], below=True)),
            "what is added to the standard deviation that the Gaussian policy learns, so that it "
            "stays above: it goes on exploring where it would settle early",
            network=True,
        ),
        "policy_max_std": Setting(
            Number(*STD_RANGE),
            "what the standard deviation that it learns stays below. Actions are clipped to +-1, "
            "so that an entropy bonus can push it until the mean hardly says anything",
            network=True,
        ),
        "reward_input_scale": Setting(
            Number(1e-6, 1e6),
            "what rewards are multiplied by as inputs of the encoder, and decoders' outputs "
            "divided by. Where rewards differ by 0.05 only, 10 brings them to a size that "
            "networks are quick to see",
            network=True,
        ),
        "standardise_advantages": Setting(
            SWITCH,
            "over the steps of each batch; else they are only brought into the units of the "
            "critic, divided by the returns' running standard deviation",
        ),
        "policy_gradient_to_encoder": Setting(
            SWITCH, "train the encoder with the gradient of policy and value too", network=True
        ),
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
    RLLIB_SETTINGS: ClassVar[dict[str, Entry]] = COMMON | PPO
    RETIRED: ClassVar[dict[str, Any]] = {"prior_conditioning": False, "termination_threshold": 0.5}

    lr: Schedule
    entropy_coeff: Schedule
    policy_min_std: Schedule

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class)
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 64
        self.rollout_fragment_length = "auto"
        self.train_batch_size_per_learner = 3840
        self.minibatch_size = 480
        self.num_epochs = 4
        self.gamma = 0.95
        self.lambda_ = 0.95
        self.lr = 1e-3
        self.clip_param = 0.2
        self.entropy_coeff = 0.01
        self.vf_loss_coeff = 1.0
        self.use_kl_loss = False
        self.grad_clip = 0.5
        self.standardise_advantages = True
        self.latent_size = 5
        self.encoder_embedding = [64, 64]
        self.encoder_hidden = 64
        self.policy_hidden = [128, 128]
        self.policy_activation = "relu"
        self.belief_conditioning = "film"
        self.belief_embedding = 32
        self.policy_init_std = 1.0
        self.policy_min_std = 0.0
        self.policy_max_std = STD_RANGE[1]
        self.reward_input_scale = 1.0
        self.policy_gradient_to_encoder = False
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

    @override(PPOConfig)
    def training(self, **given: Any) -> BeliefConfig:
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

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | network_settings(self)

    def module_class(self) -> type:
        """The RLModule class; algorithms override it."""
        from rllib_metarl.algorithms.belief.module import BeliefModule

        return BeliefModule

    @override(PPOConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=self.module_class())

    @override(PPOConfig)
    def get_default_learner_class(self) -> type:
        from rllib_metarl.algorithms.belief.learner import BeliefLearner

        return BeliefLearner

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

    @override(PPOConfig)
    def validate(self) -> None:
        """Checks what RLlib lets pass.

        Raises:
            UserError: one message that names the setting, its value and the mend.
        """
        if self._validate_config:
            check_settings(self)
        self._validate_batches()
        super().validate()
        self._choose_runner()
        if self._validate_config:
            check_conditions(self)
        self._validate_std()

    @override(AlgorithmConfig)
    def _value_error(self, errmsg: str) -> None:
        """How RLlib refuses a config."""
        if self._validate_config:
            raise UserError(" ".join(errmsg.split()))

    def _validate_std(self) -> None:
        """A policy starts between the standard deviations that it is kept between."""
        if STD_RANGE[1] > self.policy_max_std <= self.policy_init_std:
            raise UserError(
                f"policy_max_std is {self.policy_max_std:g} and policy_init_std is "
                f"{self.policy_init_std:g}: let the policy start below."
            )
        least = self.policy_min_std
        first = least[0][1] if isinstance(least, (list, tuple)) else least
        if first >= self.policy_init_std:
            raise UserError(
                f"policy_min_std is {first:g} at first and policy_init_std is "
                f"{self.policy_init_std:g}: let the policy start above."
            )

    def needed_labels(self) -> dict[str, str]:
        """Labels that the losses need in the env's info, each with what to do without it."""
        return {}

    def held_out_arguments(self) -> dict[str, Any]:
        """The env's arguments on the held-out tasks."""
        return dict(self.env_config or {}) | dict(self.held_out_env_config)

    def unreported_metrics(self) -> dict[str, str]:
        """Patterns of the metrics that these settings do not report, and why."""
        why = "this algorithm learns no belief; run VariBAD or DynaMITE"
        return {"vae_*": why, "belief_entropy": why} | SYNCHRONOUS

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

    # --- checks ---------------------------------------------------------------------------------

    def _validate_batches(self) -> None:
        batch, mini = self.train_batch_size_per_learner, self.minibatch_size
        if mini is not None and batch is not None and not 1 <= mini <= batch:
            raise UserError(
                f"minibatch_size is {mini} and train_batch_size_per_learner {batch}: a minibatch "
                "holds at least 1 step and at most the whole batch."
            )
        if self.batch_mode != "truncate_episodes" and not self.in_evaluation:
            raise UserError(
                f"batch_mode is {self.batch_mode!r}: leave it at truncate_episodes. This project's "
                "runner returns whole meta-episodes in any case; RLlib's complete_episodes would "
                "also re-seed the envs at every sample."
            )
