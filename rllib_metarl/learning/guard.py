"""Gradient steps that must not be made: those whose loss or gradient is not finite."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rllib_metarl.errors import UserError


class UpdateGuard:
    """Lets gradient steps through whose numbers are finite, and counts the others.

    A step that it holds back changes neither a parameter nor what an optimiser remembers.

    Args:
        most: how many steps in a row may be held back before training stops.

    Attributes:
        folder: where the batch of the last one is saved then.
        skipped: steps held back since `take_skipped` was last called.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.folder = Path(tempfile.gettempdir())
        self.skipped = 0
        self._in_a_row = 0

    def look_in(self, folder: Path) -> None:
        """Says in which folder a person will look for what is saved."""
        self.folder = folder

    def passes(self, loss: Tensor, norms: Sequence[Tensor]) -> bool:
        """Whether its loss `[]` and the norms `[]` of its gradients let a step be made."""
        # One number for all, because reading one makes the processor wait for an accelerator.
        finite = bool(torch.isfinite(loss.detach() + torch.stack(list(norms)).sum()))
        self._in_a_row = 0 if finite else self._in_a_row + 1
        self.skipped += not finite
        return finite

    def stop_if_too_many(
        self, batch: Any, groups: Sequence[str], parameters: Iterable[tuple[str, Tensor]]
    ) -> None:
        """Call after a step that did not pass.

        Args:
            batch: what the step was to learn from; its tensors are saved.
            groups: the optimisers that would have made it.
            parameters: names and parameters; which gradients were not finite is saved too.

        Raises:
            UserError: if it was the last of `most` in a row.
        """
        if self._in_a_row < self.most:
            return
        path = self._save(batch, groups, parameters)
        raise UserError(
            f"the loss or the gradient of the {' and '.join(groups)} parameters was NaN or "
            f"infinite in {self.most} updates in a row, none of which was made. {path} Lower lr or "
            "vae_lr, or bound the env's rewards and observations; training can be resumed from the "
            "last checkpoint."
        )

    def _save(
        self, batch: Any, groups: Sequence[str], parameters: Iterable[tuple[str, Tensor]]
    ) -> str:
        """Saves the evidence; a sentence on where, or why not."""
        path = self.folder / f"skipped-update-{time.strftime('%Y-%m-%d_%H-%M-%S')}.pt"
        gradients = {name: p.grad for name, p in parameters if p.grad is not None}
        record = {
            "batch": _tensors(batch),
            "optimisers": list(groups),
            "not_finite": [n for n, g in gradients.items() if not torch.isfinite(g).all()],
        }
        try:
            torch.save(record, path)
        except (OSError, RuntimeError) as error:
            return f"The batch could not be saved to {path}: {error}."
        return f"The last batch is in {path} (torch.load reads it with weights_only=True)."

    def take_skipped(self) -> int:
        """How many steps were held back since the last call."""
        count, self.skipped = self.skipped, 0
        return count


def _tensors(batch: Any) -> dict[str, Tensor]:
    """The tensors of a dict or a dataclass of them."""
    named = (
        {f.name: getattr(batch, f.name) for f in fields(batch)} if is_dataclass(batch) else batch
    )
    return {key: v.detach().cpu() for key, v in (named or {}).items() if isinstance(v, Tensor)}
