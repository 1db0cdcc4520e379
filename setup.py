"""Packaging of rllib_metarl.

Three folders of the checkout become one import package: ``envs/`` and ``tuned_examples/`` are
top-level folders here and ``rllib_metarl.envs`` and ``rllib_metarl.tuned_examples`` when imported.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# Import name of each folder that lies beside the package instead of inside it.
MAPPED = {"rllib_metarl.envs": "envs", "rllib_metarl.tuned_examples": "tuned_examples"}
# What search algorithms beside random search need.
SWEEPS = ["bayesian-optimization>=2", "optuna>=4"]

# Environments of other projects that are light; docs/suites.md has them and heavier ones.
SUITES = ["highway-env>=1.10", "minigrid>=3", "popgym>=1"]

# What writes MP4.
VIDEO = ["av>=14"]
# What `rllib export --format onnx` writes with, and what runs that.
EXPORT = ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"]
# Experiment trackers (the key `loggers`); mlflow-skinny comes without what its SQLite file needs.
LOGGERS = ["alembic", "mlflow-skinny>=3.7", "sqlalchemy>=2", "wandb>=0.31"]


def version() -> str:
    """Return ``__version__`` without importing the package (its dependencies may be missing)."""
    source = (ROOT / "rllib_metarl" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if found is None:
        raise RuntimeError('rllib_metarl/__init__.py has no line __version__ = "..."')
    return found.group(1)


def packages() -> list[str]:
    """Return the import names of every package, from the package's folder and the mapped ones."""
    names = find_packages(str(ROOT), include=["rllib_metarl", "rllib_metarl.*"])
    for name, folder in MAPPED.items():
        names.append(name)
        names += [f"{name}.{inner}" for inner in find_packages(str(ROOT / folder))]
    return names


def readme() -> str:
    """Return the text of README.md, which is the long description."""
    path = ROOT / "README.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


setup(
    name="rllib-metarl",
    version=version(),
    description="Meta-reinforcement learning on tasks that change while the agent acts, on RLlib",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="rllib_metarl developers",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=packages(),
    package_dir=MAPPED,
    package_data={
        "rllib_metarl": ["py.typed"],
        "rllib_metarl.report": ["templates/*"],
        "rllib_metarl.trained": ["*/*/*"],
        "rllib_metarl.envs": ["**/*.xml"],
        "rllib_metarl.tuned_examples": ["**/*.yaml"],
    },
    # Private names of Ray are relied on (tests/test_ray_names.py lists them), so each release is
    # tried before it is allowed.
    install_requires=[
        "ray[rllib]>=2.60,<2.61",
        "torch>=2.3",
        "gymnasium",  # RLlib pins the exact version
        "imageio",  # gymnasium's own MuJoCo environments import it
        "jinja2",
        "matplotlib",
        "mujoco>=3.3",
        "numpy>=1.26",
        "plotly>=6",
        "scipy",
        "pydantic>=2",
        "pyyaml",
        "rich",
        "scikit-learn>=1.5",
        "tensorboard",
        "typer",
    ],
    extras_require={
        "suites": SUITES,
        "sweeps": SWEEPS,
        "video": VIDEO,
        "export": EXPORT,
        "loggers": LOGGERS,
        "serve": ["ray[serve]>=2.60,<2.61"],  # `rllib serve`
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=1", "ruff"],
        "dev": [
            *SWEEPS,
            *VIDEO,
            *EXPORT,
            "import-linter",
            "mypy",
            "playwright",  # drives the system's Chromium, in which the report's page is tested
            "pytest",
            "pytest-xdist",
            "ruff",
            "setuptools>=77",
            "types-PyYAML",
        ],
    },
    entry_points={
        "console_scripts": [
            "rllib = rllib_metarl.cli.main:main",
            "rllib-metarl = rllib_metarl.cli.main:main",
        ],
    },
)
