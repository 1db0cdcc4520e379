from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_metarl import checkpoints
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.protocol import evaluate_checkpoint, plain
from tests.algorithms.small import small_config


@pytest.fixture(scope="module")
def checkpoint(driver_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    algorithm = small_config("DynaMITE", held_out_seed=11).build_algo()
    algorithm.train()
    path = tmp_path_factory.mktemp("trial") / "checkpoint_000000"
    algorithm.save_to_path(str(path))
    algorithm.stop()
    return path


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint_000000"))


def test_an_evaluation_says_what_was_played_and_how_well(checkpoint: Path) -> None:
    result = evaluate_checkpoint(checkpoint, episodes=8)
    assert set(result) >= {"return_mean", "return_std", "normalised_score", "references"}
    assert (result["run"], result["env"]) == ("DynaMITE", "DLCMDP/GridWorld-v0")
    assert (result["episodes"], result["env_steps"]) == (8, 48)
    assert result["held_out_seed"] == 11 and result["checkpoint"] == str(checkpoint)
    references = result["references"]
    assert references["random"] < references["blind"] < references["bayes"] < references["oracle"]
    span = references["bayes"] - references["blind"]
    score = (result["return_mean"] - references["blind"]) / span
    assert result["normalised_score"] == pytest.approx(score)
    json.dumps(result)  # plain numbers


def test_an_evaluation_is_reproducible_and_its_seed_chooses_the_tasks(checkpoint: Path) -> None:
    first = evaluate_checkpoint(checkpoint, episodes=64)
    assert evaluate_checkpoint(checkpoint, episodes=64) == first
    other = evaluate_checkpoint(checkpoint, episodes=64, seed=12, quick=True)
    assert other["held_out_seed"] == 12 and other["return_mean"] != first["return_mean"]


def test_evaluation_during_training_plays_the_same_tasks(driver_ray: None, tmp_path: Path) -> None:
    config = small_config("VariBAD")
    config.evaluate_every_steps, config.held_out_episodes = 48, 16
    algorithm = config.build_algo()
    reported = algorithm.train()["evaluation"]
    path = algorithm.save_to_path(str(tmp_path / "checkpoint_000000"))
    algorithm.stop()
    result = evaluate_checkpoint(Path(path), episodes=16)
    for key in ("return_mean", "return_std", "normalised_score", "episodes", "env_steps"):
        assert reported[key] == pytest.approx(result[key]), key


def test_a_quick_evaluation_is_the_return_alone(checkpoint: Path) -> None:
    whole = evaluate_checkpoint(checkpoint, episodes=16)
    quick = evaluate_checkpoint(checkpoint, episodes=16, quick=True)
    assert set(whole) - set(quick) == {
        *("protocol", "belief", "calibration", "uncertainty", "termination"),
        *("absent", "meta_episodes"),
    }
    assert quick == {key: whole[key] for key in quick}


def test_progress_rises_and_names_what_is_done(checkpoint: Path) -> None:
    told: list[tuple[str, float]] = []
    evaluate_checkpoint(checkpoint, episodes=16, progress=lambda *news: told.append(news))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] == 0.0 and 0.7 < shares[-1] <= 1.0
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages[0] == "playing: held-out tasks" and "playing: both_pay" in stages
    assert "decoding the context" in stages


def test_too_few_meta_episodes_to_judge_a_belief_are_told(checkpoint: Path) -> None:
    result = evaluate_checkpoint(checkpoint, episodes=8)
    assert result["belief"] is None and result["uncertainty"] is None
    assert "8 meta-episodes are too few" in result["absent"]["belief"]
    assert result["protocol"]["return_by_context"]


def test_a_world_that_cannot_be_made_is_told(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="no setting 'siz'"):
        evaluate_checkpoint(checkpoint, episodes=2, variants={"small": {"siz": 2}})


def test_results_are_plain_and_hold_no_nan() -> None:
    told = plain({"a": np.float32(0.5), "b": [float("nan"), np.arange(2)], 3: (float("inf"), "x")})
    assert told == {"a": 0.5, "b": [None, [0, 1]], "3": [None, "x"]}
    assert type(told["a"]) is float


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint at .*nowhere.*no such folder"):
        evaluate_checkpoint(tmp_path / "nowhere")


def test_a_folder_around_the_checkpoint_names_the_one_inside(copy: Path) -> None:
    (copy.parent / "params.json").write_text("{}")  # as in a trial's folder
    with pytest.raises(UserError, match=r"is not a checkpoint.*Did you mean .*checkpoint_000000\?"):
        evaluate_checkpoint(copy.parent)


def test_an_empty_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a checkpoint.*checkpoint_XXXXXX"):
        evaluate_checkpoint(tmp_path)


@pytest.fixture
def pickled(copy: Path) -> Iterator[Path]:
    """A checkpoint that only pickles tell of, as earlier versions wrote them; it is trusted."""
    (copy / "policy.json").unlink()
    with checkpoints.trusting():
        yield copy


def test_a_checkpoint_of_pickles_alone_is_evaluated_as_one_of_plain_files(
    checkpoint: Path, pickled: Path
) -> None:
    plain_files = evaluate_checkpoint(checkpoint, episodes=8)
    assert evaluate_checkpoint(pickled, episodes=8) | {"checkpoint": str(checkpoint)} == plain_files


@pytest.mark.parametrize("content", [b"", b"\x80\x05garbage", b"not a pickle\n", pickle.dumps({})])
def test_a_damaged_pickled_description_is_told(pickled: Path, content: bytes) -> None:
    (pickled / "class_and_ctor_args.pkl").write_bytes(content)
    with pytest.raises(UserError, match="class_and_ctor_args.pkl.*damaged"):
        evaluate_checkpoint(pickled, episodes=2)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"algorithm": 3}'])
def test_a_damaged_description_is_told(copy: Path, content: str) -> None:
    (copy / "policy.json").write_text(content)
    with pytest.raises(UserError, match="policy.json cannot be read.*damaged"):
        evaluate_checkpoint(copy, episodes=2)


MODULE = "learner_group/learner/rl_module/default_policy/module_state.pkl"


@pytest.mark.parametrize("damage", ["gone", "cut short"])
@pytest.mark.parametrize(("kind", "name"), [("copy", "policy.npz"), ("pickled", MODULE)])
def test_damaged_weights_are_told(
    request: pytest.FixtureRequest, kind: str, name: str, damage: str
) -> None:
    folder: Path = request.getfixturevalue(kind)
    weights = folder / name
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="policy cannot be restored"):
        evaluate_checkpoint(folder, episodes=2)


def test_a_checkpoint_of_another_ray_is_told(copy: Path) -> None:
    file = copy / "rllib_checkpoint.json"
    metadata = json.loads(file.read_text()) | {"ray_version": "2.40.0"}
    file.write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="written with Ray 2.40.0.*ray==2.40.0"):
        evaluate_checkpoint(copy, episodes=2)


def test_a_checkpoint_of_rllibs_own_ppo_is_told(driver_ray: None, tmp_path: Path) -> None:
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0)
    algorithm = config.build_algo()
    path = algorithm.save_to_path(str(tmp_path / "checkpoint_000000"))
    algorithm.stop()
    with checkpoints.trusting(), pytest.raises(UserError, match="has no belief.*from_checkpoint"):
        evaluate_checkpoint(Path(path), episodes=2)


def test_at_least_one_meta_episode_is_played(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="episodes is 0"):
        evaluate_checkpoint(checkpoint, episodes=0)
