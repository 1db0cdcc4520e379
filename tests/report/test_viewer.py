"""What the viewer shows at each step is what was recorded there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rllib_metarl.errors import UserError
from rllib_metarl.report.groups import tasks_of
from rllib_metarl.report.recorded import Recorded, check_evaluation
from rllib_metarl.report.runs import read_runs
from rllib_metarl.report.timeline import timeline
from rllib_metarl.report.viewer import MOST_EPISODES, Viewer, describe, make_viewer
from tests.report.written import evaluation, meta_episode, seeds


@pytest.fixture(scope="module")
def recorded(experiment: Path) -> list[dict[str, Any]]:
    (file,) = experiment.rglob("evaluation.json")
    return json.loads(file.read_text())["meta_episodes"]


@pytest.fixture(scope="module")
def viewer(experiment: Path) -> Viewer:
    made = make_viewer(tasks_of(read_runs([experiment]))[0])
    assert made is not None
    return made


def view(viewer: Viewer, key: str) -> Any:
    (found,) = [v for v in viewer.views if v.key == key]
    return found


def test_there_is_a_scene_and_a_text_for_every_step(viewer, recorded) -> None:
    steps = [len(episode["rewards"]) + 1 for episode in recorded]
    assert [len(texts) for texts in viewer.texts] == steps
    for one in viewer.views:
        assert [len(scenes) for scenes in one.scenes] == steps
        for figure in one.figures:
            assert len(one.scenes[0][0]) <= len(figure.data)


def test_the_grid_shows_where_the_agent_is_and_which_goal_pays(viewer, recorded) -> None:
    for number, episode in enumerate(recorded):
        for t, (pays, position) in enumerate(
            zip(episode["context"], episode["frame"]["position"], strict=True)
        ):
            paying, other, trail, agent = view(viewer, "grid").scenes[number][t]
            goals = episode["frame"]["goals"]
            assert [[paying["y"][0], paying["x"][0]]] == [goals[int(pays[0])]]
            assert [[other["y"][0], other["x"][0]]] == [goals[1 - int(pays[0])]]
            assert [agent["y"][0], agent["x"][0]] == position
            assert (trail["x"][-1], len(trail["x"])) == (agent["x"][0], min(t, 6) + 1)


def test_goals_carry_the_agents_and_the_exact_filters_probabilities(viewer, recorded) -> None:
    episode = recorded[0]
    goals = episode["frame"]["goals"]
    for t in range(25):
        for heat, who in zip(view(viewer, "goals").scenes[0][t], ("decoded", "exact"), strict=True):
            cells = [heat["z"][row][column] for row, column in goals]
            assert cells == pytest.approx(episode[who][t], abs=1e-5)
            assert sum(v is not None for row in heat["z"] for v in row) == 2
    names = [note.text for note in view(viewer, "goals").figures[0].layout.annotations]
    assert names == ["agent's belief", "exact filter"]


def test_the_posterior_has_mean_and_deviation_of_each_dimension(viewer, recorded) -> None:
    (change,) = view(viewer, "latent").scenes[1][7]
    assert change["x"] == [1, 2]
    assert change["y"] == pytest.approx(recorded[1]["belief_mean"][7], abs=1e-5)
    assert change["error_y"]["array"] == pytest.approx(recorded[1]["belief_std"][7], abs=1e-5)


def test_the_cursor_stands_at_the_step_in_every_row(viewer) -> None:
    assert view(viewer, "timeline").scenes[0][9] == [{"x": [9, 9]}] * 3


def test_the_timeline_has_truth_belief_and_switches(recorded) -> None:
    belief, switches, reward = timeline(Recorded.model_validate(recorded[0]))
    lines = {line.name: list(line.y) for line in (*belief.lines, *reward.lines)}
    assert lines["agent's belief"] == [row[1] for row in recorded[0]["decoded"]]
    assert lines["exact filter"] == [row[1] for row in recorded[0]["exact"]]
    assert lines["true context"] == [row[0] for row in recorded[0]["context"]]
    assert lines["reward"] == recorded[0]["rewards"]
    true = [line for line in switches.lines if line.name == "true switch"][0]
    assert list(true.x) == [t for t, switch in enumerate(recorded[0]["switched"]) if switch]
    assert true.x, "the meta-episode must have a switch to show"


def test_the_text_says_what_the_figures_show() -> None:
    raw = meta_episode(0)
    episode = Recorded.model_validate(raw)
    t = raw["switched"].index(1)
    text = describe(episode, t)
    row, column = raw["frame"]["position"][t]
    true = raw["classes"][int(raw["context"][t][0])]
    assert f"Step {t} of 24; reward of the last step {raw['rewards'][t - 1]:.2f}" in text
    assert f"agent in row {row}, column {column}; true context {true}; " in text
    assert f"session {raw['session'][t]}; " in text
    assert "the context has just been redrawn" in text
    assert "exact filter holds" in text


def test_an_agent_without_a_decoded_context_shows_its_latent(tmp_path: Path) -> None:
    (place,) = seeds(tmp_path, (40.0,))
    content = evaluation(place, episodes=1)
    for name in ("decoded", "exact", "termination", "termination_exact", "classes"):
        content["meta_episodes"][0][name] = None
    content["meta_episodes"][0]["frame"] = {"kind": "none"}
    (place / "evaluation.json").write_text(json.dumps(content))
    made = make_viewer(tasks_of(read_runs([tmp_path]))[0])
    assert made is not None
    assert [one.key for one in made.views] == ["latent", "timeline"]
    names = [trace.name for trace in view(made, "timeline").figures[0].data]
    assert "dimension 2" in names and "reward" in names


FITS = {
    "return": 1.0,
    "rewards": [1.0],
    "context": [[0.0], [1.0]],
    "truth": [0, 1],
    "belief_mean": [[0.0, 1.0]] * 2,
    "belief_std": [[1.0, 1.0]] * 2,
    "decoded": [[0.2, 0.8]] * 2,
    "exact": [[0.2, 0.8]] * 2,
    "classes": ["a", "b"],
    "frame": {"kind": "grid", "size": 2, "position": [[0, 0], [1, 1]], "goals": [[0, 1], [1, 0]]},
}


@pytest.mark.parametrize(
    "odd",
    [
        {"context": [[], []]},
        {"context": [[0.0], [float("nan")]]},
        {"truth": [0, 2]},
        {"truth": [0, -1]},
        {"belief_std": [[1.0]] * 2},
        {"belief_mean": [[0.0, 1.0], [0.0]]},
        {"decoded": [[0.2, 0.8], [1.0]]},
        {"exact": [[0.2, 0.7, 0.1]] * 2},
        {"decoded": [[], []], "exact": None, "classes": None},
        {"classes": ["a"]},
        {"classes": []},
        {"frame": {**FITS["frame"], "size": 1}},
        {"frame": {**FITS["frame"], "goals": [[0, -1]]}},
        {"frame": {**FITS["frame"], "size": 10**9}},
        {"frame": {**FITS["frame"], "position": [[0, 0]]}},
    ],
    ids=str,
)
def test_a_recording_that_does_not_fit_together_is_refused(odd: dict, tmp_path: Path) -> None:
    for change, right in (({}, True), (odd, False)):
        content = {"meta_episodes": [FITS | change]}
        if right:
            assert check_evaluation(content, tmp_path) == content
        else:
            with pytest.raises(UserError, match="this was not written by `rllib evaluate"):
                check_evaluation(content, tmp_path)


def test_many_classes_are_columns_of_agent_and_exact_filter(tmp_path: Path) -> None:
    (place,) = seeds(tmp_path, (40.0,))
    content = evaluation(place, episodes=1)
    episode = content["meta_episodes"][0]
    episode |= {"frame": {"kind": "none"}, "classes": ["a", "b", "c"]}
    episode |= {"decoded": [[0.2, 0.3, 0.5]] * 25, "exact": [[0.1, 0.1, 0.8]] * 25}
    (place / "evaluation.json").write_text(json.dumps(content))
    made = make_viewer(tasks_of(read_runs([tmp_path]))[0])
    assert made is not None
    (heat,) = view(made, "classes").scenes[0][3]
    assert heat["y"] == ["a", "b", "c"]
    assert heat["z"] == [[0.2, 0.1], [0.3, 0.1], [0.5, 0.8]]


def test_of_many_groups_a_few_meta_episodes_each_are_kept(tmp_path: Path) -> None:
    for gamma in (0.5, 0.6, 0.7, 0.8, 0.9):
        (place,) = seeds(tmp_path / str(gamma), (40.0,), gamma=gamma)
        (place / "evaluation.json").write_text(json.dumps(evaluation(place, episodes=3)))
    made = make_viewer(tasks_of(read_runs([tmp_path]))[0])
    assert made is not None
    assert len(made.labels) == 5 * (MOST_EPISODES // 5)
    assert len(set(made.labels)) == len(made.labels)
