"""Whatever scripts, examples and tests import is there: a rename leaves none of them behind."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "examples", "tests", "docs", "tuned_examples")


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Module and name of every absolute import; of `try: import` only what is tried before."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def is_there(module: str, name: str | None) -> bool:
    """Whether a name can be imported; yes where its package is not installed at all."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        return True
    try:
        found = importlib.import_module(module)
        if name is not None and not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


def missing(paths: list[Path]) -> list[str]:
    """The imports of files that cannot be had."""
    asked: dict[tuple[str, str | None], Path] = {}
    for path in paths:
        for wanted in imports(ast.parse(path.read_text(encoding="utf-8"))):
            asked.setdefault(wanted, path)
    return [f"{path}: {wanted}" for wanted, path in asked.items() if not is_there(*wanted)]


def test_everything_imported_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > 100
    assert not missing(paths)


def test_a_name_left_behind_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "import numpy, rllib_metarl.nowhere\n"
        "from rllib_metarl.columns import CONTEXT_LABELS, MISLAID\n"
        "from rllib_metarl import checkpoints, errors\n"
    )
    found = [line.partition(": ")[2] for line in missing([path])]
    assert found == [
        "('rllib_metarl.nowhere', None)",
        "('rllib_metarl.columns', 'MISLAID')",
    ]


def modules() -> dict[str, Path]:
    """The package's modules by name."""
    folders = {"rllib_metarl": ROOT / "rllib_metarl", "rllib_metarl.envs": ROOT / "envs"}
    found = {}
    for package, folder in folders.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def test_no_module_imports_itself_through_others() -> None:
    """Imports within functions count: what needs one another belongs together, or apart."""
    known = modules()
    graph = {
        module: {
            other
            for place, name in imports(ast.parse(path.read_text(encoding="utf-8")))
            if (other := f"{place}.{name}" if f"{place}.{name}" in known else place) in known
        }
        for module, path in known.items()
    }
    assert len(graph) > 150
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
