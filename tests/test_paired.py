"""Paired differences by hand: beliefs of one campaign, campaigns of one belief, and `fogsim compare`."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from rich.console import Console

from fogsim.cli import main
from fogsim.errors import UserError
from fogsim.scoring.compare_report import print_comparison, to_dict
from fogsim.scoring.compared import compare
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.metrics import log_loss, paired_bootstrap
from fogsim.scoring.paired import paired
from fogsim.scoring.scores import Score
from tests.approaches import approach, record
from tests.scored import encounter

BAYES = {"driver": "fused, bayes"}


def at(rows, moment="10 m"):
    return [row for row in rows if row.moment == moment]


def campaign(seeds, p, truth=1, **given):
    return Score(tuple(encounter(seed, truth, given=given, kalman=p + 0.01 * seed, fused=0.6) for seed in seeds))


# Pairs


def test_seeds_are_averaged_and_paired_by_hand():
    one, seeds = np.array([[1.0], [3.0], [10.0], [7.0]]), [5, 5, 6, 8]
    other, others = np.array([[1.0], [np.nan], [4.0], [6.0]]), [6, 5, 5, 9]
    (found,) = paired(one, seeds, other, others)
    assert (found.n, found.one, found.other) == (2, 6.0, 2.5)  # seed 5: 2 less 4; seed 6: 10 less 1
    assert_allclose(found.difference, paired_bootstrap([-2.0, 9.0]))


def test_only_common_seeds_count_and_one_has_no_interval():
    (found,) = paired(np.array([[1.0], [5.0]]), [1, 2], np.array([[2.0], [9.0]]), [2, 3])
    assert (found.n, found.difference.mean) == (1, 3.0)
    assert math.isnan(found.difference.low)
    (nothing,) = paired(np.array([[1.0]]), [1], np.array([[1.0]]), [2])
    assert (nothing.n, math.isnan(nothing.one)) == (0, True)


def test_pairing_is_the_difference_of_means_and_turns_its_sign():
    rng = np.random.default_rng(2)
    a, b, seeds = rng.normal(size=(30, 2)), rng.normal(size=(30, 2)), rng.permutation(30)
    for there, back in zip(paired(a, seeds, b, seeds), paired(b, seeds, a, seeds), strict=True):
        assert there.difference.mean == pytest.approx(there.one - there.other)
        mean, low, high = back.difference
        assert_allclose(there.difference, (-mean, -high, -low), atol=1e-12)


# Beliefs of one campaign


def test_each_belief_is_set_against_the_fused():
    found = Score((encounter(1, 1, kalman=0.8, fused=0.9), encounter(2, 0, kalman=0.5, fused=0.2))).against
    (row,) = at(found)
    assert (row.belief, row.other, row.log_loss.n) == ("kalman", "fused", 2)
    assert_allclose(row.log_loss.difference, paired_bootstrap(np.log([0.9 / 0.8, 0.8 / 0.5])))
    assert_allclose(row.brier.difference, paired_bootstrap([0.04 - 0.01, 0.25 - 0.04]))
    assert len(found) == len(MOMENTS)


def test_only_encounters_in_which_both_are_known_count():
    missing = encounter(3, 1, kalman=0.8, fused=0.9)
    holes = np.array(missing.log_probs)
    holes[MOMENTS.index("10 m"), 1] = np.nan
    given = (
        encounter(1, 1, kalman=0.8, fused=0.9),
        encounter(1, 0, fused=0.9),  # the same seed, without kalman
        dataclasses.replace(missing, log_probs=holes),
    )
    (row,), (other,) = at(Score(given).against), at(Score(given).against, "15 m")
    assert (row.log_loss.n, other.log_loss.n) == (1, 2)
    assert row.log_loss.difference.mean == pytest.approx(math.log(0.9 / 0.8))


def test_without_the_fused_nothing_is_set_against_it():
    assert Score((encounter(1, 1, kalman=0.8),)).against == ()
    assert Score((encounter(1, 1, fused=0.8),)).against == ()


# Two campaigns


def test_campaigns_are_paired_on_seeds():
    found = compare(campaign(range(6), 0.5), campaign(range(3, 9), 0.7))
    assert found.seeds == (6, 6, 3)
    kalman, fused = at(found.beliefs)
    p, q = (start + 0.01 * np.arange(3, 6) for start in (0.5, 0.7))
    assert (kalman.belief, kalman.log_loss.n, fused.log_loss.difference.mean) == ("kalman", 3, 0.0)
    assert_allclose(kalman.log_loss.difference, paired_bootstrap(log_loss(p, 1) - log_loss(q, 1)))
    assert_allclose(kalman.brier.difference, paired_bootstrap((1 - p) ** 2 - (1 - q) ** 2))
    assert not found.settings_differ


def test_two_beliefs_of_one_campaign():
    both = campaign(range(4), 0.5)
    found = compare(both, both, ("kalman", "fused"))
    (row,) = at(found.beliefs)
    assert (row.belief, row.other, row.log_loss.n) == ("kalman", "fused", 4)
    assert_allclose(row.log_loss.difference, at(both.against)[0].log_loss.difference)
    assert [(a.who, a.other) for a in found.actions] == [("kalman", "fused")]
    assert found.drivers == ()


def test_actions_and_drivers_are_paired():
    proceeds = {"shadow_action": np.zeros((2, 2), int), "collided": True, "impact_speed": 8.0}
    found = compare(campaign(range(3), 0.5, **proceeds), campaign(range(3), 0.5, **BAYES))
    action = found.actions[0]  # 100 and a collision, less a brake at 1
    assert (action.cost.one, action.cost.other, action.cost.difference.mean) == (100.0, 1.0, 99.0)
    assert (action.collisions.difference.mean, action.needless_brakes.difference.mean) == (1.0, 0.0)
    (driver,) = found.drivers
    assert (driver.who, driver.other) == ("fused, open_loop", "fused, bayes")
    assert (driver.cost.difference.mean, driver.collisions.difference.mean) == (100.0, 1.0)


def test_a_driver_of_both_is_set_against_itself():
    more = Score((*campaign(range(3), 0.5).encounters, *campaign(range(3), 0.5, **BAYES).encounters))
    found = compare(more, campaign(range(3), 0.5, **BAYES))
    assert [(d.who, d.other, d.cost.n) for d in found.drivers] == [("fused, bayes", "fused, bayes", 3)]


def test_other_settings_are_said():
    found = compare(campaign(range(3), 0.5), campaign(range(3), 0.5, setting="thick fog"))
    console = Console(file=io.StringIO(), width=112)
    print_comparison(found, console)
    assert "the settings differ" in console.file.getvalue()
    assert "…" not in console.file.getvalue()
    assert to_dict(found)["settings_differ"] is True


def test_decision_points_of_other_places_are_said():
    here, there = campaign(range(3), 0.5), campaign(range(1, 4), 0.5, decision_left=10.0, **BAYES)
    found = compare(here, there)
    assert (found.decision_left.n, found.decision_left.one, found.decision_left.other) == (2, 15.0, 10.0)
    told = "the decision point lay 15.0 m before the object in the first, 10.0 m in the second"
    assert any(line.startswith(told) for line in to_dict(found)["remarks"])
    assert not any("decision point" in line for line in to_dict(compare(here, campaign(range(3), 0.5)))["remarks"])


def test_what_cannot_be_compared_is_refused_in_a_line():
    one = campaign(range(3), 0.5)
    with pytest.raises(UserError, match="no seed in common, of 3 encounters and of 1: drive both with the same --seed"):
        compare(one, campaign([7], 0.5))
    with pytest.raises(UserError, match="no belief 'kalmn' in the logs: did you mean 'kalman'"):
        compare(one, one, ("fused", "kalmn"))
    with pytest.raises(UserError, match="expected two"):
        compare(one, one, ("fused",))


# The command


def command(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return left.value.code


def test_the_command_compares_folders(tmp_path, capsys):
    for folder, p in (("a", 0.9), ("b", 0.7)):
        (tmp_path / folder).mkdir()
        for seed in range(2):
            record(tmp_path / folder / f"{seed}.h5", approach(p=p), seed + (folder == "b"))
    a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "c.json"
    assert command("compare", a, b, "--json", out) == 0
    told = capsys.readouterr().out
    assert "1 seed in common, of 2 and 2" in told
    rows = json.loads(out.read_text())["beliefs"]
    assert {row["belief"] for row in rows} == {"kalman", "fused"}
    assert all(row["log_loss"]["difference"]["low"] is None for row in rows)
    assert command("compare", a, b, "--json", out) == 2
    assert "exists already" in capsys.readouterr().err
    assert command("compare", a, b, "--json", tmp_path / "no" / "c.json") == 2
    refused = capsys.readouterr()
    assert (refused.out, "there is no folder" in refused.err) == ("", True)
    assert command("compare", a, a, "--filters", "kalman, fused") == 0
    told = capsys.readouterr().out
    assert "kalman " in told
    assert "- fused" in told
    assert command("compare", a, b / "1.h5") == 2
    assert capsys.readouterr().err.startswith("fogsim: no seed in common")
