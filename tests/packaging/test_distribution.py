"""What is built and installed elsewhere is complete, and nothing of the checkout helps it."""

from __future__ import annotations

import ast
import re
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.packaging.building import ROOT, Fresh, build, run


def modules(base: Path, package: str) -> set[str]:
    """Return the wheel's names of all files a folder of the checkout must contribute."""
    wanted = {".py", ".yaml", ".xml", ".typed", ".html", ".css", ".js", ".gz"}
    files = (path for path in base.rglob("*") if path.suffix in wanted)
    return {f"{package}/{path.relative_to(base).as_posix()}" for path in files}


def contents(wheel: Path) -> set[str]:
    return {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    return Parser().parsestr(archive.read(name).decode())


def test_wheel_holds_every_source_file_under_its_import_name_and_nothing_else(
    source: Path, wheel: Path
) -> None:
    expected = modules(source / "rllib_metarl", "rllib_metarl")
    expected |= modules(source / "envs", "rllib_metarl/envs")
    expected |= modules(source / "tuned_examples", "rllib_metarl/tuned_examples")
    trained = (source / "rllib_metarl" / "trained").glob("*/*/*")
    expected |= {
        f"rllib_metarl/{file.relative_to(source / 'rllib_metarl').as_posix()}" for file in trained
    }
    assert contents(wheel) == expected


def test_wheel_built_from_the_sdist_is_the_same(
    wheel: Path, unpacked_sdist: Path, tmp_path: Path
) -> None:
    assert contents(build("wheel", unpacked_sdist, tmp_path / "dist")) == contents(wheel)


def test_metadata_has_the_one_version_and_allows_only_tried_rllib_releases(
    metadata: Message,
) -> None:
    source = (ROOT / "rllib_metarl" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    assert metadata["Version"] == version
    assert metadata["Requires-Python"] == ">=3.10"
    requires = metadata.get_all("Requires-Dist", [])
    assert "ray[rllib]<2.61,>=2.60" in requires
    assert any(line.startswith("torch") for line in requires)


def test_every_dependency_is_pinned_to_one_tried_version(metadata: Message) -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = {name.lower() for name in re.findall(r"^([\w.-]+)==[\w.]+", text, re.MULTILINE)}
    named = (re.match(r"[\w.-]+", line) for line in metadata.get_all("Requires-Dist", []))
    assert {found.group().lower() for found in named if found} <= pins


def test_package_is_imported_from_the_fresh_environment(fresh: Fresh) -> None:
    out = fresh.execute(
        "import rllib_metarl, rllib_metarl.envs, rllib_metarl.tuned_examples as t;"
        "print([rllib_metarl.__file__, rllib_metarl.envs.__file__, t.__file__])"
    )
    for file in ast.literal_eval(out.strip().splitlines()[-1]):
        assert Path(file).is_relative_to(fresh.folder), file


def test_envs_need_neither_ray_nor_torch(fresh: Fresh) -> None:
    out = fresh.execute(
        "import sys, rllib_metarl.envs; print([m for m in ('ray', 'torch') if m in sys.modules])"
    )
    assert out.strip() == "[]"


@pytest.mark.parametrize("name", ["DLCMDP/GridWorld-v0", "rllib_metarl.envs:DLCMDP/GridWorld-v0"])
def test_env_is_made_and_stepped(fresh: Fresh, name: str) -> None:
    register = "" if ":" in name else "import rllib_metarl.envs;"
    out = fresh.execute(
        f"import gymnasium; {register} env = gymnasium.make({name!r}); env.reset(seed=0);"
        "print(len(env.step(env.action_space.sample())))"
    )
    assert out.strip() == "5"


def test_the_reports_page_is_made_from_its_resources(fresh: Fresh) -> None:
    out = fresh.execute("from rllib_metarl.report.page import make_page; print(make_page([], 'T'))")
    assert "<title>T</title>" in out and "Plotly.react" in out and "--paper" in out


def test_every_tuned_example_is_loaded_as_a_resource(source: Path, fresh: Fresh) -> None:
    out = fresh.execute(
        "import yaml; from importlib.resources import files\n"
        "root, found = files('rllib_metarl.tuned_examples'), []\n"
        "for folder in (entry for entry in root.iterdir() if entry.is_dir()):\n"
        "    for file in (f for f in folder.iterdir() if f.name.endswith('.yaml')):\n"
        "        assert isinstance(yaml.safe_load(file.read_text('utf-8')), dict), file\n"
        "        found.append(f'{folder.name}/{file.name}')\n"
        "print(found)"
    )
    folder = source / "tuned_examples"
    expected = {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")}
    assert "dynamite/gridworld.yaml" in expected
    assert set(ast.literal_eval(out.strip())) == expected


def test_type_information_is_marked_as_shipped(fresh: Fresh) -> None:
    out = fresh.execute(
        "from importlib.resources import files;"
        "print(files('rllib_metarl').joinpath('py.typed').is_file())"
    )
    assert out.strip() == "True"


@pytest.mark.parametrize("program", ["rllib", "rllib-metarl"])
def test_command_answers_help(fresh: Fresh, program: str) -> None:
    out = run(fresh.folder / "bin" / program, "--help", cwd=fresh.elsewhere)
    assert "train" in out and "evaluate" in out
