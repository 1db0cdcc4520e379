"""A context encoder is fitted where only the context tells what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_metarl.errors import UserError
from rllib_metarl.learning.iida import (
    Transitions,
    draw,
    read_transitions,
    transitions_of,
    write_transitions,
)
from rllib_metarl.learning.iida_file import read_encoder, write_encoder
from rllib_metarl.learning.iida_fit import FitSettings, Shape, fit
from rllib_metarl.recording import Recording

SHAPE = Shape(latent_size=2, context_window=8, encoder_embedding=(32,), forward_hidden=(32, 32))


def masses(tasks: int = 60, steps: int = 24, context: bool = True, seed: int = 0) -> Transitions:
    """Points on a line that are pushed: s' = s + v, v' = v + a / mass; mass 0.5 to 2."""
    rng = np.random.default_rng(seed)
    mass = rng.uniform(0.5, 2.0, (tasks, 1, 1))
    action = rng.uniform(-1.0, 1.0, (tasks, steps, 1))
    velocity = np.cumsum(np.concatenate([np.zeros((tasks, 1, 1)), action / mass], 1), 1)
    place = np.cumsum(np.concatenate([np.zeros((tasks, 1, 1)), velocity[:, :-1]], 1), 1)
    state = torch.as_tensor(np.concatenate([place, velocity], 2), dtype=torch.float32)
    return Transitions(
        state[:, :-1].flatten(0, 1),
        torch.as_tensor(action, dtype=torch.float32).flatten(0, 1),
        state[:, 1:].flatten(0, 1),
        begin=torch.arange(tasks + 1) * steps,
        episode=torch.arange(tasks),
        context=torch.as_tensor(mass[:, 0], dtype=torch.float32) if context else None,
        about={"env": "line"},
    )


@pytest.fixture(scope="module")
def fitted() -> Any:
    told: list[tuple[str, int, int, float]] = []
    settings = FitSettings(epochs=30, batch_size=64, targets=8, lr=5e-3, held_out=0.2)
    return fit(masses(), SHAPE, settings, 0, lambda *news: told.append(news)), told


def test_what_comes_next_is_foretold_with_a_context_and_not_without(fitted: Any) -> None:
    report = fitted[0].report
    error = report["scaled_error"]
    assert error["with_context"] < 0.2 * error["without_context"]
    assert error["true_context"] < 0.2 * error["without_context"]
    by_transitions = report["scaled_error_by_transitions"]
    assert list(by_transitions) == ["1", "2", "4", "8"]
    assert by_transitions["8"] < by_transitions["1"]
    assert by_transitions["8"] == pytest.approx(error["with_context"])
    assert report["held_out_tasks"] == report["held_out_contexts"] == 12 and report["tasks"] == 48
    assert report["about"] == {"env": "line"}


def test_every_epoch_of_every_model_is_told(fitted: Any) -> None:
    report, told = fitted[0].report, fitted[1]
    assert {kind for kind, *_ in told} == {"with_context", "without_context", "true_context"}
    for kind, epochs in report["epochs"].items():
        assert [news[1] for news in told if news[0] == kind] == list(range(1, epochs + 1))
        lowest = [news[3] for news in told if news[0] == kind]
        assert lowest == sorted(lowest, reverse=True)
        assert lowest[-1] == pytest.approx(report["scaled_error"][kind])


def test_the_encoder_knows_the_mass(fitted: Any) -> None:
    data, encoder = masses(seed=5), fitted[0].encoder
    batch = draw(data, torch.arange(60), torch.full((60,), 8), 8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        context = encoder.of_set(*batch.support, batch.support_mask).numpy()
    assert data.context is not None
    design = np.column_stack([context, np.ones(60)])
    inverse = 1.0 / data.context[:, 0].numpy()
    fitted_line = design @ np.linalg.lstsq(design, inverse, rcond=None)[0]
    assert np.corrcoef(fitted_line, inverse)[0, 1] > 0.9


def test_it_stops_when_the_held_out_error_falls_no_more() -> None:
    settings = FitSettings(epochs=50, patience=2, lr=1e-9, compare=False)
    report = fit(masses(8), SHAPE, settings).report
    assert report["epochs"]["with_context"] < 50 and "without_context" not in report["error"]


def test_equal_seeds_give_equal_encoders_and_others_others() -> None:
    settings = FitSettings(epochs=1, compare=False)
    one, same, other = (fit(masses(8), SHAPE, settings, seed).encoder for seed in (1, 1, 2))
    for key, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[key])
    assert not torch.equal(one.phi[0].weight, other.phi[0].weight)


def test_without_contexts_whole_meta_episodes_are_held_out() -> None:
    data = masses(8, context=False)
    report = fit(data, SHAPE, FitSettings(epochs=1, held_out=0.25)).report
    assert report["held_out_by"] == "meta-episode" and report["held_out_tasks"] == 2
    assert set(report["error"]) == {"with_context", "without_context"}


def test_tasks_of_one_context_are_held_out_together() -> None:
    data = masses(12)
    assert data.context is not None
    data.context[:] = torch.tensor([1.0, 2.0, 3.0]).repeat(4)[:, None]
    report = fit(data, SHAPE, FitSettings(epochs=1, compare=False)).report
    assert (report["held_out_contexts"], report["held_out_tasks"], report["tasks"]) == (1, 4, 8)


def test_no_transition_is_both_seen_and_asked_for() -> None:
    data = masses(3, steps=10)
    support = torch.tensor([1, 4, 99])
    batch = draw(data, torch.arange(3), support, 4, torch.Generator().manual_seed(0))
    assert batch.support_mask.sum(1).tolist() == [1, 4, 6]
    assert batch.query_mask.sum(1).tolist() == [4, 4, 4]
    for task in range(3):
        rows = {tuple(row) for row in batch.query[0][task][batch.query_mask[task]].tolist()}
        others = {tuple(row) for row in batch.support[0][task][batch.support_mask[task]].tolist()}
        own = {tuple(row) for row in data.observation[task * 10 : task * 10 + 10].tolist()}
        assert not rows & others and (rows | others) <= own


def test_short_tasks_are_drawn_from_as_far_as_they_go() -> None:
    data = masses(2, steps=5)
    short = Transitions(
        data.observation, data.action, data.next_observation, torch.tensor([0, 2, 10]), data.episode
    )
    batch = draw(short, torch.arange(2), torch.tensor([8, 8]), 4, torch.Generator().manual_seed(0))
    assert batch.query_mask.sum(1).tolist() == [1, 4] and batch.support_mask.sum(1).tolist() == [
        1,
        4,
    ]


def test_sessions_are_tasks_and_steps_over_a_reset_are_none() -> None:
    both = np.ones((2, 1), np.int64)
    played = Recording(
        observations=np.stack([np.arange(14.0).reshape(7, 2)] * 2),
        actions=both * [0, 1, 0, 1, 0, 1],
        rewards=np.zeros((2, 6)),
        valid=np.ones((2, 6), bool),
        belief=np.zeros((2, 7, 0)),
        session=both * [0, 0, 0, 1, 1, 1, 1],
        inner_done=both * [0, 0, 1, 0, 0, 0, 0],
        context=np.stack([np.array([[3.0]] * 3 + [[5.0]] * 4)] * 2),
    )
    one_hot = lambda a: torch.nn.functional.one_hot(a, 2)  # noqa: E731
    data = transitions_of(played, one_hot)
    assert data.begin.tolist() == [0, 2, 5, 7, 10]
    assert data.episode.tolist() == [0, 0, 1, 1]
    assert data.context is not None and data.context.flatten().tolist() == [3.0, 5.0, 3.0, 5.0]
    assert data.observation[:5, 0].tolist() == [0.0, 4.0, 6.0, 8.0, 10.0]  # 2 -> 4 is the reset
    assert data.next_observation[:5, 0].tolist() == [2.0, 6.0, 8.0, 10.0, 12.0]
    assert data.action[:2].tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_files_come_back_as_they_were(fitted: Any, tmp_path: Path) -> None:
    data = masses(4)
    write_transitions(tmp_path / "folder" / "data.npz", data)
    again = read_transitions(tmp_path / "folder" / "data.npz")
    for name in ("observation", "action", "next_observation", "begin", "episode", "context"):
        assert torch.equal(getattr(data, name), getattr(again, name)), name
    assert again.about == {"env": "line"}
    with np.load(tmp_path / "folder" / "data.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "old.npz", following=arrays.pop("next_observation"), **arrays)
    old = read_transitions(tmp_path / "old.npz")  # the name in older files
    assert torch.equal(old.next_observation, data.next_observation)
    write_encoder(tmp_path / "encoder.pt", fitted[0])
    stored = read_encoder(tmp_path / "encoder.pt")
    assert stored.shape == SHAPE and stored.report == fitted[0].report
    encoder = stored.shape.encoder(stored.observation_size, stored.action_size)
    encoder.load_state_dict(stored.encoder)
    assert encoder.units.known and torch.equal(encoder.units.std, fitted[0].encoder.units.std)
    model = stored.shape.forward_model(stored.observation_size, stored.action_size)
    model.load_state_dict(stored.forward_model)


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("code of the file was run",)


def test_foreign_files_are_told_and_run_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for read, what in ((read_encoder, "no context encoder"), (read_transitions, "no transitions")):
        with pytest.raises(UserError, match="there is no such file"):
            read(tmp_path / "nothing")
        (tmp_path / "text").write_text("hello")
        with pytest.raises(UserError, match=what):
            read(tmp_path / "text")
        torch.save({"format": Harmful()}, tmp_path / "harmful")
        np.savez(tmp_path / "harmful.npz", about=np.array(Harmful(), object))
        for name in ("harmful", "harmful.npz"):
            with pytest.raises(UserError, match=what):
                read(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_too_few_contexts_and_settings_out_of_range_are_told() -> None:
    data = masses(6)
    assert data.context is not None
    data.context[:] = 1.0
    with pytest.raises(UserError, match="1 contexts with 2 or more transitions.*held out"):
        fit(data, SHAPE, FitSettings())
    for settings in ({"epochs": 0}, {"lr": -1.0}, {"held_out": 1.0}, {"targets": 2.5}):
        with pytest.raises(UserError, match=f"fit: {next(iter(settings))} is"):
            FitSettings(**settings)  # type: ignore[arg-type]
