"""The map of the site, what the workflows call, and what the base of all algorithms imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MADE = ("results/**/table.md", "results/*/disentanglement.md")
"""Parts of other pages, written by scripts."""


class _Plain(yaml.SafeLoader):
    """Takes mkdocs' own tags for what they hold."""


_Plain.add_multi_constructor("!", lambda loader, _, node: loader.construct_sequence(node))


def _pages(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    else:
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _pages(inner)


def test_the_sites_map_holds_every_page_once() -> None:
    mapped = list(_pages(yaml.load((ROOT / "mkdocs.yml").read_text(), _Plain)["nav"]))
    made = {path for pattern in MADE for path in DOCS.glob(pattern)}
    pages = [path.relative_to(DOCS) for path in DOCS.rglob("*.md") if path not in made]
    assert sorted(mapped) == sorted(map(str, pages))


def test_workflows_call_targets_that_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(path.read_text())["jobs"].values()
        commands = "\n".join(step.get("run", "") for job in jobs for step in job["steps"])
        assert set(re.findall(r"\bmake ([a-z]+)", commands)) <= targets, path.name
        for test in re.findall(r"tests/\S+\.py", commands):
            assert (ROOT / test).is_file(), f"{path.name}: {test}"


def test_what_all_algorithms_share_imports_no_algorithm_of_rllibs() -> None:
    base = ROOT / "rllib_metarl" / "algorithms" / "base"
    for path in base.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and "ray.rllib.algorithms" in (node.module or ""):
                assert str(node.module).endswith((".algorithm", ".algorithm_config")), path.name
