"""The metrics on agents of which one knows what they should get.

The exact filter wrapped as an agent is perfect by every measure. Three broken ones are each caught
by the measure that is meant for them, and look well by others.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rllib_metarl.evaluation.belief import probe
from tests.evaluation.toys import FilterAgent, Frozen, Overconfident, Shuffled, assessed

Result = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def small_probes() -> Any:
    """Beliefs of two numbers need no long fitting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "UPDATES", 60)
        yield


@pytest.fixture(scope="module")
def calibrated(small_probes: None) -> Result:
    return assessed(FilterAgent)


@pytest.fixture(scope="module")
def overconfident(small_probes: None) -> Result:
    return assessed(Overconfident)


@pytest.fixture(scope="module")
def frozen(small_probes: None) -> Result:
    return assessed(Frozen)


@pytest.fixture(scope="module")
def shuffled(small_probes: None) -> Result:
    return assessed(Shuffled)


# --- the calibrated one -------------------------------------------------------------------------


def test_the_filters_belief_is_right(calibrated: Result) -> None:
    belief = calibrated["belief"]
    assert abs(belief["nats_from_exact"]) < 0.005 and belief["kl_exact_to_decoded"] < 0.005
    for score, exact in belief["exact"].items():
        assert belief["probe"][score] == pytest.approx(exact, abs=0.005)
    assert belief["observation_alone"]["log_loss"] > belief["exact"]["log_loss"] + 0.1


def test_the_filters_belief_is_calibrated_and_so_is_what_it_foretells(calibrated: Result) -> None:
    calibration = calibrated["calibration"]
    assert calibration["ece"] < 0.015 and calibration["ece_exact"] < 0.015
    told = calibration["prediction"]
    assert told["ece"] < 0.015
    assert told["log_loss"] == pytest.approx(told["log_loss_exact"], abs=0.001)


def test_the_filter_is_as_uncertain_as_it_should_be(calibrated: Result) -> None:
    known = calibrated["uncertainty"]
    assert known["entropy_by_step"] == pytest.approx(known["entropy_by_step_exact"], abs=0.03)
    assert known["entropy_correlation"] > 0.98
    assert known["belief_entropy_correlation"] > 0.999
    # Among equally sure answers the probe's order is its own noise; a better one is luck.
    assert known["area_under_risk"] == pytest.approx(known["area_under_risk_exact"], abs=0.01)


def test_the_filter_knows_a_strange_world_as_well_as_can_be(calibrated: Result) -> None:
    table = calibrated["uncertainty"]["out_of_distribution"]
    assert set(table) == {"neither_pays", "both_pay", "switches_every_step"}
    for scores in table.values():
        assert scores["surprise"] == pytest.approx(scores["surprise_exact"], abs=0.02)
        assert scores["all_together"] > 0.9


def test_the_filter_tells_switches_as_well_as_can_be(calibrated: Result) -> None:
    told = calibrated["termination"]
    for score in ("auroc", "precision", "recall", "f1"):
        assert told[score] == pytest.approx(told[f"{score}_exact"], abs=0.002)
    assert told["auroc"] > 0.85 and told["precision"] > 0.95


def test_the_filter_follows_a_change_and_earns_what_can_be_earned(calibrated: Result) -> None:
    protocol = calibrated["protocol"]
    assert calibrated["normalised_score"] > 0.9
    assert protocol["recovery_steps"] <= 4
    for row in ("detection_delay", "detected"):
        assert protocol[row] == pytest.approx(protocol[f"{row}_exact"], abs=0.02)
    rewards = [row["mean"] for row in protocol["reward_since_switch"]]
    assert rewards[0] < 0.1 and max(rewards[3:]) > protocol["reward_before_switch"] - 0.1


def test_the_whole_is_json_without_holes_and_only_says_what_is_absent(calibrated: Result) -> None:
    json.dumps(calibrated, allow_nan=False)
    assert set(calibrated["absent"]) == {"protocol.inner_episode_returns"}


def test_recorded_meta_episodes_fit_together(calibrated: Result) -> None:
    shown = calibrated["meta_episodes"]
    assert len(shown) == 6
    for episode in shown:
        steps = episode["horizon"]
        for name in ("context", "session", "belief_mean", "belief_std", "decoded", "exact"):
            assert len(episode[name]) == steps + 1, name
        assert len(episode["rewards"]) == len(episode["actions"]) == steps
        np.testing.assert_allclose(np.sum(episode["decoded"], 1), 1, atol=1e-3)
        told, ideal = np.array(episode["termination"]), np.array(episode["termination_exact"])
        np.testing.assert_allclose(told, ideal, atol=1e-3)
        _rewarded_on_the_goal_that_pays(episode)


def _rewarded_on_the_goal_that_pays(episode: Result) -> None:
    places, goals = episode["frame"]["position"], episode["frame"]["goals"]
    for t, reward in enumerate(episode["rewards"]):
        paying = goals[int(episode["context"][t][0])]
        assert (reward == 1.0) == (places[t + 1] == paying)


def test_behind_connectors_there_is_neither_a_filter_nor_a_picture(small_probes: None) -> None:
    result = assessed(FilterAgent, altered="it acts through connectors", no_variants="no reason")
    told = "it acts through connectors: recorded observations are not the env's own"
    assert result["absent"]["exact"] == told
    assert result["absent"]["uncertainty.out_of_distribution"] == "no reason"
    assert "exact" not in result["belief"] and result["belief"]["probe"]["accuracy"] > 0.85
    assert result["meta_episodes"][0]["frame"] == {"kind": "none"}


# --- the broken ones ----------------------------------------------------------------------------


def test_overconfidence_is_caught_by_what_the_agent_foretells(
    calibrated: Result, overconfident: Result
) -> None:
    told = overconfident["calibration"]["prediction"]
    assert told["ece"] > 0.05
    assert told["log_loss"] > told["log_loss_exact"] + 0.1
    # A probe fixes it, for it can learn how sure to be: its scores do not see this fault.
    assert abs(overconfident["belief"]["nats_from_exact"]) < 0.005
    assert overconfident["return_mean"] == calibrated["return_mean"]


def test_a_frozen_belief_is_caught_by_what_can_be_decoded(frozen: Result) -> None:
    belief, protocol = frozen["belief"], frozen["protocol"]
    assert belief["nats_from_exact"] > 0.2 and belief["kl_exact_to_decoded"] > 0.2
    told = belief["observation_alone"]["log_loss"]
    assert belief["probe"]["log_loss"] == pytest.approx(told, abs=0.01)
    assert protocol["detected"] < 0.1 < 0.9 < protocol["detected_exact"]
    assert frozen["termination"]["auroc"] == pytest.approx(0.5)
    # It knows nothing and says so: calibration does not see this fault.
    assert frozen["calibration"]["prediction"]["ece"] < 0.05


def test_a_frozen_belief_does_not_grow_surer(frozen: Result) -> None:
    known = frozen["uncertainty"]
    assert np.ptp(known["entropy_by_step"]) < 0.01 < 0.2 < np.ptp(known["entropy_by_step_exact"])
    assert np.isnan(known["belief_entropy_correlation"])
    for scores in known["out_of_distribution"].values():
        assert scores["belief_entropy"] == pytest.approx(0.5)


def test_a_shuffled_belief_is_caught_by_every_score_against_the_truth(
    calibrated: Result, shuffled: Result
) -> None:
    belief, told = shuffled["belief"], shuffled["calibration"]["prediction"]
    assert belief["nats_from_exact"] > 0.2 and belief["probe"]["accuracy"] < 0.6
    assert told["ece"] > 0.2 and told["log_loss"] > told["log_loss_exact"] + 0.5
    assert shuffled["termination"]["auroc"] == pytest.approx(0.5, abs=0.05)
    # How sure it is looks as it should, on average: entropy alone does not see this fault.
    ours = shuffled["uncertainty"]["belief_entropy_by_step"]
    theirs = calibrated["uncertainty"]["belief_entropy_by_step"]
    assert ours == pytest.approx(theirs, abs=0.1)
    assert shuffled["uncertainty"]["belief_entropy_correlation"] < 0.5
