"""What a run's folder holds is read as it was written, and damage is told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_metarl.cli.main import main
from rllib_metarl.errors import UserError
from rllib_metarl.report.groups import tasks_of
from rllib_metarl.report.runs import read_runs
from tests.report.written import GRID, evaluation, result, seeds, write_run


def test_a_run_is_read_with_its_curves(tmp_path: Path) -> None:
    lines = [result(1, 100, 1.0), result(2, 200, 2.0, (200, 7.0)), result(3, 300, 3.0, (200, 7.0))]
    write_run(tmp_path, lines, algorithm="VariBAD", seed=4, env_config={"size": 4})
    (run,) = read_runs([tmp_path])
    assert (run.algorithm, run.env, run.seed, run.env_config) == ("VariBAD", GRID, 4, {"size": 4})
    assert (run.env_steps, run.iterations, run.wall_s) == (300, 3, 6.0)
    train = run.curves["train/return_mean"]
    assert (train.steps.tolist(), train.values.tolist()) == ([100, 200, 300], [1.0, 2.0, 3.0])
    # The third iteration only repeats the evaluation of the second.
    evaluated = run.curves["eval/return_mean"]
    assert (evaluated.steps.tolist(), evaluated.values.tolist()) == ([200], [7.0])
    assert run.last("vae/elbo") == pytest.approx(-1 / 3)
    assert run.last("top/kl") is None


def test_a_resumed_run_replaces_what_it_had_reported_beyond_its_checkpoint(tmp_path: Path) -> None:
    lines = [result(1, 100, 1.0), result(2, 200, 2.0, (200, 5.0)), result(3, 300, 3.0)]
    lines += [result(2, 200, 8.0, (200, 6.0)), result(3, 300, 9.0)]
    write_run(tmp_path, lines)
    (run,) = read_runs([tmp_path])
    assert run.curves["train/return_mean"].values.tolist() == [1.0, 8.0, 9.0]
    assert run.curves["eval/return_mean"].values.tolist() == [6.0]


def test_a_line_that_is_being_written_is_left_out_and_said(tmp_path: Path) -> None:
    place = write_run(tmp_path, [result(1, 100, 1.0)])
    with (place / "result.json").open("a") as file:
        file.write('{"training_iteration": 2, "env_ru')
    (run,) = read_runs([tmp_path])
    assert run.iterations == 1
    assert "line 2" in run.notes[0] and "unfinished" in run.notes[0]


def test_runs_that_have_not_reported_yet_do_not_hide_the_others(tmp_path: Path) -> None:
    write_run(tmp_path, [], trial="a")
    write_run(tmp_path, [result(1, 100, 1.0)], trial="b")
    assert len(read_runs([tmp_path])) == 1


def test_the_algorithms_name_is_taken_from_tunes_record(tmp_path: Path) -> None:
    place = write_run(tmp_path, [result(1, 100, 1.0)], algorithm="trial")
    trial = {"relative_logdir": place.name, "trainable_name": "HLTDynaMITE"}
    record = {"trial_data": [[json.dumps(trial), "{}"]]}
    (tmp_path / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps(record))
    assert read_runs([place])[0].algorithm == "HLTDynaMITE"


def test_an_evaluation_goes_to_the_run_whose_checkpoint_it_played(tmp_path: Path) -> None:
    first, second = seeds(tmp_path / "runs", (40.0, 41.0))
    file = tmp_path / "elsewhere.json"
    file.write_text(json.dumps(evaluation(second, 41.5)))
    runs = read_runs([tmp_path / "runs"], [file])
    values = {run.directory: (run.evaluation or {}).get("return_mean") for run in runs}
    assert values == {first: None, second: 41.5}


def test_an_evaluation_above_its_run_is_found(tmp_path: Path) -> None:
    first, second = seeds(tmp_path / "runs", (40.0, 41.0))
    (tmp_path / "runs" / "evaluation.json").write_text(json.dumps(evaluation(first)))
    for named in (tmp_path / "runs", first):
        runs = {run.directory: run.evaluation for run in read_runs([named])}
        assert runs[first] is not None and runs.get(second) is None


def test_groups_are_runs_that_differ_in_the_seed_alone(experiment: Path) -> None:
    (task,) = tasks_of(read_runs([experiment]))
    found = {group.label: [run.seed for run in group.runs] for group in task.groups}
    assert found == {"DynaMITE · session_masking=false": [0, 1], "DynaMITE": [0, 1, 2]}


def test_where_no_value_is_the_usual_one_every_label_tells_it(tmp_path: Path) -> None:
    seeds(tmp_path, (40.0,), session_masking=True)
    seeds(tmp_path, (30.0,), session_masking=False)
    (task,) = tasks_of(read_runs([tmp_path]))
    labels = ["DynaMITE · session_masking=false", "DynaMITE · session_masking=true"]
    assert [group.label for group in task.groups] == labels


def test_an_argument_that_only_shows_something_leaves_the_task_the_same(tmp_path: Path) -> None:
    for trial, env_config in {"a": {}, "b": {"show_posterior": True}, "c": {"size": 3}}.items():
        write_run(tmp_path, [result(1, 100, 1.0)], trial=trial, env_config=env_config)
    first, second = tasks_of(read_runs([tmp_path]))
    labels = ["DynaMITE · show_posterior=default", "DynaMITE · show_posterior=true"]
    assert [group.label for group in first.groups] == labels
    assert second.env_config == {"size": 3}


def test_a_seed_that_was_run_twice_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path, [result(1, 100, 1.0)], trial="a", seed=3)
    write_run(tmp_path, [result(1, 100, 1.0), result(2, 200, 2.0)], trial="b", seed=3)
    (task,) = tasks_of(read_runs([tmp_path]))
    assert [run.env_steps for run in task.groups[0].runs] == [200]
    assert "Seed 3 of DynaMITE was run twice" in task.notes[0]


def test_references_come_from_the_env_where_no_evaluation_tells_them(tmp_path: Path) -> None:
    write_run(tmp_path, [result(1, 100, 1.0)])
    (task,) = tasks_of(read_runs([tmp_path]))
    assert task.references["bayes"] == pytest.approx(46.15, abs=0.01)


def test_an_env_that_is_not_known_here_has_no_references_and_a_note(tmp_path: Path) -> None:
    write_run(tmp_path, [result(1, 100, 1.0)], env="Their/Env-v3")
    (task,) = tasks_of(read_runs([tmp_path]))
    assert task.references == {} and "no reference returns" in task.notes[0]


def test_a_plugin_makes_an_env_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs", [result(1, 100, 1.0)], env="Their/Grid-v0")
    (tmp_path / "their_grid.py").write_text(
        "import gymnasium\nfrom rllib_metarl.envs import gridworld\n"
        "gymnasium.register('Their/Grid-v0', gridworld.GridWorldEnv,"
        " vector_entry_point=gridworld.GridWorldVectorEnv)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["report", "runs", "--plugin", "their_grid"]) == 0
    assert "page: report.html (1 run, 1 task)" in capsys.readouterr().out
    assert "Bayes-optimal 46.15" in (tmp_path / "report.html").read_text()


def damaged_line(place: Path) -> None:
    (place / "result.json").write_text('{"a": 1}\nnot json\n{"a": 2}\n')


def binary_results(place: Path) -> None:
    (place / "result.json").write_bytes(b"\xff\xfe\x00\x80")


def no_settings(place: Path) -> None:
    (place / "params.json").unlink()


def damaged_settings(place: Path) -> None:
    (place / "params.json").write_text('{"env": ')


def list_as_evaluation(place: Path) -> None:
    (place / "evaluation.json").write_text("[]")


def short_meta_episode(place: Path) -> None:
    content = evaluation(place)
    del content["meta_episodes"][1]["decoded"][-1]
    (place / "evaluation.json").write_text(json.dumps(content))


def words_for_a_table(place: Path) -> None:
    content = evaluation(place) | {"calibration": {"reliability": "good"}}
    (place / "evaluation.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged_line, "result.json:2: not a JSON object, the file is damaged; delete that line"),
        (binary_results, "result.json: not a text file, it is damaged"),
        (no_settings, "params.json: missing"),
        (damaged_settings, "params.json:1: not valid JSON"),
        (list_as_evaluation, "evaluation.json: expected one JSON object, found list"),
        (short_meta_episode, "meta_episodes.1: decoded has 24 entries, expected 25"),
        (words_for_a_table, "calibration.reliability: Input should be a valid list"),
    ],
)
def test_damage_is_told_with_its_place(refused, tmp_path, damage, words) -> None:
    place = write_run(tmp_path, [result(1, 100, 1.0)])
    damage(place)
    assert words in refused(tmp_path, "--out", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_mistakes_are_told_with_the_mend(refused, tmp_path: Path) -> None:
    place = write_run(tmp_path / "runs", [result(1, 100, 1.0)])
    empty, file = tmp_path / "empty", tmp_path / "evaluation.json"
    empty.mkdir()
    other = write_run(tmp_path / "others", [result(1, 100, 1.0)], trial="x")
    file.write_text(json.dumps(evaluation(other)))
    assert "no such directory; give a run's" in refused(tmp_path / "none")
    assert "no results: there is no" in refused(empty)
    assert "is a file, expected a run's directory" in refused(place / "result.json")
    assert "a checkpoint of none of these runs" in refused(place, "--evaluation", file)
    assert "is a directory, expected a file name" in refused(place, "--out", empty)
    assert "--figures" in refused(place, "--figures", file)
    assert "no such file" in refused(place, "--evaluation", tmp_path / "missing.json")
    (place / "result.json").write_text("")
    assert "no training iteration has been reported yet" in refused(place)


def test_nothing_is_drawn_from_an_empty_list() -> None:
    with pytest.raises(UserError, match="no such directory"):
        read_runs([Path("/nowhere/at/all")])


ODD_NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 5_000,
    '"12"',
    "[1]",
    '{"a": 1}',
    "true",
]


@pytest.mark.parametrize("number", [*ODD_NUMBERS, "null", "1e308", "-0.0"])
def test_odd_numbers_in_a_record_are_left_out_and_the_others_shown(tmp_path: Path, number) -> None:
    lines = [result(i, 100 * i, 7.0, (100 * i, 9.0)) for i in (1, 2, 3)]
    place = write_run(tmp_path / "runs", lines, seed=1)
    file = place / "result.json"
    odd = file.read_text().splitlines()
    odd[1] = (
        f'{{"training_iteration": {number}, "num_env_steps_sampled_lifetime": {number}, '
        f'"time_total_s": {number}, "env_runners": {{"episode_return_mean": {number}}}, '
        f'"evaluation": {{"return_mean": {number}, "at_env_steps": {number}}}}}'
    )
    odd.append(odd.pop(1))  # the last line is what the run's own numbers are of
    file.write_text("\n".join(odd) + "\n")
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "runs"), "--out", str(page)]) == 0
    assert "DynaMITE" in page.read_text()


def test_reference_returns_may_have_names_of_ones_own(tmp_path: Path) -> None:
    place = write_run(tmp_path / "runs", [result(1, 100, 1.0, (100, 9.0))])
    told = {**evaluation(place), "references": {"my own": 12.5, "bayes": 46.15, "blind": "29.2"}}
    (place / "evaluation.json").write_text(json.dumps(told))
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "runs"), "--out", str(page)]) == 0
    assert "my own 12.50" in page.read_text()
