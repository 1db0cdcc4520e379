"""How the packaging tests build distributions and run programs away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("rllib_metarl", "envs", "tuned_examples")
LITTER = shutil.ignore_patterns("__pycache__", "*.pyc")


def clean_environ() -> dict[str, str]:
    """Return the environment without what could lead Python back to the checkout."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return env | {"PYTHONNOUSERSITE": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command in ``cwd`` and return what it printed; fail with all of it if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """Build ``kind`` ("wheel" or "sdist") of ``source`` into ``target``, without any network."""
    target.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    run(sys.executable, "-c", code, cwd=source)
    (made,) = target.iterdir()
    return made


@dataclass(frozen=True)
class Fresh:
    """An environment with the wheel in it and the dependencies of the running one."""

    folder: Path
    elsewhere: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def execute(self, code: str) -> str:
        """Run Python code from a folder that is not the checkout and return its output."""
        return run(self.python, "-c", code, cwd=self.elsewhere)
