"""Settings shared by all belief-based agents; flat attributes, so that Tune can search them."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base import settings
from rllib_metarl.algorithms.base.config import MetaConfig
from rllib_metarl.algorithms.base.rllib_settings import MOST
from rllib_metarl.algorithms.base.settings import (
    SWITCH,
    Choice,
    Entry,
    Number,
    Setting,
    Whole,
    Widths,
)
from rllib_metarl.algorithms.belief.learner import BeliefLearner
from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.algorithms.belief.ppo_settings import PPO
from rllib_metarl.errors import UserError
from rllib_metarl.models.heads import STD_RANGE
from rllib_metarl.models.mlp import ACTIVATIONS

# A constant, or a schedule [[env steps, value], ...] that is interpolated linearly.
Schedule = float | list[list[float]]


class BeliefConfig(MetaConfig, PPOConfig):
    """PPO on observation and belief; `SETTINGS` says what each setting of its own is."""

    MODULE = BeliefModule
    LEARNER = BeliefLearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "latent_size": Setting(
            Whole(1, 4096), "dimension L of the context's posterior", network=True
        ),
        "encoder_embedding": Setting(
            Widths(), "widths of the layers between (a, r, o) and the GRU", network=True
        ),
        "encoder_hidden": Setting(Whole(1, 8192), "width of the memory", network=True),
        "max_sequence_length": Setting(
            Whole(0, MOST),
            "steps after which the gradient through the encoder or memory is cut (truncated "
            "backpropagation through time); its state is carried on. It bounds the memory that a "
            "long meta-episode takes, for a third more time; 0 for never",
            network=True,
        ),
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
            "stays above: it keeps exploring instead of converging early",
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
    }
    RLLIB_SETTINGS: ClassVar[dict[str, Entry]] = PPO
    RETIRED: ClassVar[dict[str, Any]] = {"prior_conditioning": False, "termination_threshold": 0.5}

    lr: Schedule
    entropy_coeff: Schedule
    policy_min_std: Schedule

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class)
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
        self.max_sequence_length = 0
        self.policy_hidden = [128, 128]
        self.policy_activation = "relu"
        self.belief_conditioning = "film"
        self.belief_embedding = 32
        self.policy_init_std = 1.0
        self.policy_min_std = 0.0
        self.policy_max_std = STD_RANGE[1]
        self.reward_input_scale = 1.0
        self.policy_gradient_to_encoder = False

    @override(PPOConfig)
    def validate(self) -> None:
        """Checks what RLlib lets pass.

        Raises:
            UserError: one message that names the setting, its value and the fix.
        """
        super().validate()
        self._validate_std()

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

    @override(MetaConfig)
    def validate_batches(self) -> None:
        super().validate_batches()
        batch, mini = self.train_batch_size_per_learner, self.minibatch_size
        if mini is not None and batch is not None and not 1 <= mini <= batch:
            raise UserError(
                f"minibatch_size is {mini} and train_batch_size_per_learner {batch}: a minibatch "
                "holds at least 1 step and at most the whole batch."
            )
