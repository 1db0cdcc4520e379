"""``rllib export``: a trained agent as one file."""

from __future__ import annotations

from pathlib import Path

from rllib_metarl import checkpoints
from rllib_metarl.checkpoint import Checkpoint, find
from rllib_metarl.cli.output import check_writable, loading
from rllib_metarl.cli.running.ray_session import quiet
from rllib_metarl.errors import UserError


def export(
    checkpoint: Path, form: str, out: Path | None, plugins: tuple[str, ...], trust: bool
) -> int:
    """Write an agent as ONNX or TorchScript and say what it takes; returns the exit code.

    Raises:
        UserError: see `serving.export.export`.
    """
    path = find(checkpoint)
    forms = {"onnx": ".onnx", "torchscript": ".pt"}
    if form not in forms:
        raise UserError(f"--format {form}: choose {' or '.join(forms)}")
    out = out or Path(f"agent{forms[form]}")
    check_writable(out, "--out")
    loading()
    with quiet(), checkpoints.trusting(trust):
        from rllib_metarl.cli.experiment.catalogue import register_with_plugins
        from rllib_metarl.serving.export import export as write

        register_with_plugins(plugins)
        metadata = write(Checkpoint.open(path), form, out)
    print(f"inputs: {', '.join(metadata['inputs'])}")
    print(f"outputs: {', '.join(metadata['outputs'])}")
    print(f"{form}: {out}, {out.stat().st_size:,} bytes")
    return 0
