"""What the top latent of a two-level belief must explain: other sessions, and their lengths."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from rllib_metarl.ops.sessions import same_session_mask
from rllib_metarl.ops.shapes import check_bool, check_shapes


def other_sessions_mask(session: Tensor, valid: Tensor) -> Tensor:
    """M[b, t, j] = valid_t and valid_j and session_t != session_j.

    The complement of `same_session_mask` among the valid pairs: what the context of t's own session
    cannot explain.

    Args:
        session: ``[B, T]`` integers.
        valid: ``[B, T]`` bool.

    Returns:
        ``[B, T, T]`` bool.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    own = same_session_mask(session, session, valid, valid)
    return valid[:, :, None] & valid[:, None, :] & ~own


def switch_rate_loss(logits: Tensor, switched: Tensor, valid: Tensor) -> Tensor:
    """Negative log-likelihood of all switches of a meta-episode under each belief's rate.

    out[b, t] = -sum_{j=1}^{T-1} [d_j log s(x_t) + (1 - d_j) log(1 - s(x_t))], valid j only, s the
    sigmoid: in a DLCMDP d_j is Bernoulli(p) whatever else happens, so that all j share one rate.
    d_0, which is no draw, is left out.

    Args:
        logits: ``[B, T]`` x_t, log-odds of a switch by belief t.
        switched: ``[B, T]`` d_j in {0, 1}, bool or numbers.
        valid: ``[B, T]`` bool, true on a prefix.

    Returns:
        ``[B, T]`` in nats, 0 on padding.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    check_shapes(
        {"logits": (logits, "B T"), "switched": (switched, "B T"), "valid": (valid, "B T")},
        where="switch_rate_loss",
    )
    check_bool({"valid": valid}, where="switch_rate_loss")
    draws = valid.to(logits.dtype)
    draws[:, 0] = 0.0
    switches = (switched.to(logits.dtype) * draws).sum(1, keepdim=True)
    stays = draws.sum(1, keepdim=True) - switches
    loss = switches * F.softplus(-logits) + stays * F.softplus(logits)
    return loss.masked_fill(~valid, 0.0)
