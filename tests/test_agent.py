"""An agent that was taken away acts as it does in an evaluation."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_metarl import Checkpoint, checkpoints, load_agent
from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.cli.main import main
from rllib_metarl.envs.core.nested import rows_of, same
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from rllib_metarl.sampling.held_out import HeldOut
from rllib_metarl.serving import given
from rllib_metarl.serving.agent import Agent
from tests.algorithms.small import GRID, SMALL_GRID, small_config

ROOT = Path(__file__).resolve().parents[1]


def saved(name: str, folder: Path, **settings: Any) -> Path:
    algorithm = small_config(name, **settings).build_algo()
    module = algorithm.learner_group._learner.module["default_policy"]
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # an agent whose actions differ from state to state
        for value in module.policy.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))
    path = Path(algorithm.save_to_path(str(folder / "checkpoint_000000")))
    algorithm.stop()
    return path


@pytest.fixture(scope="module")
def checkpoint(shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("DynaMITE", tmp_path_factory.mktemp("trial"))


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_it_acts_and_believes_as_in_an_evaluation(
    shared_ray: None, tmp_path: Path, name: str
) -> None:
    one_step = {"num_epochs": 1, "minibatch_size": None} if name.startswith("LSTM") else {}
    path = saved(name, tmp_path, runners=int(name == "LSTMA3C"), **one_step)
    agent, count = load_agent(tmp_path), 8
    held_out = HeldOut(GRID, SMALL_GRID, count, 3)
    played = held_out.play(Checkpoint.open(path).module(), explore=True)
    held_out.close()
    state, actions = agent.initial_state(count), set()
    draws = {"explore": True, "generator": torch.Generator().manual_seed(3)}
    for t in range(len(played[0])):
        label = np.stack([e.labels[agent.needs][t] for e in played]) if agent.needs else None
        seen = np.stack([episode.observations[t] for episode in played])
        action, state = agent.act(seen, state, privileged=label, **draws)
        assert action.tolist() == [episode.actions[t] for episode in played]
        assert all(agent.action_space.contains(one) for one in action)
        expected = np.stack([episode.belief[t] for episode in played])
        assert np.allclose(state.belief, expected, atol=1e-6)
        state = agent.observe(state, reward=np.stack([e.rewards[t] for e in played]))
        actions |= set(action.tolist())
    assert len(actions) > 1


def test_an_evaluation_acts_with_the_agent_that_is_taken_away(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One acting path: what evaluate measures is what `act` would have done."""
    decided = []
    decide = Agent.decide

    def counted(agent: Agent, *args: Any, **settings: Any) -> Any:
        decided.append(agent)
        return decide(agent, *args, **settings)

    monkeypatch.setattr(Agent, "decide", counted)
    told = evaluate_checkpoint(checkpoint, 4, quick=True)
    steps = len(decided)
    assert steps == told["env_steps"] / 4
    agent = load_agent(checkpoint)
    agent.act(np.zeros(6), agent.initial_state())
    assert len(decided) == steps + 1


def test_a_mask_beside_the_observation_is_kept_to(checkpoint: Path) -> None:
    agent = load_agent(checkpoint)
    for choice in range(5):
        mask = np.arange(5) == choice
        action, _ = agent.act(np.zeros(6), agent.initial_state(), action_mask=mask)
        assert action == choice
    with pytest.raises(UserError, match="3 entries"):
        agent.act(np.zeros(6), agent.initial_state(), action_mask=[1, 1, 1])


def test_what_tuner_stores_is_trusted_as_what_the_command_stores(
    shared_ray: None, tmp_path: Path
) -> None:
    """Tune stores through `save`; nobody of the command line comes after it."""
    algorithm = small_config("VariBAD").build_algo()
    algorithm.train()
    algorithm.save(str(tmp_path))
    algorithm.stop()
    assert checkpoints.is_own(tmp_path)
    checkpoints.require_trust(tmp_path)  # what --restore asks for
    assert json.loads((tmp_path / "iteration.json").read_text())["training_iteration"] == 1
    agent = load_agent(tmp_path)
    agent.act(np.zeros(6), agent.initial_state())


def test_one_meta_episode_is_a_batch_without_its_dimension(checkpoint: Path) -> None:
    agent = Checkpoint.open(checkpoint).agent()
    single, several = agent.initial_state(), agent.initial_state(2)
    assert agent.belief(single) == {}
    rng = np.random.default_rng(0)
    for _ in range(6):
        seen = rng.random(agent.observation_space.shape, np.float32)
        action, single = agent.act(seen, single)
        actions, several = agent.act(np.stack([seen, 1.0 - seen]), several)
        assert action == actions[0] and agent.action_space.contains(action)
        one, two = agent.belief(single), agent.belief(several)
        assert one["mean"].shape == one["std"].shape == (2,) and two["mean"].shape == (2, 2)
        assert np.allclose(one["mean"], two["mean"][0], atol=1e-6) and (two["std"] > 0).all()
        single = agent.observe(single, reward=0.5, done=False)
        several = agent.observe(several, reward=[0.5, -1.0])


def test_a_state_is_a_value(checkpoint: Path) -> None:
    agent = load_agent(checkpoint)
    seen = np.zeros(agent.observation_space.shape)
    _, state = agent.act(seen, agent.initial_state())
    kept = agent.belief(state)["mean"].copy()
    agent.act(seen + 1.0, agent.observe(state, reward=1.0))
    assert np.array_equal(agent.belief(state)["mean"], kept)


def test_actions_are_drawn_from_a_generator_of_ones_own(checkpoint: Path) -> None:
    agent, seen = load_agent(checkpoint), np.zeros((64, 6))
    drawn = [
        agent.act(
            seen,
            agent.initial_state(64),
            explore=True,
            generator=torch.Generator().manual_seed(seed),
        )[0].tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_cannot_be_is_told(checkpoint: Path) -> None:
    agent = load_agent(checkpoint)
    begun, seen = agent.initial_state(), np.zeros(6)
    _, state = agent.act(seen, begun)
    earned = agent.observe(state, reward=1.0)
    several = agent.initial_state(2)
    foreign = dataclasses.replace(begun, action=torch.zeros(1, 3))
    for message, call in {
        "reward of the last action is unknown": lambda: agent.act(seen, state),
        "no action was taken yet": lambda: agent.observe(begun, reward=1.0),
        "reward is already known": lambda: agent.observe(earned, reward=1.0),
        "observation has shape (7,), expected (6,)": lambda: agent.act(np.zeros(7), begun),
        "observation has shape (6,), expected (2, 6)": lambda: agent.act(seen, several),
        "observation is not finite": lambda: agent.act(seen + np.nan, begun),
        "observation is ['1', ": lambda: agent.act(["1"] * 6, begun),
        "observation is None": lambda: agent.act(None, begun),
        "reward is 'one': expected numbers": lambda: agent.observe(state, reward="one"),
        "reward is '1': expected numbers": lambda: agent.observe(state, reward="1"),
        "reward is None": lambda: agent.observe(state, reward=None),
        "reward is not finite": lambda: agent.observe(state, reward=float("nan")),
        "reward is not finite in": lambda: agent.observe(state, reward=1e300),
        "reward has shape (2,), expected ()": lambda: agent.observe(state, reward=[1.0, 2.0]),
        "done is 'no'": lambda: agent.observe(state, reward=1.0, done="no"),
        "done is 2": lambda: agent.observe(state, reward=1.0, done=2),
        "done has shape (2,)": lambda: agent.observe(state, reward=1.0, done=[True, False]),
        "explore is 'no'": lambda: agent.act(seen, begun, explore="no"),
        "generator is a Generator": lambda: agent.act(
            seen, begun, explore=True, generator=np.random.default_rng(0)
        ),
        "state is a dict": lambda: agent.act(seen, {}),
        "state is a NoneType": lambda: agent.observe(None, reward=1.0),
        "state is a tuple": lambda: agent.belief(()),
        "state belongs to another agent": lambda: agent.act(seen, foreign),
        "batch_size is 0": lambda: agent.initial_state(0),
        "batch_size is 1.5": lambda: agent.initial_state(1.5),
        "batch_size is True": lambda: agent.initial_state(True),
        "batch_size is '2'": lambda: agent.initial_state("2"),
        "batch_size is 1000000000000": lambda: agent.initial_state(10**12),
        "None is not a path": lambda: load_agent(None),
        "'' is not a path": lambda: load_agent(""),
        "3 is not a path": lambda: Checkpoint.open(3),
        "~nobody-has/x: no such checkpoint": lambda: load_agent("~nobody-has/x"),
    }.items():
        with pytest.raises(UserError, match=re.escape(message)):
            call()


def test_what_an_env_gives_is_taken(checkpoint: Path) -> None:
    agent = load_agent(checkpoint)
    for reward, done in ((1, False), (np.float64(1.0), np.True_), ([1.0], 1), (torch.ones(1), 0)):
        _, state = agent.act(torch.zeros(6), agent.initial_state())
        assert agent.observe(state, reward=reward, done=done).reward.tolist() == [1.0]
    _, state = agent.act(np.zeros((2, 6), int), agent.initial_state(2))
    assert agent.observe(state, reward=(1, 2), done=[True, False]).reward.tolist() == [1.0, 2.0]


BYTES = spaces.Box(0, 255, (2,), np.uint8)
PAIR = spaces.Dict({"goal": spaces.Discrete(3, start=1), "seen": BYTES})


@pytest.mark.parametrize(
    ("space", "wrong", "right"),
    [
        (spaces.Discrete(3, start=1), [0, 4, 1.0, "1", None, [1]], 3),
        (spaces.MultiDiscrete([2, 3]), [[2, 0], [0, -1], [0.0, 1.0], [0]], [1, 2]),
        (spaces.MultiBinary(2), [[0, 0.5], [300, 0]], [0, 1]),
        (
            BYTES,
            [[0.5, 1], [256, 0], [-1, 0], [0, np.inf]],
            [0, 255.0],
        ),
        (spaces.Box(-1, 1, (), np.float32), [np.nan, "0", [0.0], 1j], 7.5),
        (PAIR, [{"goal": 1}, {"goal": 0, "seen": [0, 0]}, [1, 2], 3], {"goal": 1, "seen": [0, 9]}),
        (spaces.Tuple([spaces.Discrete(2)] * 2), [(0,), (0, 1, 1), 5, None, (0, 2)], (0, 1)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, gym.Space) else "",
)
def test_an_observation_lies_in_its_space(space: gym.Space, wrong: list[Any], right: Any) -> None:
    for value in wrong:
        with pytest.raises(UserError, match="^observation "):
            given.observations(space, value, None)
    batch = given.observations(space, right, None)
    (row,) = rows_of(space, batch)
    assert same(space, row, right)


def test_rllibs_own_recipe_says_what_is_missing(checkpoint: Path) -> None:
    module = Checkpoint.open(checkpoint).module()
    with pytest.raises(UserError, match="lacks 'previous_action'.*previous_reward.*load_agent"):
        module.forward_inference({"obs": torch.zeros(1, 1, 6)})
    batch = {
        "obs": torch.zeros(1, 1, 6),
        "previous_action": torch.zeros(1, 1, 5),
        "previous_reward": torch.zeros(1, 1),
        "state_in": module.initial_state(1),
    }
    assert module.forward_inference(batch)["action_dist_inputs"].shape == (1, 1, 5)


PAGE = ROOT / "docs" / "use-an-agent.md"


def test_the_pages_agent_that_adapts() -> None:
    code = PAGE.read_text().split("## Agents that adapt")[1].split("```python\n")[1].split("```")[0]
    code = code.replace("runs/maml", "example:maml/navigation2d").replace("range(20)", "range(2)")
    names = {"load_agent": load_agent, "env": gym.make("Navigation2D-v0")}
    before = load_agent("example:maml/navigation2d")
    exec(code, names)
    seen = np.zeros(2, np.float32)
    first, _ = before.act(seen, before.initial_state())
    adapted, _ = names["agent"].act(seen, names["agent"].initial_state())
    assert not np.allclose(first, adapted)


def test_the_pages_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    lines = [line.partition(" #")[0] for line in PAGE.read_text().splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("rllib ")]
    assert {command[0] for command in commands} == {"evaluate", "export"}
    for command in commands:
        shorter = ["--quick", "--episodes", "8"] if command[0] == "evaluate" else []
        words = [word.replace("CHECKPOINT", "example:dynamite/gridworld") for word in command]
        assert main([*words, *shorter]) == 0, capsys.readouterr().err
    assert (tmp_path / "agent.onnx").is_file()


def test_the_page_runs_and_starts_no_ray(checkpoint: Path, tmp_path: Path) -> None:
    text = PAGE.read_text()
    code = text.split("```python\n")[1].split("```")[0]
    code = code.replace("runs/checkpoint_000005", str(checkpoint))
    made = f"import gymnasium as gym, rllib_metarl.envs\nenv = gym.make({GRID!r}, **{SMALL_GRID})\n"
    end = "\nimport ray\nassert not ray.is_initialized() and 'mean' in agent.belief(state)\n"
    ended = subprocess.run(
        [sys.executable, "-c", made + code + end], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert gym.make(GRID, **SMALL_GRID).observation_space.shape == (6,)
