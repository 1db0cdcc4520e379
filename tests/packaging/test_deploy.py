"""The cluster files: valid by their own schema where there is one, and calling what exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from rllib_metarl import __version__
from rllib_metarl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def commands(text: str) -> list[list[str]]:
    """The calls of `rllib train file` in a file, with what belongs to the shell left out."""
    joined = re.sub(r"\\\n\s*#?|\n\s{4,}(?=--)", " ", text)
    return [
        shlex.split(found, comments=True)
        for found in re.findall(r"rllib (train file [^'\n]+)", joined)
    ]


@pytest.mark.parametrize("name", ["ray-cluster.yaml", "rayjob.yaml"])
def test_what_is_called_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = commands((DEPLOY / name).read_text())
    assert found
    for command in found:
        example = command[2].partition("rllib_metarl/")[2] or command[2]
        assert (ROOT / example).is_file(), command
        options = [word for word in command if word.startswith("--")]
        assert main(["train", "file", "--help"]) == 0
        said = capsys.readouterr().out
        assert options and all(option in said for option in options), options


def test_the_cluster_file_is_valid_by_rays_own_schema() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(Exception, match="cluster_nam"):
        validate_config(prepare_config({**config, "cluster_nam": "mistyped"}))


def test_the_ray_job_asks_for_the_pinned_ray_and_mounts_what_it_writes_to() -> None:
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    storage = shlex.split(job["spec"]["entrypoint"])[-1]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        [container] = pod["containers"]
        [mount] = container["volumeMounts"]
        assert mount["mountPath"] == storage
        assert mount["name"] in [volume["name"] for volume in pod["volumes"]]


def test_the_image_of_the_ray_job_is_the_dockerfiles() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    [tag] = re.findall(r"docker build .* -t (\S+)", dockerfile)
    assert tag.endswith(f":{__version__}")
    assert set(re.findall(r"image: (\S+)", (DEPLOY / "rayjob.yaml").read_text())) == {tag}
    copied = [line.split()[1] for line in dockerfile.splitlines() if line.startswith("COPY")]
    assert all((ROOT / path).exists() for path in copied)
    # The job's file lies where the image has it.
    workdir = re.findall(r"^WORKDIR (/opt\S+)", dockerfile, re.MULTILINE)
    assert workdir and workdir[0] in (DEPLOY / "rayjob.yaml").read_text()


def test_the_slurm_script_is_bash() -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    assert 'rllib train file "$@" --ray-address' in text
    # Nothing starts without an experiment file; this is the script itself, outside of Slurm.
    ended = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert ended.returncode != 0 and "name an experiment file" in ended.stderr
