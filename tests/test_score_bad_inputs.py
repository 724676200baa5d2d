"""What cannot be scored, or only in part: it is scored where that means something, and said where not."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from fogsim import log_file
from fogsim.errors import UserError
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.report import print_score, remarks, to_dict
from fogsim.scoring.scores import Score, score
from tests.approaches import approach, record
from tests.scored import encounter


def printed(result) -> str:
    """What the terminal shows; and the JSON is one."""
    json.dumps(to_dict(result), allow_nan=False)
    console = Console(file=io.StringIO(), width=112)
    print_score(result, console)
    assert "…" not in console.file.getvalue()
    return console.file.getvalue()


def at(result, belief="fused", moment="10 m"):
    return next(row for row in result.beliefs if (row.belief, row.moment) == (belief, moment))


def test_a_campaign_without_a_log_yet(tmp_path):
    (tmp_path / "campaign.json").write_text("{}")
    (tmp_path / "failures").mkdir()
    with pytest.raises(UserError, match=r"holds no log .*fogsim campaign"):
        score(tmp_path)


def test_a_bin_without_an_encounter_is_empty():
    part = Score(tuple(encounter(k, k % 2, 25.0, fused=0.4 + 0.1 * k) for k in range(4))).in_fog["above 30 m"]
    assert (part.encounters, part.beliefs, part.places, part.sureness, part.policies, part.drivers) == ((),) * 6


@pytest.mark.parametrize(("truth", "what"), [(0, "bag"), (1, "barrier")])
def test_one_class_only(truth, what):
    result = Score(tuple(encounter(k, truth, fused=0.3 + 0.1 * k) for k in range(4)))
    row = at(result)
    assert math.isnan(row.auc)
    assert (row.dsc.mean, row.unc) == (0.0, 0.0)
    assert row.brier == pytest.approx(row.mcb.mean)
    assert f"only {what}s were met: AUC and DSC need both classes" in remarks(result)
    assert "–" in printed(result)


def test_a_single_encounter_has_no_interval():
    result = Score((encounter(1, 1, kalman=0.7, fused=0.8),))
    row = at(result)
    assert (row.n, row.log_loss) == (1, pytest.approx(-math.log(0.8)))
    for interval in (row.gain, row.mcb, row.dsc, result.against[0].log_loss.difference, result.drivers[0].cost):
        assert np.isfinite(interval.mean)
        assert np.isnan(interval[1:]).all()
    assert "1 encounter, 1 with a barrier" in printed(result)


def test_a_seed_driven_twice_has_none_either():
    row = at(Score((encounter(1, 1, fused=0.8), encounter(1, 1, fused=0.7))))
    assert row.n == 2
    assert np.isnan([row.gain.low, row.mcb.high]).all()


def test_beliefs_that_are_no_number(tmp_path):
    """Kalman's from the second half on: it is scored before."""
    frames = approach()
    for k in range(15, len(frames)):
        holes = frames[k].log_probs.copy()
        holes[0] = np.nan
        frames[k] = dataclasses.replace(frames[k], log_probs=holes)
    record(tmp_path / "1.h5", frames, 1)
    record(tmp_path / "2.h5", approach(), 2)
    result = score(tmp_path)
    assert [at(result, name, "10 m").n for name in ("kalman", "fused")] == [1, 2]
    assert at(result, "kalman", "20 m").n == 2
    assert result.not_reached == dict.fromkeys(MOMENTS, 0)
    assert "kalman was no number in 1 of 2: not scored there" in remarks(result)
    assert np.isfinite(at(result, "kalman").log_loss)
    assert "kalman was no number" in printed(result)


def test_logs_of_an_earlier_schema_among_others(tmp_path, monkeypatch):
    """Those of schema 4 hold a NIS, but not of how many degrees of freedom."""
    given = {"nis": np.full((2, 2), 8.0), "nis_dof": np.full((2, 2), 9)}
    record(tmp_path / "new.h5", approach(**given), 1)
    columns = log_file.columns
    with monkeypatch.context() as patch:
        patch.setattr(log_file, "SCHEMA_VERSION", 4)
        patch.setattr(log_file, "columns", lambda level, version=4: columns(level, version))
        record(tmp_path / "old.h5", approach(**given), 2)
    result = score(tmp_path)
    place = next(row for row in result.places if (row.belief, row.moment) == ("fused", "10 m"))
    assert (place.n, place.nis.n, place.nis.mean, place.nis.dof) == (2, 1, 8.0, 9.0)
    assert at(result).n == 2
    assert [np.isnan(e.visibility_estimate).all() for e in result.encounters] == [False, True]
    told = "1 of 2 are of an earlier schema, without the degrees of freedom of NIS: it is not scored there"
    assert told in remarks(result)
    assert "an earlier schema" in printed(result)


@pytest.mark.parametrize("length", [1, 20, 30])
def test_a_killed_run_is_scored_as_far_as_it_came(tmp_path, length):
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "1.h5", approach()[:length], 1, fail=True)
    result = score(tmp_path)
    (e,) = result.encounters
    assert e.name == "1.h5.part"
    wanted = {1: [False] * 5, 20: [False, True, True, False, True], 30: [True] * 5}[length]
    np.testing.assert_array_equal(e.reached, wanted)
    assert result.drivers[0].n == 0
    assert result.sureness[0].never.mean == 1.0
    assert "1.h5.part has no end" in printed(result)


def test_a_run_killed_before_its_first_frame_is_left_out(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "1.h5", [], 1, fail=True)
    record(tmp_path / "2.h5", approach(), 2)
    result = score(tmp_path)
    assert [e.seed for e in result.encounters] == [2]
    assert "has no frame" in result.refused[0][1]


def test_fog_outside_of_a_card_is_said():
    driven = (encounter(1, 1, given={"outside_card": True}, fused=0.8), encounter(2, 0, fused=0.3))
    assert "1 of 2 met fog in which their calibration card was not fitted" in remarks(Score(driven))


def test_what_is_scored_together_though_it_differs_is_said():
    slower = {"driver": "fused, bayes", "decision_left": 10.1, "card": "12345678 of 500 encounters"}
    score_of_two = Score((encounter(1, 1, fused=0.8), encounter(1, 1, given=slower, fused=0.9)))
    assert remarks(score_of_two)[:3] == [
        "2 encounters share 1 seeds: exact intervals take them for independent, and are too narrow",
        "beliefs are recalibrated of 1 by none, of 1 by card 12345678 of 500 encounters: they are pooled",
        "the decision point lay before the object 15.0 m for (fused, open_loop), 10.1 m for (fused, bayes): beliefs "
        "there are of different places",
    ]
    assert to_dict(score_of_two)["remarks"] == remarks(score_of_two)
    assert [row.decision_left for row in score_of_two.drivers] == [15.0, 10.1]
    assert "10.1" in printed(score_of_two)
    alike = remarks(Score((encounter(1, 1, fused=0.8), encounter(2, 0, fused=0.9))))
    assert not any(word in line for line in alike for word in ("share", "pooled", "places"))


def test_a_place_without_a_spread_is_no_number_in_json():
    given = {"nees": np.full((len(MOMENTS), 1), np.inf), "crps": np.full((len(MOMENTS), 1, 2), 0.5)}
    result = Score(tuple(encounter(k, k % 2, given=given, fused=0.5) for k in range(3)))
    assert result.places[0].nees.mean == math.inf
    assert to_dict(result)["places"][0]["nees"]["mean"] is None
    assert "inf" in printed(result)
