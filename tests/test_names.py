"""Who knows whom: what stands above knows algorithms and envs by what they offer, not by name."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

import rllib_metarl
from rllib_metarl.algorithms import ALGORITHMS, RUNGS
from rllib_metarl.envs import _NATIVE

ROOT = pathlib.Path(rllib_metarl.__file__).parent
ABOVE = ("evaluation", "report", "cli", "sampling", "learning")
HELP = ("cli/main.py", "cli/iida_commands.py", "report/metric_table.py")
"""What is shown as help: it names algorithms and envs as examples."""
EXAMPLE = re.compile(r"for example|nothing to train: |docs/")
FOLDERS = {entry.module.partition(".")[0] for entry in ALGORITHMS.values()}


def _names(tree: ast.AST) -> Iterator[str]:
    """String literals that are a name and nothing else, and modules that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _is_known(name: str) -> bool:
    parts = name.split(".")
    if parts[:2] == ["rllib_metarl", "algorithms"]:
        return len(parts) > 2 and parts[2] in FOLDERS
    if parts[:2] == ["rllib_metarl", "envs"]:
        return len(parts) > 2 and any(module.startswith(parts[2]) for module, _ in _NATIVE.values())
    return name in ALGORITHMS or name in _NATIVE


@pytest.mark.parametrize("room", ABOVE)
def test_no_room_above_names_an_algorithm_or_an_env(room: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for name in _names(ast.parse(path.read_text()))
        if _is_known(name)
    ]
    assert not found


def _sentences(tree: ast.AST) -> Iterator[str]:
    """String literals but docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    docs = {id(one.value) for one in bodies if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("room", ["evaluation", "report", "cli"])
def test_no_message_of_a_room_above_speaks_of_an_algorithm_or_an_env(room: str) -> None:
    names = [*ALGORITHMS, *_NATIVE, *RUNGS.keys() - {"blind", "oracle"}, "RL²"]
    named = re.compile("|".join(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])" for name in names))
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in sorted((ROOT / room).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in HELP
        for text in _sentences(ast.parse(path.read_text()))
        if named.search(text) and not EXAMPLE.search(text)
    ]
    assert not found


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_is_imported_from_its_folder_and_from_the_package(name: str) -> None:
    entry = ALGORITHMS[name]
    folder = importlib.import_module(f"rllib_metarl.algorithms.{entry.module.partition('.')[0]}")
    assert getattr(folder, entry.config_name) is entry.config()
    assert getattr(rllib_metarl, entry.config_name) is entry.config()
    assert getattr(rllib_metarl, entry.algorithm_name) is entry.algorithm()
    assert entry.config_name in dir(rllib_metarl)


def test_the_package_alone_imports_no_ray() -> None:
    loaded = "{'ray', 'torch'} & set(sys.modules)"
    code = f"import sys, rllib_metarl; dir(rllib_metarl); assert not {loaded}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
    with pytest.raises(AttributeError, match="has no attribute 'DynaMITEConfg'"):
        _ = rllib_metarl.DynaMITEConfg
