"""Sessions of a DLCMDP: which steps share a context, where sessions start and end.

session(t) is the number of switches strictly before transition t; ``switched[t]`` tells a switch
between reward t-1 and observation t. Rows are right-padded: ``valid`` is true on a prefix.
Session numbers on padding are never looked at.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rllib_metarl.ops.shapes import check_bool, check_shapes

MAX_PAIRS = 2**20
"""Pairs of a belief and a transition to decode at once, unless more are asked for: that takes 1 GiB
with decoders of two layers of 64; 25 meta-episodes of 204 steps have fewer."""


def same_session_mask(
    session_encode: Tensor, session_decode: Tensor, valid_encode: Tensor, valid_decode: Tensor
) -> Tensor:
    """Session mask of the ELBO: M[b, t, j] = valid_t and valid_j and session_t = session_j.

    Args:
        session_encode, valid_encode: ``[B, Te]`` session of each belief (integers), and whether
            the belief exists (bool).
        session_decode, valid_decode: ``[B, Td]`` the same for each transition to decode.

    Returns:
        ``[B, Te, Td]`` bool.

    Raises:
        ValueError: where shapes differ. TypeError: where a mask is not boolean.

    Source: Liang et al. 2024 (DynaMITE-RL), session masking.
    """
    check_shapes(
        {
            "session_encode": (session_encode, "B Te"),
            "session_decode": (session_decode, "B Td"),
            "valid_encode": (valid_encode, "B Te"),
            "valid_decode": (valid_decode, "B Td"),
        },
        where="same_session_mask",
    )
    check_bool(
        {"valid_encode": valid_encode, "valid_decode": valid_decode}, where="same_session_mask"
    )
    both_valid = valid_encode[:, :, None] & valid_decode[:, None, :]
    return both_valid & (session_encode[:, :, None] == session_decode[:, None, :])


def session_starts(session: Tensor, valid: Tensor) -> Tensor:
    """Whether t is the first step of its session; the first step of the meta-episode is one.

    Args:
        session: ``[B, T]`` integers.
        valid: ``[B, T]`` bool, true on a prefix.

    Returns:
        ``[B, T]`` bool, false on padding.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    _check_sessions(session, valid, where="session_starts")
    first = torch.ones_like(valid[:, :1])
    return valid & torch.cat([first, session[:, 1:] != session[:, :-1]], dim=1)


def session_end_index(session: Tensor, valid: Tensor) -> Tensor:
    """Index of the last valid step of the session that t is in; t itself on padding.

    Args:
        session: ``[B, T]`` integers.
        valid: ``[B, T]`` bool, true on a prefix.

    Returns:
        ``[B, T]`` int64 in 0..T-1, fit for `torch.gather`.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    _check_sessions(session, valid, where="session_end_index")
    time = torch.arange(session.shape[1], device=session.device).expand_as(session)
    goes_on = torch.zeros_like(valid)
    goes_on[:, :-1] = valid[:, :-1] & valid[:, 1:] & (session[:, :-1] == session[:, 1:])
    # The nearest end at or after t: a running minimum from the right over the ends' indices.
    ends = time.masked_fill(goes_on, session.shape[1])
    return ends.flip(1).cummin(1).values.flip(1)


def one_later_session(session: Tensor, valid: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """One of each meta-episode's sessions but the first, each as likely as any other.

    Args:
        session: ``[B, T]`` integers, each session's one more than the one before's.
        valid: ``[B, T]`` bool, true on a prefix, its first step included.
        normal: ``[B]`` standard normal numbers that choose.

    Returns:
        the session's number ``[B]`` int64 (the first session's where there is no other), and how
        many there were to choose from ``[B]`` int64.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    _check_sessions(session, valid, where="one_later_session")
    first = session[:, 0]
    later = session.masked_fill(~valid, 0).amax(1).maximum(first) - first
    chosen = (torch.special.ndtr(normal) * later).long().minimum((later - 1).clamp_min(0))
    return first + (later > 0) * (1 + chosen), later


def hold_at_switch(values: Tensor, switch: Tensor, initial: Tensor) -> Tensor:
    """Hold the value before the last switch: the belief about the previous session.

    out_t = values_{s-1}, s the latest index <= t with switch_s; `initial` where there is no such
    s or s = 0.

    Args:
        values: ``[B, T, D]`` beliefs.
        switch: ``[B, T]`` bool, (predicted) session starts.
        initial: ``[D]`` or ``[B, D]``, held before the first switch.

    Returns:
        ``[B, T, D]``, differentiable in `values` and `initial`.

    Raises:
        ValueError: where shapes differ. TypeError: where `switch` is not boolean.

    Source: Liang et al. 2024 (DynaMITE-RL), prior latent conditioning.
    """
    sizes = check_shapes(
        {
            "values": (values, "B T D"),
            "switch": (switch, "B T"),
            "initial": (initial, "D" if initial.dim() == 1 else "B D"),
        },
        where="hold_at_switch",
    )
    check_bool({"switch": switch}, where="hold_at_switch")
    batch, features = sizes["B"], sizes["D"]
    time = torch.arange(sizes["T"], device=values.device)
    last_switch = torch.where(switch, time, 0).cummax(1).values
    # before[s] = values[s - 1] and before[0] = initial, so "no switch yet" may share index 0.
    first = initial.expand(batch, features)[:, None].to(values.dtype)
    before = torch.cat([first, values[:, :-1]], dim=1)
    return before.gather(1, last_switch[..., None].expand(-1, -1, features))


def mix_at_switch(before: Tensor, logit: Tensor, initial: Tensor) -> Tensor:
    """`hold_at_switch` where a switch is not known but probable: the expected value that is held.

    out_t = p_t before_t + (1 - p_t) out_{t-1}, out_{-1} = initial, p_t = s(x_t), s the sigmoid.

    Args:
        before: ``[B, T, D]``, at each step the belief of the step before it.
        logit: ``[B, T]`` x_t, log-odds that a session began.
        initial: ``[B, D]``, held before the first step.

    Returns:
        ``[B, T, D]``, differentiable in all three. Takes memory for ``[B, T, T]`` weights.

    Raises:
        ValueError: where shapes differ.
    """
    check_shapes(
        {"before": (before, "B T D"), "logit": (logit, "B T"), "initial": (initial, "B D")},
        where="mix_at_switch",
    )
    kept = F.logsigmoid(-logit).cumsum(1)  # log of the chance that nothing was replaced up to t
    weight = (F.logsigmoid(logit) - kept)[:, None, :] + kept[:, :, None]
    later = torch.ones(logit.shape[1], logit.shape[1], device=logit.device).triu(1).bool()
    mixed = weight.masked_fill(later, -torch.inf).exp() @ before
    return mixed + kept.exp()[..., None] * initial[:, None]


Pairs = tuple[Tensor, Tensor, Tensor]
"""Indices (b, t, j), each ``[K]`` int64: meta-episode, encoding time, decoding time."""


class SessionPairs:
    """The pairs (b, t, j) of `same_session_mask`, in row order, without a mask of ``[B, T, T]``.

    Args:
        session: ``[B, T]`` integers.
        valid: ``[B, T]`` bool.

    Attributes:
        count: how many there are.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """

    def __init__(self, session: Tensor, valid: Tensor) -> None:
        _check_sessions(session, valid, where="SessionPairs")
        self._steps = session.shape[1]
        last = torch.iinfo(torch.int64).max
        by_session, self._order = session.long().masked_fill(~valid, last).sort(dim=1, stable=True)
        place = torch.arange(self._steps, device=session.device).expand_as(session)
        starts = torch.ones_like(valid)
        starts[:, 1:] = by_session[:, 1:] != by_session[:, :-1]
        first = torch.where(starts, place, 0).cummax(1).values
        begins_next = torch.where(starts, place, self._steps).roll(-1, 1)
        begins_next[:, -1] = self._steps
        end = begins_next.flip(1).cummin(1).values.flip(1)
        back = self._order.argsort(1)  # from places in the order to times
        self._first = first.gather(1, back).flatten()
        self._size = (end - first).gather(1, back).masked_fill(~valid, 0).flatten()
        self._ends = self._size.cumsum(0)
        self.count = int(self._ends[-1])

    def at(self, numbers: Tensor) -> Pairs:
        """The pairs of some numbers from 0 to count - 1, ``[K]``."""
        row = torch.searchsorted(self._ends, numbers, right=True)
        before = self._ends[row] - self._size[row]
        episode, encode = row // self._steps, row % self._steps
        return episode, encode, self._order[episode, self._first[row] + numbers - before]

    def all(self) -> Pairs:
        """All pairs."""
        return self.at(torch.arange(self.count, device=self._ends.device))


class MaskedPairs:
    """The true entries (b, t, j) of a mask ``[B, Te, Td]``, in row order; as `SessionPairs`.

    Raises:
        ValueError: where `mask` is not ``[B, Te, Td]``. TypeError: where it is not boolean.
    """

    def __init__(self, mask: Tensor) -> None:
        check_shapes({"mask": (mask, "B Te Td")}, where="MaskedPairs")
        check_bool({"mask": mask}, where="MaskedPairs")
        self._shape = mask.shape
        self._flat = mask.flatten().nonzero().squeeze(1)
        self.count = len(self._flat)

    def at(self, numbers: Tensor) -> Pairs:
        """The pairs of some numbers from 0 to count - 1, ``[K]``."""
        return self._unravelled(self._flat[numbers])

    def all(self) -> Pairs:
        """All pairs."""
        return self._unravelled(self._flat)

    def _unravelled(self, flat: Tensor) -> Pairs:
        _, encode, decode = self._shape
        return flat // (encode * decode), flat // decode % encode, flat % decode


def _check_sessions(session: Tensor, valid: Tensor, where: str) -> None:
    check_shapes({"session": (session, "B T"), "valid": (valid, "B T")}, where=where)
    check_bool({"valid": valid}, where=where)
