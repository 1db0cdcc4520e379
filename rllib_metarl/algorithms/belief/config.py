"""Settings shared by all belief-based agents; flat attributes, so that Tune can search them."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override

from rllib_metarl.errors import UserError
from rllib_metarl.models.mlp import ACTIVATIONS
from rllib_metarl.sampling.runner import MetaEpisodeRunner

# A constant, or a schedule [[env steps, value], ...] that is interpolated linearly.
Schedule = float | list[list[float]]

# Names that reach the RLModule through its model_config.
MODULE_SETTINGS = (
    "latent_size",
    "encoder_hidden",
    "encoder_embedding",
    "policy_hidden",
    "policy_activation",
    "belief_conditioning",
    "policy_gradient_to_encoder",
    "prior_conditioning",
    "termination_threshold",
)


class BeliefConfig(PPOConfig):
    """PPO on observation and belief.

    Attributes (beside RLlib's):
        latent_size: dimension L of the context's posterior.
        encoder_embedding: widths of the layers between (a, r, o) and the GRU.
        encoder_hidden: width of the GRU.
        policy_hidden, policy_activation: layers of the policy and of the value network.
        belief_conditioning: ``film`` or ``concat``: how the belief enters those networks.
        policy_gradient_to_encoder: train the encoder with the gradient of policy and value too.
        held_out_seed: seed of the tasks that evaluations run on; the same tasks each time.
        held_out_episodes: held-out meta-episodes per evaluation during training.
        evaluate_every_steps: env steps between evaluations; 0 for none.
    """

    lr: Schedule
    entropy_coeff: Schedule

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
        self.latent_size = 5
        self.encoder_embedding = [64, 64]
        self.encoder_hidden = 64
        self.policy_hidden = [128, 128]
        self.policy_activation = "relu"
        self.belief_conditioning = "film"
        self.policy_gradient_to_encoder = False
        self.prior_conditioning = False
        self.termination_threshold = 0.5
        self.held_out_seed = 0
        self.held_out_episodes = 128
        self.evaluate_every_steps = 500_000
        self.env_runner_cls = MetaEpisodeRunner
        # RLlib's minute is long to wait for the message of an env that fails.
        self.delay_between_env_runner_restarts_s = 2.0

    @override(PPOConfig)
    def training(self, **settings: Any) -> BeliefConfig:
        """Sets own settings by name and hands the others to RLlib.

        Raises:
            UserError: for a name that neither knows.
        """
        own = set(vars(self)) - set(vars(PPOConfig()))
        for name in list(settings):
            if name in own:
                value = settings.pop(name)
                if value is not NotProvided:
                    setattr(self, name, value)
        try:
            super().training(**settings)
        except TypeError as error:
            raise UserError(f"training(): {error}") from None
        return self

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in MODULE_SETTINGS if hasattr(self, name)}
        return super()._model_config_auto_includes | settings

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

    @override(PPOConfig)
    def validate(self) -> None:
        """Checks what RLlib lets pass.

        Raises:
            UserError: one message that names the setting, its value and the mend.
        """
        self._validate_batches()
        super().validate()
        self._validate_unused()
        self._validate_callbacks()
        if self.num_learners > 1:
            raise UserError(
                f"num_learners is {self.num_learners}: RLlib would split meta-episodes between "
                "learners. Use num_learners: 0 (or 1 for a learner in a process of its own)."
            )
        if self.policy_activation not in ACTIVATIONS:
            raise UserError(
                f"policy_activation is {self.policy_activation!r}: use one of "
                f"{sorted(ACTIVATIONS)}."
            )
        if self.belief_conditioning not in ("film", "concat"):
            raise UserError(
                f"belief_conditioning is {self.belief_conditioning!r}: use film or concat."
            )
        for name in ("latent_size", "encoder_hidden", "held_out_episodes"):
            self.check_range(name, 1)
        self.check_range("evaluate_every_steps", 0)
        if not 0.0 < self.termination_threshold < 1.0:
            raise UserError(
                f"termination_threshold is {self.termination_threshold}: use a probability "
                "between 0 and 1."
            )

    def unreported_metrics(self) -> dict[str, str]:
        """Patterns of the learner's metrics that these settings do not report, and why."""
        why = "this algorithm learns no belief; run VariBAD or DynaMITE"
        return {"vae_*": why, "belief_entropy": why}

    def check_range(self, name: str, smallest: float) -> None:
        """Raises UserError unless a setting is a number of at least `smallest`."""
        value = getattr(self, name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value < smallest:
            raise UserError(f"{name} is {value!r}: use a number of at least {smallest}.")

    def _validate_unused(self) -> None:
        """Settings of RLlib's PPO that this learner does not have must not seem to work."""
        defaults = PPOConfig()
        for name in ("kl_coeff", "kl_target", "vf_clip_param", "use_critic", "use_gae"):
            if getattr(self, name) != getattr(defaults, name):
                raise UserError(
                    f"{name} is set, but belief agents have no such term (values are standardised "
                    "and not clipped, the policy is held by clip_param alone): leave it out."
                )
        if self.use_kl_loss:
            raise UserError("use_kl_loss is set, but belief agents have no KL loss: leave it out.")
        if self.grad_clip_by != "global_norm":
            raise UserError(
                f"grad_clip_by is {self.grad_clip_by!r}: belief agents clip by global_norm, each "
                "optimiser apart."
            )

    def _validate_callbacks(self) -> None:
        """The vectorised runner has no per-step Python: what needs it must say so."""
        if self.env_runner_cls is not MetaEpisodeRunner:
            return
        mend = (
            "Use RLlib's runner for it: env_runner_cls=SingleAgentEnvRunner with the env-to-module "
            "connector rllib_metarl.sampling.connectors.AddPreviousTransition."
        )
        for name in ("_env_to_module_connector", "_module_to_env_connector"):
            if getattr(self, name, None) is not None:
                raise UserError(f"MetaEpisodeRunner runs no {name.strip('_')}. {mend}")
        for name in ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end"):
            if self._has_callback(name):
                raise UserError(f"MetaEpisodeRunner does not call {name}. {mend}")

    def _has_callback(self, name: str) -> bool:
        classes = self.callbacks_class
        classes = classes if isinstance(classes, (list, tuple)) else [classes]
        base = getattr(RLlibCallback, name)
        overridden = any(getattr(cls, name, base) is not base for cls in classes)
        return overridden or getattr(self, f"callbacks_{name}", None) is not None

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
