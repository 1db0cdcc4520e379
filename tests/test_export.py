"""An exported agent does what the agent does, without this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from rllib_metarl import load_agent
from rllib_metarl.cli.main import main
from rllib_metarl.envs import Stream
from rllib_metarl.errors import UserError
from rllib_metarl.sampling.envs import build_vector
from rllib_metarl.serving.export import METADATA, ExportedStep
from tests.algorithms.small import small_config, small_runner

EXAMPLE = "example:dynamite/gridworld"
TOLERANCE = 1e-5
ENVS, HORIZON = 168, 60
"""Together 10,080 steps."""


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "agent.onnx"
    assert main(["export", EXAMPLE, "--format", "onnx", "--out", str(out)]) == 0
    return out


def session_of(file: Path) -> tuple[Any, dict[str, Any]]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    told: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    return session, told


def begin(told: dict[str, Any], count: int) -> dict[str, Any]:
    """The inputs of a first step, from what the file alone tells."""
    width = told["action_space"]["n"]
    start = {
        "previous_action": np.zeros((count, width), np.float32),
        "previous_reward": np.zeros(count, np.float32),
        "inner_done": np.zeros(count, bool),
    }
    for part, value in told["initial_state"].items():
        start[part] = np.tile(np.asarray(value, np.float32), (count, 1))
    return start


def test_ten_thousand_steps_with_switches_are_those_of_the_agent(onnx_file: Path) -> None:
    """The file keeps a state of its own: what differs adds up."""
    session, told = session_of(onnx_file)
    agent, stream = load_agent(EXAMPLE), Stream(7, evaluation=True)
    env = build_vector("DLCMDP/GridWorld-v0", ENVS, {}, stream)
    observation, _ = env.reset()
    state, inputs, switches, worst = agent.initial_state(ENVS), begin(told, ENVS), 0, 0.0
    for _ in range(HORIZON):
        action, state = agent.act(observation, state)
        inputs["observation"] = np.asarray(observation, np.float32)
        got = dict(zip(told["outputs"], session.run(None, inputs), strict=True))
        assert np.array_equal(got["action"], action)
        assert state.belief is not None
        pairs = [(got["belief"], state.belief)]
        pairs += [(got[f"next_{part}"], value) for part, value in state.recurrent.items()]
        worst = max(worst, *(float(np.abs(one - two.numpy()).max()) for one, two in pairs))
        observation, reward, _, _, infos = env.step(action)
        switches += int(infos["switched"].sum())
        state = agent.observe(state, reward=reward)
        inputs = {part: got[f"next_{part}"] for part in told["initial_state"]} | {
            "previous_action": got["encoded_action"],
            "previous_reward": np.asarray(reward, np.float32),
            "inner_done": np.zeros(ENVS, bool),
        }
    env.close()
    assert switches > 500 and worst <= TOLERANCE


def test_the_file_tells_what_it_is(onnx_file: Path) -> None:
    _, told = session_of(onnx_file)
    assert (told["algorithm"], told["env"]) == ("DynaMITE", "DLCMDP/GridWorld-v0")
    assert told["action_space"] == {"n": 5} and len(told["observation_space"]["low"]) == 6
    assert told["rllib_metarl"] and told["latents"] == {"belief": [0, 5]}


def test_torchscript_is_the_same_step(tmp_path: Path) -> None:
    out = tmp_path / "agent.pt"
    assert main(["export", EXAMPLE, "--format", "torchscript", "--out", str(out)]) == 0
    extra = {f"{METADATA}.json": ""}
    traced = torch.jit.load(str(out), _extra_files=extra)
    told, step = json.loads(extra[f"{METADATA}.json"]), ExportedStep(load_agent(EXAMPLE).module)
    assert told["inputs"][0] == "observation" and told["format"] == "torchscript"
    with torch.no_grad():
        first, *rest = step.begin(3)
        outputs = [traced(first + 0.5, *rest), step(first + 0.5, *rest)]
    for one, two in zip(*outputs, strict=True):
        assert torch.allclose(one.float(), two.float(), atol=TOLERANCE)


def test_an_lstm_s_step_is_one_graph_of_tensors() -> None:
    """Its cell's state is an input and an output beside the hidden one."""
    config = small_config("DynaMITE", recurrent_cell="lstm")
    step = ExportedStep(small_runner(config).module)
    assert {"cell", "hidden"} <= set(step.parts)
    given = [torch.rand_like(x) if x.dtype == torch.float32 else x for x in step.begin(3)]
    traced = torch.jit.trace(step, step.begin(2), check_trace=False)
    for one, two in zip(traced(*given), step(*given), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["VariBAD", "HLTDynaMITE", "RL2", "LSTMA2C", "BlindPPO"])
def test_every_algorithm_is_exported(driver_ray: None, tmp_path: Path, name: str) -> None:
    one_step = {"num_epochs": 1, "minibatch_size": None} if name.startswith("LSTM") else {}
    algorithm = small_config(name, **one_step).build_algo()
    algorithm.save(str(tmp_path))
    algorithm.stop()
    out = tmp_path / "agent.onnx"
    assert main(["export", str(tmp_path), "--out", str(out)]) == 0
    session, told = session_of(out)
    step = ExportedStep(load_agent(tmp_path).module)
    inputs = dict(zip(told["inputs"], (part.numpy() for part in step.begin(3)), strict=True))
    kept = {one.name for one in session.get_inputs()}
    got = session.run(None, {name: value for name, value in inputs.items() if name in kept})
    for one, two in zip(got, step(*step.begin(3)), strict=True):
        assert np.allclose(one, two.detach().numpy(), atol=TOLERANCE)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--format", "pickle"), "choose onnx or torchscript"),
        (("--out", "/dev/null/x.onnx"), "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_told(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", EXAMPLE, *arguments]) == 2
    assert told in capsys.readouterr().err


def test_oracles_are_not_exported() -> None:
    class Oracle:
        needs_privileged = "context"

    with pytest.raises(UserError, match="an oracle is not exported: it needs the context"):
        ExportedStep(Oracle())
