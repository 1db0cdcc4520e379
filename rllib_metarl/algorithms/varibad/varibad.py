"""VariBAD: a variational belief over the task, and a policy that acts on it."""

from __future__ import annotations

from typing import Any, ClassVar

from rllib_metarl.algorithms.base import settings
from rllib_metarl.algorithms.base.rllib_settings import MOST
from rllib_metarl.algorithms.base.settings import (
    SWITCH,
    WEIGHT,
    Choice,
    Number,
    Setting,
    Some,
    Whole,
    Widths,
)
from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig, Schedule
from rllib_metarl.algorithms.varibad.learner import VariBADLearner
from rllib_metarl.algorithms.varibad.module import VariBADModule
from rllib_metarl.models.recurrent import CELLS
from rllib_metarl.ops.sessions import MAX_PAIRS

DECODER_INPUTS = ("observation", "action", "next_observation")


class VariBADConfig(BeliefConfig):
    """Settings of VariBAD.

    The ELBO is summed over the T beliefs of a meta-episode and over the transitions each of them
    decodes, averaged over meta-episodes and divided by T; `kl_weight` is relative to that. (The
    authors' code sums the KL over the batch too: its 0.01 is 0.25 here.)
    """

    MODULE = VariBADModule
    LEARNER = VariBADLearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "recurrent_cell": Setting(
            Choice(*CELLS),
            "the encoder's cell; on a CPU an lstm learns from a batch in about half the time",
            network=True,
        ),
        "vae_lr": Setting(
            settings.Schedule(Number(0, 1000)), "learning rate of encoder and decoders"
        ),
        "vae_updates": Setting(Whole(0, 100_000), "ELBO gradient steps per iteration"),
        "vae_batch_size": Setting(Whole(1, 10**6), "meta-episodes per ELBO step"),
        "vae_buffer_size": Setting(Whole(1, 10**8), "meta-episodes kept in the trajectory buffer"),
        "vae_warmup_steps": Setting(
            Whole(0, 10**12), "env steps during which the VAE learns and the policy does not"
        ),
        "vae_warmup_updates": Setting(
            Whole(0, 100_000), "ELBO steps per iteration while warming up"
        ),
        "kl_weight": Setting(WEIGHT, "weight of the KL beside the reward's reconstruction"),
        "state_loss_weight": Setting(WEIGHT, "weight of the state's reconstruction"),
        "vae_grad_clip": Setting(
            Number(0, 10**9, above=True), "gradient-norm clip of the ELBO's optimiser"
        ),
        "vae_max_pairs": Setting(
            Whole(0, MOST),
            "(belief, transition) pairs decoded per ELBO step; where there are more, a uniform "
            "sample of this size stands for all (unbiased); 0 decodes all. A pair takes some 1 KiB "
            "of memory with decoders of [64, 64]",
        ),
        "reward_likelihood": Setting(
            Choice("gaussian", "bernoulli"),
            "gaussian: squared error with the fixed sigma vae_reward_scale; bernoulli: whether "
            "the reward is positive, as in the authors' GridWorld",
        ),
        "vae_reward_scale": Setting(Number(1e-6, 1e6), "sigma of the Gaussian reward likelihood"),
        "decode_state": Setting(
            SWITCH, "whether a state decoder p(o'|o, a, m) is trained too", network=True
        ),
        "reward_decoder_inputs": Setting(
            Some(DECODER_INPUTS),
            "what the reward is decoded from beside the latent. Where inner episodes are reset "
            "inside a meta-episode, next_observation is the one after the reset",
            network=True,
        ),
        "decoder_hidden": Setting(
            Widths(least=1), "widths of the decoders' hidden layers", network=True
        ),
    }

    vae_lr: Schedule

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or VariBAD)
        self.recurrent_cell = "gru"
        self.vae_lr = 1e-3
        self.vae_updates = 3
        self.vae_batch_size = 25
        self.vae_buffer_size = 10_000
        self.vae_warmup_steps = 0
        self.vae_warmup_updates = 3
        self.kl_weight = 0.1
        self.vae_grad_clip = 2.0
        self.vae_max_pairs = MAX_PAIRS
        self.reward_likelihood = "gaussian"
        self.vae_reward_scale = 0.5
        self.state_loss_weight = 1.0
        self.decode_state = False
        self.reward_decoder_inputs = ["next_observation"]
        self.decoder_hidden = [64, 64]


class VariBAD(BeliefPPO):
    """VariBAD on RLlib's PPO."""

    CONFIG = VariBADConfig
