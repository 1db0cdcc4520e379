"""Action spaces as flat arrays: how a policy's outputs are drawn from, encoded and given to an env.

Every part of an action is either a *category*, one of finitely many values, or a *number*. Flat
actions are `[N]` for a single `Discrete`, else `[N, P]`: the categories' indices, from 0 on, before
the numbers; whole if there are categories alone.

| part | is |
|---|---|
| Discrete, MultiDiscrete, MultiBinary | categories |
| Box of whole numbers, each of at most `MOST_VALUES` values | categories |
| any other Box | numbers, drawn from a Gaussian and brought into the bounds by `NumberLeaf` |
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rllib_metarl.envs.core.nested import nested
from rllib_metarl.errors import UserError
from rllib_metarl.models.spaces import supported_parts

MOST_VALUES = 64
"""A Box of whole numbers with more values for an entry is drawn as a number and rounded."""

NO_BOUND = 1e15
"""A bound beyond this is one in name only: nothing could be learnt on such a scale."""

_NEVER = torch.finfo(torch.float32).min


class CategoryLeaf:
    """A part of an action space that is categories, all with the space's shape and type.

    Args:
        space: the part.
        sizes: how many values each entry has. start: the smallest of them.
    """

    def __init__(self, space: gym.Space, sizes: Any, start: Any) -> None:
        self.space = space
        self.sizes = [int(size) for size in np.ravel(sizes)]
        self.count = len(self.sizes)
        self._start = np.broadcast_to(start, np.shape(sizes)).ravel()
        self._unchanged = isinstance(space, spaces.Discrete) and not self._start.any()

    def to_env(self, index: NDArray[Any]) -> NDArray[Any]:
        """Values `[N, *shape]` of indices `[N, count]` (or `[N]` of a Discrete from 0 on)."""
        if self._unchanged:
            return index.reshape(len(index)).astype(self.space.dtype, copy=False)
        dtype = self.space.dtype
        values = index.reshape(len(index), self.count).astype(dtype) + self._start.astype(dtype)
        return values.reshape(len(index), *(self.space.shape or ()))


class NumberLeaf:
    """A Box whose entries a Gaussian's samples x are brought into; every bound is kept.

    With `normalise` an entry with both bounds is an even share of its range: x clipped to [-1, 1],
    as RLlib has it, or, where it is a whole number, the standard normal distribution function of x,
    so that a policy that starts from N(0, 1) draws all values equally often. With one bound it is
    softplus(x) away from it, with none x itself (whole numbers: the nearest). Without `normalise`
    x is in the units of the space and clipped (and rounded) alone.

    Args:
        space: the Box.
        normalise: RLlib's `normalize_actions`.
    """

    def __init__(self, space: spaces.Box, normalise: bool) -> None:
        self.space, self.normalise = space, normalise
        self.count = int(np.prod(space.shape))
        self.whole = _is_whole(space)
        self._low, self._high = (np.asarray(b, np.float64).ravel() for b in (space.low, space.high))
        self._below = space.bounded_below.ravel() & (self._low > -NO_BOUND)
        self._above = space.bounded_above.ravel() & (self._high < NO_BOUND)
        self.bounded = self._below & self._above
        largest = NO_BOUND if self.whole else float(np.finfo(space.dtype).max)
        self._least, self._most = np.maximum(self._low, -largest), np.minimum(self._high, largest)
        self._plain = normalise and not self.whole and bool(self.bounded.all())
        if self._plain:  # the usual kind, in the space's own precision
            self._own_low, high = space.low.ravel(), space.high.ravel()
            self._own_range = high - self._own_low
            # Where rounding would take the sum beyond the bound, it is done with more precision.
            self._plain = bool((self._own_low + self._own_range <= high).all())

    def to_env(self, x: NDArray[Any]) -> NDArray[Any]:
        """Values `[N, *shape]` of samples `[N, count]`."""
        if self._plain:
            values = self._own_low + (np.clip(x, -1.0, 1.0) + 1.0) * 0.5 * self._own_range
        else:
            values = np.clip(self._values(x.astype(np.float64)), self._least, self._most)
        return values.astype(self.space.dtype).reshape(len(x), *self.space.shape)

    def _values(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.normalise:
            return np.rint(x) if self.whole else x
        away = np.logaddexp(0.0, x)  # softplus
        values = np.where(
            self._below, self._low + away, np.where(self._above, self._high - away, x)
        )
        values = np.rint(values) if self.whole else values
        low, high = (np.where(self.bounded, b, 0.0) for b in (self._low, self._high))
        if self.whole:
            inside = low + np.floor(_normal_distribution(x) * (high - low + 1.0))
        else:
            inside = low + (np.clip(x, -1.0, 1.0) + 1.0) * 0.5 * (high - low)
        return np.where(self.bounded, inside, values)

    def encode(self, x: Tensor) -> Tensor:
        """Samples `[..., count]` in [-1, 1] where both bounds are known: what was not done, because
        it was clipped, is not encoded.
        """
        if not self.bounded.any():
            return x
        if not self.normalise:
            low, high = (
                np.where(self.bounded, b, u) for b, u in ((self._low, -1), (self._high, 1))
            )
            middle, half = (_like(v, x) for v in (0.5 * (low + high), 0.5 * (high - low)))
            inside = ((x - middle) / half.clamp_min(1e-6)).clamp(-1.0, 1.0)
        elif self.whole:
            inside = 2.0 * torch.special.ndtr(x) - 1.0
        else:
            inside = x.clamp(-1.0, 1.0)
        if self.bounded.all():
            return inside
        return torch.where(torch.as_tensor(self.bounded, device=x.device), inside, x)


class ActionCodec:
    """The policy's side of an action space: distribution, flat form, encoding, and the env's form.

    Args:
        space: Discrete, MultiDiscrete, MultiBinary, Box, or Dict and Tuple of such, nested.
        normalise: whether numbers are drawn in units of their range (RLlib's `normalize_actions`).

    Attributes:
        categories: the number of values of each category. numbers: how many numbers there are.
        width: of an encoded action: one-hots, then numbers. outputs: of the distribution's inputs:
            the categories' logits, the numbers' means, and their log standard deviations.

    Raises:
        UserError: a part of the space has no fixed size.
    """

    def __init__(self, space: gym.Space, *, normalise: bool = True) -> None:
        self.space, self.normalise = space, normalise
        self._leaves = [_leaf(part, normalise) for part in supported_parts(space, "action")]
        self._number_leaves = [leaf for leaf in self._leaves if isinstance(leaf, NumberLeaf)]
        of_categories = [leaf for leaf in self._leaves if isinstance(leaf, CategoryLeaf)]
        self.categories = [size for leaf in of_categories for size in leaf.sizes]
        self.numbers = sum(leaf.count for leaf in self._number_leaves)
        self.width = sum(self.categories) + self.numbers
        self.outputs = self.width + self.numbers
        self.discrete = isinstance(space, spaces.Discrete)
        self.gaussian = not self.categories
        if not self.width:
            raise UserError(f"action space {space} is empty: there is no action to choose.")
        self.flat_space = self._flat_space()
        # Categories of different sizes as rows of one table: index -1 is a logit that is not there.
        self._table = np.full((len(self.categories), max(self.categories, default=0)), -1)
        begin = 0
        for row, size in zip(self._table, self.categories, strict=True):
            row[:size] = np.arange(begin, begin + size)
            begin += size

    def _flat_space(self) -> gym.Space:
        """What flat actions lie in."""
        if self.discrete:
            return spaces.Discrete(self.width)
        if not self.numbers:
            return spaces.MultiDiscrete(self.categories)
        return spaces.Box(-np.inf, np.inf, (len(self.categories) + self.numbers,), np.float32)

    # --- the distribution -------------------------------------------------------------------------

    def sample(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Flat actions drawn from the distribution with inputs `[N, outputs]`."""
        if self.discrete:
            noise = torch.empty_like(logits).exponential_(generator=generator)
            return (logits - noise.log()).argmax(dim=-1)  # Gumbel's trick
        if self.gaussian:
            mean, log_std = logits.chunk(2, dim=-1)
            noise = torch.empty_like(mean).normal_(generator=generator)
            return mean + noise * log_std.exp()
        categories, mean, log_std = self._split(logits)
        if self.categories:
            noise = torch.empty_like(categories).exponential_(generator=generator)
            categories = categories - noise.log()
        if self.numbers:
            noise = torch.empty_like(mean).normal_(generator=generator)
            mean = mean + noise * log_std.exp()
        return self._joined(categories, mean)

    def mode(self, logits: Tensor) -> Tensor:
        """The most probable flat actions, `[...]` or `[..., A]`, for logits `[..., outputs]`."""
        if self.discrete:
            return logits.argmax(dim=-1)
        categories, mean, _ = self._split(logits)
        return self._joined(categories, mean)

    def log_prob(self, logits: Tensor, action: Tensor) -> Tensor:
        """Log-probability (density, where there are numbers) `[...]` of flat actions."""
        if self.discrete:
            return logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
        categories, mean, log_std = self._split(logits)
        index, numbers = action[..., : len(self.categories)], action[..., len(self.categories) :]
        total = logits.new_zeros(logits.shape[:-1])
        if self.categories:
            chosen = categories.log_softmax(-1).gather(-1, index.long().unsqueeze(-1))
            total = total + chosen.squeeze(-1).sum(-1)
        if self.numbers:
            normal = torch.distributions.Normal(mean, log_std.exp(), validate_args=False)
            total = total + normal.log_prob(numbers).sum(-1)
        return total

    def entropy(self, logits: Tensor) -> Tensor:
        """Entropy `[...]`; differential, where there are numbers."""
        categories, _, log_std = self._split(logits)
        log_prob = categories.log_softmax(-1)
        total = -(log_prob.exp() * log_prob.clamp_min(-1e9)).sum((-1, -2))
        return total + (log_std + 0.5 * np.log(2.0 * np.pi * np.e)).sum(-1)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) `[...]` of the distributions with inputs `[..., outputs]`."""
        old_categories, old_mean, old_log_std = self._split(old)
        categories, mean, log_std = self._split(new)
        was, now = old_categories.log_softmax(-1), categories.log_softmax(-1)
        # What is forbidden has probability 0 in both: its difference must be no NaN.
        total = (was.exp() * (was - now).clamp(-1e9, 1e9)).sum((-1, -2))
        spread = (2.0 * (old_log_std - log_std)).exp() + ((old_mean - mean) / log_std.exp()) ** 2
        return total + (log_std - old_log_std + 0.5 * spread - 0.5).sum(-1)

    def encode(self, action: Tensor) -> Tensor:
        """Flat actions as encoder inputs `[..., width]`: one-hots, and numbers in their units."""
        one_hot = torch.nn.functional.one_hot
        if self.discrete:
            return one_hot(action.long(), self.width).float()
        index = action[..., : len(self.categories)].long().unbind(-1)
        parts = [one_hot(i, n).float() for i, n in zip(index, self.categories, strict=True)]
        numbers = action[..., len(self.categories) :].float()
        for leaf in self._number_leaves:
            parts.append(leaf.encode(numbers[..., : leaf.count]))
            numbers = numbers[..., leaf.count :]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _split(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Categories' logits `[..., C, most]`, means and log deviations `[..., numbers]`."""
        if self.gaussian:
            mean, log_std = logits.chunk(2, dim=-1)
            return logits.new_zeros(*logits.shape[:-1], 0, 1), mean, log_std
        sizes = [sum(self.categories), self.numbers, self.numbers]
        flat, mean, log_std = logits.split(sizes, dim=-1)
        table = torch.as_tensor(self._table, device=logits.device)
        rows = flat[..., table.clamp_min(0)]
        return torch.where(table < 0, _NEVER, rows), mean, log_std

    def _joined(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """Flat actions `[N, P]`: the largest of the logits in each row of a table, and numbers."""
        if self.gaussian:
            return numbers
        index = categories.argmax(dim=-1)
        return torch.cat([index.to(numbers.dtype), numbers], dim=-1) if self.numbers else index

    # --- masks ------------------------------------------------------------------------------------

    def masked(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Inputs `[..., outputs]` by which what `mask [..., choices]` forbids is never drawn."""
        choices = sum(self.categories)
        if choices == self.outputs:
            return torch.where(mask, logits, _NEVER)
        allowed = torch.where(mask, logits[..., :choices], _NEVER)
        return torch.cat([allowed, logits[..., choices:]], dim=-1)

    def mask_of(self, given: Any, count: int) -> NDArray[np.bool_]:
        """Masks `[count, choices]` of what `count` sub-envs give as ``action_mask``.

        Args:
            given: 1 or True for what may be done, `[count, choices]`, or, as gymnasium samples with
                it, a tuple of one such array for each category.

        Raises:
            UserError: it has another form, or leaves no choice.
        """
        choices = sum(self.categories)
        parts = given if isinstance(given, (tuple, list)) else [given]
        arrays = [np.asarray(part).reshape(count, -1) for part in parts]
        mask = np.concatenate(arrays, axis=1).astype(bool)
        if mask.shape[1] != choices or not choices:
            raise UserError(
                f"an action_mask has {mask.shape[1]} entries where the action space {self.space} "
                f"has {choices} choices: give one entry for each value of each Discrete, "
                "MultiDiscrete or MultiBinary part, one part after the other."
            )
        begin = 0
        for size in self.categories:
            if not mask[:, begin : begin + size].any(axis=1).all():
                raise UserError(
                    "an action_mask forbids every action, or every value of a part of it: end the "
                    "episode if nothing can be done, or allow at least one action."
                )
            begin += size
        return mask

    # --- the env's form ---------------------------------------------------------------------------

    def to_env(self, action: NDArray[Any]) -> Any:
        """Flat actions `[N]` or `[N, A]` of N sub-envs as one batched action of the space.

        It is contained in the space, row by row, as long as `action` is finite.
        """
        if len(self._leaves) == 1:
            return nested(self.space, iter([self._leaves[0].to_env(action)]))
        at = {CategoryLeaf: 0, NumberLeaf: len(self.categories)}
        values = []
        for leaf in self._leaves:
            begin = at[type(leaf)]
            at[type(leaf)] = begin + leaf.count
            values.append(leaf.to_env(action[:, begin : at[type(leaf)]]))
        return nested(self.space, iter(values))


def _leaf(part: gym.Space, normalise: bool) -> CategoryLeaf | NumberLeaf:
    if isinstance(part, spaces.Discrete):
        return CategoryLeaf(part, part.n, part.start)
    if isinstance(part, spaces.MultiDiscrete):
        return CategoryLeaf(part, part.nvec, part.start)
    if isinstance(part, spaces.MultiBinary):
        return CategoryLeaf(part, np.full(part.shape, 2), 0)
    assert isinstance(part, spaces.Box)
    if _is_whole(part) and part.is_bounded():
        sizes = part.high.astype(np.float64) - part.low + 1.0
        if (sizes <= MOST_VALUES).all():
            return CategoryLeaf(part, sizes, part.low)
    return NumberLeaf(part, normalise)


def _is_whole(space: spaces.Box) -> bool:
    return np.dtype(space.dtype).kind != "f"


def _like(values: NDArray[np.float64], x: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=x.dtype, device=x.device)


def _normal_distribution(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return torch.special.ndtr(torch.as_tensor(x)).numpy()
