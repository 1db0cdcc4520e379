"""A trained agent as one file that runs without this project: ONNX or TorchScript.

One stateful step of N meta-episodes at once. Inputs: `observation [N, O]` (flat, see
`ObservationCodec`), `previous_action [N, A]` and `previous_reward [N]` of the transition that led
there, `inner_done [N]`, and the state, one input for each of its parts. Outputs: `action` in the
units of the env, `encoded_action` (the next step's `previous_action`), `belief [N, D]`, `logits`,
and the next state, each part as `next_<part>`. A meta-episode begins with zeros and the state
that the metadata name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rllib_metarl import __version__
from rllib_metarl.algorithms.base.stored_spaces import plain_space
from rllib_metarl.checkpoint import Checkpoint
from rllib_metarl.errors import UserError
from rllib_metarl.models.step import Inputs

METADATA = "rllib_metarl"
"""The key of the metadata in an ONNX file, and the extra file of a TorchScript one: JSON."""
SEEN = ("observation", "previous_action", "previous_reward", "inner_done")
TOLD = ("action", "encoded_action", "belief", "logits")


class ExportedStep(nn.Module):
    """One greedy step as a function of tensors alone; inputs and outputs as listed above.

    Args:
        module: a trained RLModule.

    Raises:
        UserError: it needs a label of the env, draws at random, or its actions are not exported.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        if module.needs_privileged:
            raise UserError(
                f"an oracle is not exported: it needs the {module.needs_privileged} at each step, "
                "which only the env it was trained in gives."
            )
        if module.draws:
            raise UserError(
                "this agent draws a latent as it acts, which an exported step, the same function "
                "each time, cannot do: load_agent and `rllib serve` take it."
            )
        self.module = module.eval()
        self.parts = sorted(module.initial_state(1))
        self.scale, self.shift, self.clipped = _units(module)

    def begin(self, count: int) -> tuple[Tensor, ...]:
        """Inputs of the first step, their observation zeros."""
        state = self.module.initial_state(count)
        seen = (
            torch.zeros(count, self.module.observation_width),
            torch.zeros(count, self.module.action_width),
            torch.zeros(count),
            torch.zeros(count, dtype=torch.bool),
        )
        return (*seen, *(state[part] for part in self.parts))

    def forward(
        self,
        observation: Tensor,
        previous_action: Tensor,
        previous_reward: Tensor,
        inner_done: Tensor,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        """See the top of the file."""
        module = self.module
        before = dict(zip(self.parts, state, strict=True))
        step = module.step(
            Inputs(observation, previous_action, previous_reward, before, inner_done=inner_done)
        )
        flat = module.actions.mode(step.logits)
        action = flat.clamp(-1.0, 1.0) if self.clipped else flat
        if self.scale is not None:
            action = action * self.scale
        if self.shift is not None:
            action = action + self.shift
        after = (step.state[part].clone() for part in self.parts)
        return (action, module.encode_action(flat), step.belief, step.logits, *after)


def _units(module: Any) -> tuple[Tensor | None, Tensor | None, bool]:
    """By what a flat action becomes the env's: factor, summand, whether it is clipped before."""
    space = module.action_space
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        start = np.asarray(getattr(space, "start", 0))
        return None, torch.as_tensor(start.ravel().squeeze()) if start.any() else None, False
    box = space if isinstance(space, spaces.Box) and space.is_bounded() else None
    if box is None or np.dtype(box.dtype).kind != "f" or not module.actions.normalise:
        raise UserError(
            f"actions in {str(space)[:200]} are not exported: load_agent acts in any space; export "
            "takes Discrete, MultiDiscrete, MultiBinary, and bounded Boxes of real numbers."
        )
    low, high = (torch.as_tensor(b.ravel(), dtype=torch.float32) for b in (box.low, box.high))
    return 0.5 * (high - low), 0.5 * (high + low), True


def export(checkpoint: Checkpoint, form: str, out: Path) -> dict[str, Any]:
    """Writes an agent as one file.

    Args:
        checkpoint: of one of this project's algorithms.
        form: ``onnx`` or ``torchscript``.
        out: the file.

    Returns:
        the metadata that are in the file: algorithm, env, spaces, names of inputs and outputs, the
        state that a meta-episode begins with, version.

    Raises:
        UserError: the agent or its actions cannot be exported, or what `form` needs is missing.
    """
    if checkpoint.is_rllibs:
        raise UserError(f"{checkpoint.path}: export is for this project's algorithms.")
    step = ExportedStep(checkpoint.agent().module)
    metadata = _metadata(checkpoint, step, form)
    with torch.no_grad(), _without_advice():
        (_write_onnx if form == "onnx" else _write_torchscript)(step, metadata, out)
    return metadata


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Torch's exporters warn of what is their own, and of packages that nothing here needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _metadata(checkpoint: Checkpoint, step: ExportedStep, form: str) -> dict[str, Any]:
    module, state = step.module, step.module.initial_state(1)
    return {
        "rllib_metarl": __version__,
        "format": form,
        "algorithm": checkpoint.name,
        "env": str(checkpoint.config.get("env")),
        "observation_space": plain_space(module.observation_space),
        "action_space": plain_space(module.action_space),
        "inputs": [*SEEN, *step.parts],
        "outputs": [*TOLD, *(f"next_{part}" for part in step.parts)],
        "initial_state": {part: state[part][0].tolist() for part in step.parts},
        "latents": {name: [part.start, part.stop] for name, part in module.latents.items()},
    }


def _write_onnx(step: ExportedStep, metadata: dict[str, Any], out: Path) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise UserError(
            f"--format onnx needs {error.name}: pip install 'rllib-metarl[export]', or take "
            "--format torchscript."
        ) from None
    example = step.begin(2)
    rows = torch.export.Dim("N", min=1)
    program: Any = torch.onnx.export(
        step,
        example,
        dynamo=True,
        input_names=metadata["inputs"],
        output_names=metadata["outputs"],
        dynamic_shapes=(*({0: rows} for _ in SEEN), tuple({0: rows} for _ in step.parts)),
        verbose=False,
    )
    model = program.model_proto
    model.producer_name, model.producer_version = METADATA, __version__
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    out.write_bytes(model.SerializeToString())


def _write_torchscript(step: ExportedStep, metadata: dict[str, Any], out: Path) -> None:
    traced = torch.jit.trace(step, step.begin(2), check_trace=False)
    torch.jit.save(traced, str(out), _extra_files={f"{METADATA}.json": json.dumps(metadata)})
