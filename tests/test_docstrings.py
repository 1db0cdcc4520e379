"""Whatever is public says what it does, and gives the shapes of arrays and the errors it raises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TREES = {
    path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8"))
    for folder in ("rllib_metarl", "envs")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
CLASSES: dict[str, list[ast.ClassDef]] = {}
for tree in TREES.values():
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            CLASSES.setdefault(node.name, []).append(node)
ARRAY = re.compile(r"Tensor|NDArray|ndarray|\bArray\b|ArrayLike")
SHAPE = re.compile(r"\[|shape|vector|number|scalar")
ERRORS = re.compile(r"raise|Raises|Error|Fault|refuse|make sure|makes sure", re.IGNORECASE)
Function = tuple[str, ast.FunctionDef, ast.ClassDef | None]


def functions() -> Iterator[Function]:
    """Public functions and methods; overrides are documented where they are first defined."""
    for path, tree in TREES.items():
        for holder in (tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))):
            cls = holder if isinstance(holder, ast.ClassDef) else None
            if cls is not None and cls.name.startswith("_"):
                continue
            for one in holder.body:
                if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"):
                    marks = [ast.unparse(mark) for mark in one.decorator_list]
                    if not any(re.search("override|overload|setter", mark) for mark in marks):
                        yield f"{path}:{one.lineno} {one.name}", one, cls


def bases(cls: ast.ClassDef) -> Iterator[ast.ClassDef]:
    for base in cls.bases:
        name = ast.unparse(base).split("[")[0].split(".")[-1]
        for found in CLASSES.get(name, []):
            if found is not cls:
                yield found
                yield from bases(found)


def inherited(one: ast.FunctionDef, cls: ast.ClassDef | None) -> bool:
    above = bases(cls) if cls is not None else ()
    return any(getattr(method, "name", "") == one.name for base in above for method in base.body)


def missing(one: ast.FunctionDef) -> list[str]:
    """What a docstring leaves out."""
    text = ast.get_docstring(one) or ""
    hints = [a.annotation for a in (*one.args.args, *one.args.kwonlyargs)] + [one.returns]
    arrays = any(ARRAY.search(ast.unparse(hint)) for hint in hints if hint is not None)
    raises = [n for n in ast.walk(one) if isinstance(n, ast.Raise) and n.exc is not None]
    abstract = all("NotImplementedError" in ast.unparse(n) for n in raises)
    left_out = ["shapes"] if arrays and not SHAPE.search(text) else []
    return left_out + (["errors"] if raises and not abstract and not ERRORS.search(text) else [])


def test_everything_public_has_a_docstring() -> None:
    bare = [
        where
        for where, one, cls in functions()
        if ast.get_docstring(one) is None and not inherited(one, cls)
    ]
    classes = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if ast.get_docstring(node) is None
    ]
    assert bare + classes == []


def test_docstrings_give_shapes_and_errors() -> None:
    judged = [(where, missing(one)) for where, one, _ in functions() if ast.get_docstring(one)]
    short = [f"{where}: {', '.join(what)}" for where, what in judged if what]
    assert len(short) <= 0.05 * len(judged), "\n".join(short)
