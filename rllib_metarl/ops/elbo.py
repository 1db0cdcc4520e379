"""Terms of the evidence lower bound of VariBAD and DynaMITE, each per step, pair or episode.

Weights, and the mean over meta-episodes, are the caller's: the terms here are plain sums, and
what is summed is in each docstring.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rllib_metarl.ops.gaussian import kl_divergence
from rllib_metarl.ops.sessions import session_end_index, session_starts
from rllib_metarl.ops.shapes import check_bool, check_shapes


def bernoulli_log_prob(logits: Tensor, targets: Tensor) -> Tensor:
    """log p(target) of independent Bernoullis: y log s(x) + (1 - y) log(1 - s(x)), s the sigmoid.

    Args:
        logits: ``[...]``.
        targets: ``[...]`` in [0, 1], bool or numbers.

    Returns:
        ``[...]``, elementwise, <= 0, in nats.

    Raises:
        ValueError: where shapes differ.
    """
    check_shapes(
        {"logits": (logits, "..."), "targets": (targets, "...")}, where="bernoulli_log_prob"
    )
    return -F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance sum_d (prediction_d - target_d)^2, without a factor 1/2.

    Args:
        prediction, target: ``[..., D]``.

    Returns:
        ``[...]``, in squared units of the target.

    Raises:
        ValueError: where shapes differ.
    """
    check_shapes(
        {"prediction": (prediction, "... D"), "target": (target, "... D")}, where="squared_error"
    )
    return (prediction - target).square().sum(-1)


def session_chain_kl(
    mean: Tensor,
    log_var: Tensor,
    session: Tensor,
    valid: Tensor,
    prior_mean: Tensor | None = None,
    prior_log_var: Tensor | None = None,
) -> Tensor:
    """KL of each belief to its prior, the chain of beliefs of VariBAD cut at session starts.

    out_0 = KL(q_0 || N(0, I)); inside a session out_t = KL(q_t || q_{t-1}), gradient through both;
    at the first step t > 0 of a session out_t = KL(q_t || prior_t) where a prior is given, else
    the chain goes on as in VariBAD.

    Args:
        mean, log_var: ``[B, T, D]`` beliefs q_t.
        session: ``[B, T]`` integers.
        valid: ``[B, T]`` bool, true on a prefix.
        prior_mean, prior_log_var: ``[B, T, D]`` prior of the session that starts at t, read at
            session starts only; both or none.

    Returns:
        ``[B, T]`` in nats, 0 on padding.

    Raises:
        ValueError: where shapes differ or one half of the prior is missing. TypeError: where
            `valid` is not boolean.

    Source: Zintgraf et al. 2020 (VariBAD); Liang et al. 2024 (DynaMITE-RL), prior
    latent conditioning.
    """
    _check_beliefs(mean, log_var, session, valid, where="session_chain_kl")
    mean, log_var = _blank(mean, valid), _blank(log_var, valid)
    reference_mean, reference_log_var = _shift(mean), _shift(log_var)
    if prior_mean is not None and prior_log_var is not None:
        check_shapes(
            {
                "mean": (mean, "B T D"),
                "prior_mean": (prior_mean, "B T D"),
                "prior_log_var": (prior_log_var, "B T D"),
            },
            where="session_chain_kl",
        )
        restart = session_starts(session, valid)[..., None]
        restart[:, 0] = False
        reference_mean = torch.where(restart, prior_mean, reference_mean)
        reference_log_var = torch.where(restart, prior_log_var, reference_log_var)
    elif prior_mean is not None or prior_log_var is not None:
        raise ValueError("session_chain_kl: give both prior_mean and prior_log_var, or neither")
    kl = kl_divergence(mean, log_var, reference_mean, reference_log_var)
    return kl.masked_fill(~valid, 0.0)


def expected_chain_kl(
    mean: Tensor,
    log_var: Tensor,
    switch: Tensor,
    valid: Tensor,
    prior_mean: Tensor,
    prior_log_var: Tensor,
) -> Tensor:
    """KL of each belief to its prior where a switch is not known but probable.

    out_0 = KL(q_0 || N(0, I)); out_t = (1 - p_t) KL(q_t || q_{t-1}) + p_t KL(q_t || prior_t): the
    chain of VariBAD, but for beliefs that have just seen a session begin. By convexity it is at
    least the KL to the mixture of both.

    Args:
        mean, log_var: ``[B, T, D]`` beliefs q_t.
        switch: ``[B, T]`` p_t in [0, 1], that transition t - 1 opened a session, by what was seen.
        valid: ``[B, T]`` bool, true on a prefix.
        prior_mean, prior_log_var: ``[B, T, D]`` prior of a session that opened so.

    Returns:
        ``[B, T]`` in nats, 0 on padding.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    _check_beliefs(mean, log_var, switch, valid, where="expected_chain_kl")
    mean, log_var = _blank(mean, valid), _blank(log_var, valid)
    opened = F.pad(switch[:, 1:], (1, 0))
    chain = kl_divergence(mean, log_var, _shift(mean), _shift(log_var))
    priors = _blank(prior_mean, valid), _blank(prior_log_var, valid)
    kl = torch.lerp(chain, kl_divergence(mean, log_var, *priors), opened)
    return kl.masked_fill(~valid, 0.0)


def sampled_log_likelihood(evidence: Tensor, density: Tensor) -> Tensor:
    """log p(D) by K samples of a prior, log (1/K) sum_k p(D | m_k), with the prior's gradient.

    The gradient is sum_k w_k d log p(m_k), w_k = p(D | m_k) / sum_k' p(D | m_k'): the prior moves
    to those of its samples that explain D, as in an EM step by importance sampling. None comes
    through the samples, which a decoder that is sure would not give any.

    Args:
        evidence: ``[B, K]`` log p(D | m_k).
        density: ``[B, K]`` log p(m_k) of the prior that they were drawn from.

    Returns:
        ``[B]`` in nats.

    Raises:
        ValueError: where shapes differ.
    """
    sizes = check_shapes(
        {"evidence": (evidence, "B K"), "density": (density, "B K")}, where="sampled_log_likelihood"
    )
    moved = density - density.detach()  # worth 0
    return torch.logsumexp(evidence.detach() + moved, 1) - math.log(sizes["K"])


def consistency_hinge(mean: Tensor, log_var: Tensor, session: Tensor, valid: Tensor) -> Tensor:
    """Penalty on beliefs that move away from where their session ends.

    out_t = max(KL(q_{t+1} || q_end) - KL(q_t || q_end), 0) for t and t+1 in one session, q_end
    that session's last valid belief; 0 elsewhere, so always in the last column.

    Args:
        mean, log_var: ``[B, T, D]`` beliefs q_t.
        session: ``[B, T]`` integers.
        valid: ``[B, T]`` bool, true on a prefix.

    Returns:
        ``[B, T]`` in nats.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.

    Source: Liang et al. 2024 (DynaMITE-RL), session consistency.
    """
    _check_beliefs(mean, log_var, session, valid, where="consistency_hinge")
    mean, log_var = _blank(mean, valid), _blank(log_var, valid)
    end = session_end_index(session, valid)[..., None].expand_as(mean)
    # q_end is a target: with its gradient, the loss could fall by moving the end to the beliefs.
    kl = kl_divergence(mean, log_var, mean.detach().gather(1, end), log_var.detach().gather(1, end))
    together = valid[:, :-1] & valid[:, 1:] & (session[:, :-1] == session[:, 1:])
    hinge = torch.relu(kl[:, 1:] - kl[:, :-1]).masked_fill(~together, 0.0)
    return F.pad(hinge, (0, 1))


def termination_bce(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy of the predicted session switches.

    mean_{b, t valid} of -[d log s(x) + (1 - d) log(1 - s(x))], s the sigmoid.

    Args:
        logits: ``[B, T]`` x, of P(d_t = 1).
        labels: ``[B, T]`` d_t in {0, 1}, bool or numbers.
        valid: ``[B, T]`` bool.

    Returns:
        Scalar in nats; 0 where nothing is valid.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.

    Source: Liang et al. 2024 (DynaMITE-RL), session termination.
    """
    check_shapes(
        {"logits": (logits, "B T"), "labels": (labels, "B T"), "valid": (valid, "B T")},
        where="termination_bce",
    )
    check_bool({"valid": valid}, where="termination_bce")
    loss = F.binary_cross_entropy_with_logits(
        logits.masked_fill(~valid, 0.0), labels.to(logits.dtype), reduction="none"
    )
    return masked_mean(loss, valid)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries of `x` where `mask` is true.

    Args:
        x: ``[...]`` floats.
        mask: ``[...]`` bool.

    Returns:
        Scalar; 0 where the mask is false everywhere. Entries outside may be anything.

    Raises:
        ValueError: where shapes differ. TypeError: where `mask` is not boolean.
    """
    check_shapes({"x": (x, "..."), "mask": (mask, "...")}, where="masked_mean")
    check_bool({"mask": mask}, where="masked_mean")
    return x.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


@torch.no_grad()
def auroc(scores: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Area under the ROC curve: how often a positive has the higher score, ties counting half.

    Args:
        scores: ``[...]`` floats.
        labels: ``[...]``, positive where above 0.
        valid: ``[...]`` bool, the entries that count.

    Returns:
        Scalar; 0.5, which is chance, where there are no positives or no negatives.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    shapes = {"scores": (scores, "..."), "labels": (labels, "..."), "valid": (valid, "...")}
    check_shapes(shapes, where="auroc")
    check_bool({"valid": valid}, where="auroc")
    positive = scores[valid & (labels > 0)].contiguous()
    negative = scores[valid & (labels <= 0)].sort().values
    if not len(positive) or not len(negative):
        return scores.new_tensor(0.5)
    below = torch.searchsorted(negative, positive)
    upto = torch.searchsorted(negative, positive, right=True)
    return (0.5 * (below + upto).to(scores.dtype) / len(negative)).mean()


def _check_beliefs(
    mean: Tensor, log_var: Tensor, session: Tensor, valid: Tensor, where: str
) -> None:
    check_shapes(
        {
            "mean": (mean, "B T D"),
            "log_var": (log_var, "B T D"),
            "session": (session, "B T"),
            "valid": (valid, "B T"),
        },
        where=where,
    )
    check_bool({"valid": valid}, where=where)


def _blank(x: Tensor, valid: Tensor) -> Tensor:
    """Zero the padding of ``[B, T, D]``: masking the loss alone lets 0 * inf into gradients."""
    return x.masked_fill(~valid[..., None], 0.0)


def _shift(x: Tensor) -> Tensor:
    """x_{t-1}, with zeros (mean and log-variance of N(0, I)) before the first step."""
    return F.pad(x[:, :-1], (0, 0, 1, 0))
