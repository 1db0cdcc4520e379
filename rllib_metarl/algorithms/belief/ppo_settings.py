"""What this project does with the attributes that RLlib's `PPOConfig` adds: honoured or refused."""

from __future__ import annotations

from rllib_metarl.algorithms.base.rllib_settings import GONE
from rllib_metarl.algorithms.base.settings import Entry, Number, Refused, Schedule, Setting

_TERM = Refused(
    "belief agents have no such term (values are standardised and not clipped, the policy is held "
    "by clip_param alone)"
)

PPO: dict[str, Entry] = {
    "lambda_": Setting(Number(0, 1), "of generalised advantage estimation"),
    "clip_param": Setting(Number(0, 1000, above=True), "how far a probability's ratio may move"),
    "vf_loss_coeff": Setting(Number(0, 10**6), "weight of the value's loss"),
    "entropy_coeff": Setting(Schedule(Number(0, 10**6)), "weight of the entropy bonus"),
    **dict.fromkeys(("use_critic", "use_gae", "use_kl_loss", "kl_coeff", "kl_target"), _TERM),
    "vf_clip_param": _TERM,
    "lr_schedule": Refused("lr takes a schedule, [[0, value], [env steps, value]]"),
    "entropy_coeff_schedule": Refused("entropy_coeff takes a schedule"),
    **dict.fromkeys(("sgd_minibatch_size", "vf_share_layers"), Refused(GONE)),
}
