"""VariBAD: a variational belief over the task, and a policy that acts on it."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import SYNCHRONOUS, BeliefConfig, Schedule
from rllib_metarl.errors import UserError

DECODER_SETTINGS = ("decoder_hidden", "reward_decoder_inputs", "decode_state")
DECODER_INPUTS = ("observation", "action", "next_observation")


class VariBADConfig(BeliefConfig):
    """Settings of VariBAD.

    The ELBO is summed over the T beliefs of a meta-episode and over the transitions each of them
    decodes, averaged over meta-episodes and divided by T; `kl_weight` is relative to that. (The
    authors' code sums the KL over the batch too: its 0.01 is 0.25 here.)

    Attributes (beside `BeliefConfig`'s):
        vae_lr: learning rate (or schedule) of encoder and decoders.
        vae_updates: ELBO gradient steps per iteration.
        vae_batch_size: meta-episodes per ELBO step.
        vae_buffer_size: meta-episodes kept in the trajectory buffer.
        vae_warmup_steps: env steps during which the VAE learns and the policy does not.
        vae_warmup_updates: ELBO steps per iteration while warming up.
        kl_weight, state_loss_weight: weights beside the reward's reconstruction.
        vae_grad_clip: gradient-norm clip of the ELBO's optimiser.
        vae_max_pairs: (belief, transition) pairs decoded per ELBO step; where there are more, a
            uniform sample of this size stands for all (unbiased); 0 decodes all.
        reward_likelihood: ``gaussian`` (squared error with the fixed sigma `vae_reward_scale`) or
            ``bernoulli`` (whether the reward is positive, as in the authors' GridWorld).
        vae_reward_scale: sigma of the Gaussian reward likelihood.
        decode_state: whether a state decoder p(o'|o, a, m) is trained too.
        reward_decoder_inputs: what the reward is decoded from beside the latent; some of
            observation, action, next_observation. Where inner episodes are reset inside a
            meta-episode, next_observation is the one after the reset.
        decoder_hidden: widths of the decoders' hidden layers.
    """

    vae_lr: Schedule

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or VariBAD)
        self.vae_lr = 1e-3
        self.vae_updates = 3
        self.vae_batch_size = 25
        self.vae_buffer_size = 10_000
        self.vae_warmup_steps = 0
        self.vae_warmup_updates = 3
        self.kl_weight = 0.1
        self.vae_grad_clip = 2.0
        self.vae_max_pairs = 0
        self.reward_likelihood = "gaussian"
        self.vae_reward_scale = 0.5
        self.state_loss_weight = 1.0
        self.decode_state = False
        self.reward_decoder_inputs = ["next_observation"]
        self.decoder_hidden = [64, 64]

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in DECODER_SETTINGS}
        return super()._model_config_auto_includes | settings

    @override(BeliefConfig)
    def module_class(self) -> type:
        from rllib_metarl.algorithms.varibad.module import VariBADModule

        return VariBADModule

    @override(BeliefConfig)
    def get_default_learner_class(self) -> type:
        from rllib_metarl.algorithms.varibad.learner import VariBADLearner

        return VariBADLearner

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        unknown = set(self.reward_decoder_inputs) - set(DECODER_INPUTS)
        if unknown or not self.reward_decoder_inputs:
            raise UserError(
                f"reward_decoder_inputs is {self.reward_decoder_inputs}: use one or more of "
                f"{list(DECODER_INPUTS)}."
            )
        if self.reward_likelihood not in ("gaussian", "bernoulli"):
            raise UserError(
                f"reward_likelihood is {self.reward_likelihood!r}: use gaussian or bernoulli."
            )
        for name in ("vae_batch_size", "vae_buffer_size"):
            self.check_range(name, 1)
        for name in ("kl_weight", "state_loss_weight", "vae_updates", "vae_max_pairs"):
            self.check_range(name, 0)
        for name in ("vae_warmup_steps", "vae_warmup_updates"):
            self.check_range(name, 0)
        self.check_range("vae_reward_scale", 1e-6)
        if not self.decoder_hidden:
            raise UserError("decoder_hidden is empty: use at least one layer, e.g. [64].")

    @override(BeliefConfig)
    def unreported_metrics(self) -> dict[str, str]:
        why = "VariBAD has no such term; run DynaMITE"
        missing = {"vae_consistency": why, "vae_termination_*": why}
        missing["vae_top_*"] = "there is no top latent here; run HLTDynaMITE"
        if not self.decode_state:
            missing["vae_state_loss"] = "set decode_state: true"
        return missing | SYNCHRONOUS


class VariBAD(BeliefPPO):
    """VariBAD on RLlib's PPO."""

    @classmethod
    @override(BeliefPPO)
    def get_default_config(cls) -> VariBADConfig:
        return VariBADConfig(algo_class=cls)
