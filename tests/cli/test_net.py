"""Whatever a command meets, it ends with a line and an exit code, never with a bare traceback."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from rllib_metarl.cli import listing
from tests.cli.conftest import COMMAND, ROOT
from tests.fuzz.inputs import sweep_files

GOOD = "a: {run: DynaMITE, env: DLCMDP/GridWorld-v0, plugins: [PLUGIN]}"


@pytest.fixture
def ends(rllib, monkeypatch, tmp_path):
    """Runs `rllib list` while it raises something; returns what is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run(error):
        # No frame of this file is in the traceback.
        monkeypatch.setattr(listing, "show_list", Mock(side_effect=error))
        return rllib("list")

    return run


def test_a_bug_is_reported_as_ours_with_a_log(ends, tmp_path):
    ended = ends(KeyError("é"))
    assert ended.code == 70 and ended.err.count("\n") == 1
    assert "a bug in rllib_metarl, not a mistake of yours: KeyError: 'é'" in ended.err
    assert "CONTRIBUTING.md" in ended.err
    log = Path(re.search(r"the traceback is in (\S+)", ended.err).group(1))
    assert log.parent == tmp_path
    written = log.read_text()
    assert "Traceback" in written and "KeyError: 'é'" in written and "rllib 'list'" in written


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 2, "error: /x: No space left"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "y" * 10**6), 2, "File name too long"),
        (MemoryError(), 2, "not enough memory"),
        (SystemExit(0), 70, "called sys.exit(0)"),
        (RecursionError("maximum"), 70, "RecursionError"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    ],
)
def test_what_is_the_machines_or_the_users_has_a_code_of_its_own(ends, error, code, told):
    ended = ends(error)
    assert ended.code == code and told in ended.err
    assert "Traceback" not in ended.err and len(ended.err) < 1_000


PLUGINS = {
    "exits": ("import sys; sys.exit(0)", "it calls sys.exit(0); put what it runs below"),
    "exits_with_words": ("raise SystemExit('no licence')", "it calls sys.exit('no licence')"),
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "raises_anything": ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x"),
    "is_no_python": ("def", "SyntaxError"),
    "lacks_something": ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_fails_in_any_way_is_named(name, rllib, tmp_path, monkeypatch):
    content, told = PLUGINS[name]
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"plug_{name}.py").write_text(content)
    file = tmp_path / "x.yaml"
    file.write_text(GOOD.replace("PLUGIN", f"plug_{name}"))
    ended = rllib("train", "file", file, "--check")
    assert ended.code == 2 and ended.out == "loading RLlib\n"
    assert ended.err.startswith(f"error: {file}:1: plugin module 'plug_{name}' cannot be imported")
    assert told in ended.err and ended.err.count("\n") == 1


ENVS = {
    "exits": ("import sys; sys.exit(3)", "called sys.exit(3)"),
    "raises": ("raise KeyError('joint')", "KeyError: 'joint'"),
}


@pytest.mark.parametrize("name", ENVS)
def test_code_of_the_user_is_named_where_it_fails(name, rllib, tmp_path, monkeypatch):
    line, told = ENVS[name]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(listing, "show_list", lambda *asked: __import__(f"code_{name}").f())
    (tmp_path / f"code_{name}.py").write_text(f"def f():\n    {line}\n")
    ended = rllib("list")
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert ended.err.startswith(f"error: {tmp_path / f'code_{name}.py'}:2: {told}")
    assert "the traceback is in" in ended.err


def test_every_name_can_be_used_under_an_ascii_locale(tmp_path):
    """File names and what is printed, in a process that was told to know neither."""
    folder = tmp_path / "é ü" / "mine"
    for name, content in sweep_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    environment = os.environ | {
        **{
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "ascii",
            "PYTHONCOERCECLOCALE": "0",
        },
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    environment.pop("LANG", None)
    ended = subprocess.run(
        [*COMMAND, "sweep", "best", str(folder), "--out", str(tmp_path / "ö.yaml")],
        **{"env": environment, "capture_output": True, "cwd": tmp_path, "timeout": 300},
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert (tmp_path / "ö.yaml").is_file()
    assert b"\\xf6.yaml" in ended.stdout and ended.stdout.isascii()


def test_nobody_need_read_to_the_end():
    """As in `rllib list | head -1`."""
    script = "import sys; from rllib_metarl.cli.main import main; sys.exit(main(['list']))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-c", script],
            **{"stdout": closed, "stderr": subprocess.PIPE, "env": environment, "timeout": 300},
        )
    assert ended.returncode == 141 and ended.stderr == b""
