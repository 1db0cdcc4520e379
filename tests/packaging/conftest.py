"""Distributions built from a copy of the source, and an environment that has only them."""

from __future__ import annotations

import shutil
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.packaging.building import FOLDERS, LITTER, ROOT, Fresh, build, run


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source: building in the checkout would leave files there and find old ones."""
    copy = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=LITTER)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy2(file, copy)
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel") / "dist")


@pytest.fixture(scope="session")
def unpacked_sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("sdist")
    archive = build("sdist", source, base / "dist")
    with tarfile.open(archive) as tar:
        tar.extractall(base / "unpacked")
    (folder,) = (base / "unpacked").iterdir()
    return folder


@pytest.fixture(scope="session")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    env = Fresh(folder, tmp_path_factory.mktemp("elsewhere"))
    pip = (sys.executable, "-m", "pip", "--python", env.python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=env.elsewhere)
    # A path line adds a folder without reading the .pth files in it, so an editable install in the
    # running environment (a finder started by such a file) stays out. The wheel's folder is first.
    packages = [path for path in sys.path if path.endswith("-packages")]
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(packages) + "\n", encoding="utf-8")
    return env
