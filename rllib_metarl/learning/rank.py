"""Several learners, one gradient: each takes its share of the rows, all take the same step.

Every learner holds all the data, so that normalisers, advantages, the trajectory buffer and the
order of the minibatches are the same in all of them without a word between them; only the forward
and backward passes, which cost the most, are divided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Rank:
    """Which of `count` learners this process is."""

    index: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Rank:
        """By torch's process group; the only one where there is none."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    def part(self, rows: int) -> slice:
        """This learner's part of `rows` rows; all of them where there are fewer than learners.

        (The mean over learners is the same then: all have the same gradient.)
        """
        return slice(self.index, None, self.count) if rows >= self.count else slice(None)

    def join_gradients(self, parameters: Iterable[Tensor], weight: Tensor) -> None:
        """Makes every learner's `.grad` the mean over all learners.

        g = sum_k w_k g_k / sum_k w_k, which is the gradient of the mean loss over all rows where
        the weight w_k is the number of terms that learner k's mean loss is over.
        """
        if self.count == 1:
            return
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters if p.grad is not None]
        weight = weight.to(gradients[0].dtype).reshape(1)
        summed = torch.cat([*(weight * g.flatten() for g in gradients), weight])
        distributed.all_reduce(summed)
        means = (summed[:-1] / summed[-1]).split([g.numel() for g in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean over learners of `values` `[...]`, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
            values /= self.count
        return values

    def begin_alike(self, module: torch.nn.Module) -> None:
        """Gives every learner the first one's parameters and buffers."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)


class SharedNoise:
    """Standard normal noise for rows that are divided: the same for a row however many learners.

    Args:
        rank: which rows are this learner's.
        seed: of the stream, which must be the same in all learners.
        device: where the noise is drawn.
    """

    def __init__(self, rank: Rank, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self._rank = rank
        self._rows: int | None = None

    def divide(self, rows: int | None) -> None:
        """From now on `like` is asked for this learner's part of `rows` rows; None: for all."""
        self._rows = rows

    def like(self, part: Tensor) -> Tensor:
        """Noise of the shape of `part` `[b, ...]`."""
        rows = len(part) if self._rows is None else self._rows
        noise = part.new_empty(rows, *part.shape[1:]).normal_(generator=self.generator)
        return noise if self._rows is None else noise[self._rank.part(rows)]
