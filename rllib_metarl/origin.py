"""What a run was made by: versions, commit and machine, in ``origin.json`` in its folder."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from rllib_metarl import __version__

ORIGIN = "origin.json"


@cache
def version() -> str:
    """This project's version, with the commit where the code is a checkout."""
    return f"rllib_metarl {__version__}{_commit()}"


def origin() -> dict[str, str]:
    """``version``, ``software`` and ``machine`` of this process."""
    import ray
    import torch

    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no GPU"
    return {
        "version": version(),
        "software": f"Python {platform.python_version()}, Ray {ray.__version__}, "
        f"torch {torch.__version__}",
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()}{gpu}",
    }


def _commit() -> str:
    """The commit that the code was checked out from, and whether it was changed; else nothing."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "describe", "--always", "--dirty=, changed since", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f", commit {said.stdout.strip()}" if said.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models and models[0] else platform.machine()
