"""Cards from made-up campaigns whose distortion is known, and what the command refuses."""

import dataclasses
import json
from functools import partial

import h5py
import numpy as np
import pytest
from scipy.special import expit, logit

from filters.belief import LOG_ODDS_LIMIT
from filters.calibration import Calibrator
from filters.card import Recalibration, recalibrated
from filters.conformal import mean_threshold, misses_interval, pac_threshold
from filters.spec import Belief, Gaussian
from fogsim import cards
from fogsim.calibrating import fit_card, fit_maps, halves, hashed, said, score
from fogsim.campaigns import seed_of
from fogsim.cli import main
from fogsim.commands import record as drive
from fogsim.errors import UserError
from fogsim.log import Replay
from fogsim.runner import check
from fogsim.scenario import Driver, Hazard, Scenario
from fogsim.scoring.course import COURSE, Course
from fogsim.scoring.encounters import MOMENTS
from tests import scored
from tests.frames import assert_same

SLOPES = (0.4, 1.0, 2.5)  # of what beliefs say, by fog bin: below 20 m, to 30 m, above
FOG = (15.0, 25.0, 40.0)
OVERLAP = 0.9
MEAN = partial(mean_threshold, alpha=0.05)


def campaign(n, seed=0, spread=2.0, offset=0.0):
    """Encounters in which one belief's log-odds are as far off as `SLOPES` say, of L growing towards the object."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        fog, truth = int(rng.integers(3)), int(rng.random() < 0.5)
        sign = 2 * truth - 1
        L = rng.normal(sign * 0.5 * spread**2, spread, len(MOMENTS)) + offset  # of likelihood ratios, so calibrated
        p = expit(L / SLOPES[fog])
        course = np.cumsum(rng.normal(sign * 0.05, np.sqrt(0.1), len(COURSE))) / SLOPES[fog]
        given = {
            "log_probs": np.log(np.stack([1 - p, p], axis=-1))[:, None],
            "in_path_belief": OVERLAP * p[:, None],
            "course": Course(expit(course)[:, None], *np.full((2, 1), np.nan), np.zeros(1, int), np.full(1, np.nan)),
        }
        found.append(scored.encounter(1000 * seed + k, truth, FOG[fog], given, kalman=0.5))
    return found


def test_each_fog_bin_learns_its_own_slope():
    maps = fit_maps(said(campaign(3000), 0), "platt")
    assert [m.parameters[0] for m in maps] == pytest.approx(SLOPES, rel=0.1)
    assert [m.parameters[1] for m in maps] == pytest.approx([0.0] * 3, abs=0.12)


def test_a_bin_with_too_few_of_a_class_takes_what_all_fog_taught():
    found = [e for e in campaign(600) if e.visibility != 40.0 or e.truth == 1]
    maps = fit_maps(said(found, 0), "temperature")
    alone = fit_maps(said([e for e in found if e.visibility == 15.0], 0), "temperature")
    assert maps[0] == alone[0]
    assert maps[2] not in (maps[0], maps[1])
    assert min(m.parameters[0] for m in maps[:2]) < maps[2].parameters[0]


def test_an_encounter_counts_once_however_many_moments_it_reached():
    """Those that reached one moment only, and twice as far off, weigh as much as those that reached four."""
    found = campaign(2000)
    half = [k for k, e in enumerate(found) if k % 2 and e.visibility == 25.0]
    log_odds, _, truth = said(found, 0)
    log_odds = log_odds.copy()
    log_odds[half, 0] = log_odds[half, 0] / 4.0
    log_odds[half, 1:] = np.nan
    both = fit_maps(said(found, 0)._replace(log_odds=log_odds), "temperature")[1].parameters[0]
    once = [e for e in found if e.visibility == 25.0]
    rows = [k for k, e in enumerate(found) if e.visibility == 25.0]
    flat = log_odds[rows]
    weight = np.isfinite(flat) / np.isfinite(flat).sum(axis=1, keepdims=True)
    assert len(once) == len(rows)

    def loss(a):
        L = np.where(np.isfinite(flat), flat, 0.0)
        return (weight * np.logaddexp(0.0, -(2 * truth[rows][:, None] - 1) * a * L)).sum() + (a - 1.0) ** 2 / 18.0

    grid = np.linspace(both - 0.2, both + 0.2, 41)
    assert grid[int(np.argmin([loss(a) for a in grid]))] == pytest.approx(both, abs=0.006)


def test_what_sets_the_threshold_played_no_part_in_the_maps():
    """Whatever the others say, the maps are those of one half, and that half is the same in any order."""
    found = campaign(300)
    teaching, others = halves(found)
    assert sorted(e.seed for e in [*teaching, *others]) == [e.seed for e in found]
    assert len(teaching) == len(others) == 150
    assert halves(found[::-1]) == (teaching, others)
    (own,) = fit_card(found, "platt", MEAN, 25.0).recalibrations
    assert own.calibrators == fit_maps(said(teaching, 0), "platt")


def test_the_threshold_is_the_kth_barriers_recalibrated_probability_of_standing_in_the_path():
    found = campaign(400)
    card = fit_card(found, "temperature", MEAN, 25.0)
    (own,) = card.recalibrations
    barriers = [e for e in halves(found)[1] if e.truth and e.in_path]
    q = [OVERLAP * own.calibrators[FOG.index(e.visibility)].probability(e.p_barrier[0, 0]) for e in barriers]
    k = int(0.05 * (len(barriers) + 1))
    assert (own.threshold.k, own.threshold.n) == (k, len(barriers))
    assert own.threshold.value == pytest.approx(np.sort(q)[k - 1])
    assert score(barriers[0], 0, own.calibrators) == pytest.approx(q[0])


def test_fresh_barriers_are_missed_as_often_as_the_threshold_promises():
    card = fit_card(campaign(800, seed=1), "temperature", MEAN, 25.0)
    (own,) = card.recalibrations
    fresh = [e for e in campaign(800, seed=2) if e.truth]
    missed = sum(score(e, 0, own.calibrators) < own.threshold.value for e in fresh)
    low, high = misses_interval(own.threshold.k, own.threshold.n, len(fresh))
    assert low <= missed <= high
    assert 0 < low < high < 0.15 * len(fresh)


def test_too_few_barriers_for_the_guarantee_always_brake():
    (own,) = fit_card(campaign(80), "temperature", partial(pac_threshold, alpha=0.05), 25.0).recalibrations
    assert (own.threshold.k, own.threshold.value) == (0, 0.0)


def test_the_rate_is_the_drift_of_recalibrated_log_odds():
    (own,) = fit_card(campaign(3000), "platt", MEAN, 25.0).recalibrations
    assert own.rate([10.0, 20.0, 30.0], 25.0) == pytest.approx([0.05] * 3, rel=0.35)


def test_the_card_says_where_it_holds():
    found = campaign(100)
    card = fit_card(found, "temperature", MEAN, 25.0)
    assert card.visibility == (15.0, 40.0)
    assert (card.encounters, card.filters, card.setting) == (100, ("kalman",), "street")
    assert card.seeds == hashed(reversed([e.seed for e in found]))
    assert card.seeds != hashed(e.seed + 1 for e in found)


# From the command line


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Thirty short encounters, driven open loop."""
    folder = tmp_path_factory.mktemp("open")
    scenario = Scenario(filters=("kalman",), driver=Driver("fused", "open_loop"))
    for seed in range(30):
        drive(scenario, seed, folder / f"{seed}.h5", "beliefs")
    return folder


@pytest.fixture(scope="module")
def card(logs, tmp_path_factory):
    """A card of them."""
    path = tmp_path_factory.mktemp("card") / "card.json"
    assert command("calibrate", logs, "--out", path) == 0
    return path


def command(*words):
    """Exit code of the command line."""
    with pytest.raises(SystemExit) as left:
        main([str(w) for w in words])
    return left.value.code


def test_the_command_writes_a_card_that_reads_back_as_it_was(card, logs):
    found = cards.read(str(card))
    assert sorted(found.seeds) == list(range(30))
    assert found.card.seeds == hashed(range(30))
    assert [r.belief for r in found.card.recalibrations] == ["kalman", "fused"]
    assert json.loads(card.read_text())["scenario"] == "creeping_fog"
    again = card.with_name("again.json")
    cards.write(again, found)
    assert cards.read(str(again)) == found
    json.loads(card.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


SCRIPT = "from fogsim.scenario import *\nSCENARIO = Scenario(filters=('kalman',))\n"


@pytest.fixture
def script(tmp_path):
    """The scenario of the logs, with a driver."""
    path = tmp_path / "fog.py"
    path.write_text(SCRIPT)
    return path


def test_a_run_by_it_believes_the_recalibrated_and_is_otherwise_the_same(card, script, tmp_path):
    plain, carded = tmp_path / "plain.h5", tmp_path / "carded.h5"
    open_loop = ("--set", "driver.policy=open_loop", "--seed", 77, "--log", "beliefs")
    assert command("run", script, *open_loop, "--out", plain) == 0
    assert command("run", script, *open_loop, "--out", carded, "--card", card) == 0
    with Replay(plain) as raw, Replay(carded) as own:
        assert own.scenario["card"]["encounters"] == 30
        fog = own.column("visibility_estimate")
        assert_same(raw[9], own[9], ["ego_pose", "features", "nis", "log_evidence", "visibility_estimate"])
        for b, found in enumerate(cards.read(str(card)).card.recalibrations):
            L = np.diff(raw.column("log_probs")[:, b, 0])[:, 0]
            bins = np.digitize(fog, (20.0, 30.0))
            wanted = np.choose(bins, [m(L) for m in found.calibrators])
            assert np.diff(own.column("log_probs")[:, b, 0])[:, 0] == pytest.approx(np.clip(wanted, -13.8, 13.8))
            assert np.abs(wanted - L).max() > 0.1
            p, q = np.exp(own.column("log_probs")[:, b, 0, 1]), own.column("in_path")[:, b]
            before = np.exp(raw.column("log_probs")[:, b, 0, 1]), raw.column("in_path")[:, b]
            assert q / p == pytest.approx(before[1] / before[0])


def test_conformal_brakes_from_the_cards_threshold(card, script, tmp_path):
    path = tmp_path / "conformal.h5"
    assert command("run", script, "--set", "driver.policy=conformal", "--card", card, "--out", path, "--seed", 78) == 0
    with Replay(path) as log:
        threshold = log.column("threshold")
        learnt = cards.read(str(card)).card.of("fused").threshold.value
        decided = int(np.flatnonzero(log.column("at_decision_point"))[0])
        below = log.column("in_path")[decided, log.beliefs.index("fused")] < learnt
        assert threshold[decided] == learnt if below else np.isnan(threshold[decided])


def test_fog_outside_of_the_cards_is_flagged(card, script, tmp_path):
    for visibility in (25, 300):
        path = tmp_path / f"{visibility}.h5"
        settings = ("--set", f"fog.visibility={visibility}", "--seed", 79, "--log", "beliefs")
        assert command("run", script, *settings, "--card", card, "--out", path) == 0
        low, high = cards.read(str(card)).card.visibility
        with Replay(path) as log:
            fog = log.column("visibility_estimate")
            assert (log.column("outside_card") == ((fog < low) | (fog > high))).all()
            assert log.column("outside_card").any() == (visibility == 300)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--seed", "7"), "was fitted on seed 7, expected fresh ones: give another --seed"),
        (
            ("--seed", "77", "--filters", "kalman,bnn"),
            "the card is of the filters kalman, found bnn,kalman: calibrate with",
        ),
    ],
)
def test_what_it_was_not_fitted_for_is_refused(card, script, tmp_path, capsys, words, told):
    assert command("run", script, *words, "--card", card, "--out", tmp_path / "x.h5") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x.h5").exists()


def test_another_setting_is_told_and_driven_all_the_same(card, script, tmp_path, capsys):
    for name, words in (("same", ()), ("other", ("--set", "fog.visibility=26"))):
        path = tmp_path / f"{name}.h5"
        assert command("run", script, "--seed", 80, *words, "--card", card, "--out", path, "--log", "beliefs") == 0
        told = (
            "the card was fitted in another setting than this creeping_fog: no guarantee holds here"
            in capsys.readouterr().err
        )
        assert told == (name == "other")


def test_every_setting_of_a_sweep_is_held_against_the_card(card, script, tmp_path, capsys):
    out, given = tmp_path / "out", ("campaign", script, "--encounters", 1, "--seed", 3, "--card", card)
    assert command(*given, "--sweep", "filters=kalman,bnn", "--out", out) == 2
    assert "the card is of the filters kalman, found bnn: calibrate with those" in capsys.readouterr().err
    assert not out.exists()
    short = ("--set", "duration=0.2", "--sweep", "fog.visibility=25,60")
    assert command(*given, *short, "--out", out, "--jobs", 1) == 0
    assert capsys.readouterr().err.count("no guarantee holds here") == 2  # another duration is another setting too


def test_an_oracle_judges_and_is_not_recalibrated():
    names = ("kalman", "oracle", "fused")
    both = [dataclasses.replace(e, beliefs=names, **thrice(e)) for e in campaign(80)]
    card = fit_card(both, "temperature", MEAN, 25.0)
    assert card.filters == ("kalman",)
    assert [r.belief for r in card.recalibrations] == ["kalman", "fused"]
    check(Scenario(filters=("kalman", "oracle"), card=card))
    with pytest.raises(UserError, match="the card is of the filters kalman, found bnn"):
        check(Scenario(filters=("bnn", "oracle"), card=card))


def thrice(e):
    """What one belief said, said by three."""
    course = Course(e.course.p.repeat(3, axis=1), *(a.repeat(3) for a in e.course[1:]))
    return {"log_probs": e.log_probs.repeat(3, 1), "in_path_belief": e.in_path_belief.repeat(3, 1), "course": course}


def test_a_campaign_on_its_seeds_is_refused_too(card, script, tmp_path, capsys):
    found, seeds = cards.read(str(card)), tuple(seed_of(0, i) for i in range(40))
    own = tmp_path / "own.json"
    cards.write(own, found._replace(card=dataclasses.replace(found.card, seeds=hashed(seeds)), seeds=seeds))
    given = ("campaign", script, "--set", "duration=0.2", "--encounters", 2, "--out", tmp_path / "out", "--card", own)
    assert command(*given) == 2
    assert f"was fitted on seed {seeds[0]}, expected fresh ones: give another --seed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command(*given, "--seed", 1, "--jobs", 1) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--maps", "plat"), "found --maps plat, expected one of temperature, platt, beta, isotonic"),
        (("--guarantee", "sure"), "found --guarantee sure, expected one of mean, pac"),
        (("--alpha", "1.5"), "found alpha = 1.5, expected a share between 0 and 1"),
        (("--maps", "isotonic"), "expected 100 or more of both classes"),
    ],
)
def test_wrong_options_are_told(logs, tmp_path, capsys, words, told):
    assert command("calibrate", logs, "--out", tmp_path / "c.json", *words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


def one_more(logs, folder, scenario, seed):
    """A folder with the logs and one of another kind."""
    folder.mkdir()
    for path in logs.glob("*.h5"):
        (folder / path.name).symlink_to(path)
    drive(scenario, seed, folder / "other.h5", "beliefs")
    return folder


OPEN = Scenario(filters=("kalman",), driver=Driver("fused", "open_loop"))


@pytest.mark.parametrize(
    ("changes", "seed", "told"),
    [
        ({"driver": Driver("fused", "bayes")}, 50, "differs from the first log in driver, expected one setting"),
        ({"hazards": (Hazard(kind="bag"),)}, 50, "differs from the first log in hazards"),
        ({}, 3, "has seed 3 a second time, expected each once"),
    ],
)
def test_a_log_that_does_not_belong_is_named(logs, tmp_path, capsys, changes, seed, told):
    folder = one_more(logs, tmp_path / "mixed", dataclasses.replace(OPEN, **changes), seed)
    assert command("calibrate", folder, "--out", tmp_path / "c.json") == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_decisions_and_cards_spoil_a_campaign(card, script, tmp_path, capsys):
    for name, words, told in (
        ("bayes", (), "was driven by bayes, expected open_loop"),
        ("card", ("--set", "driver.policy=open_loop", "--card", card), "was driven by a card, expected none"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        assert command("run", script, "--seed", 91, "--out", folder / "a.h5", "--log", "beliefs", *words) == 0
        assert command("calibrate", folder, "--out", tmp_path / "c.json") == 2
        assert told in capsys.readouterr().err


def test_encounters_that_teach_nothing_are_left_out_and_counted(logs, tmp_path, capsys):
    folder = one_more(logs, tmp_path / "more", OPEN, 51)
    with Replay(folder / "other.h5") as log:
        decided = bool(log.column("at_decision_point").any())
    assert decided
    with h5py.File(folder / "other.h5", "r+") as file:
        file["at_decision_point"][:] = False
    assert command("calibrate", folder, "--out", tmp_path / "c.json") == 0
    assert "1 left out: never at the decision point" in capsys.readouterr().out
    assert len(cards.read(str(tmp_path / "c.json")).seeds) == 30


def test_a_file_is_never_overwritten_and_what_is_no_card_is_said(card, logs, script, tmp_path, capsys):
    before = card.read_bytes()
    assert command("calibrate", logs, "--out", card) == 2
    assert "exists already and is never overwritten" in capsys.readouterr().err
    assert card.read_bytes() == before
    other = tmp_path / "other.json"
    content = json.loads(before)
    own = content["recalibrations"][0]
    spoilt = (
        {"recalibrations": [{}]},
        {"recalibrations": [own | {"calibrators": own["calibrators"][:2]}]},
        {"fogsim_card": 2},
        {"seed_list": []},
    )
    nameless = {k: v for k, v in content.items() if k != "scenario"}
    for text in ("{}", "[]", "no", json.dumps(nameless), *(json.dumps(content | change) for change in spoilt)):
        other.write_text(text)
        assert command("run", script, "--card", other, "--out", tmp_path / "x.h5") == 2
        assert "is no card" in capsys.readouterr().err
    assert command("run", script, "--card", tmp_path / "none.json", "--out", tmp_path / "x.h5") == 2
    assert "cannot read the card" in capsys.readouterr().err


def test_a_map_that_saturates_stays_a_belief():
    near, far = Gaussian(np.zeros(2), np.eye(2)), Gaussian(np.full(2, 4.0), np.eye(2))
    sure = Belief(np.log([0.01, 0.99]), far, (near, far))
    threshold = mean_threshold([0.5] * 20, 0.05)
    found = recalibrated(sure, Recalibration("kalman", (Calibrator("temperature", (9.0,)),) * 3, threshold), 25.0)
    assert np.diff(found.log_probs)[0] == pytest.approx(LOG_ODDS_LIMIT)
    even = recalibrated(sure, Recalibration("kalman", (Calibrator("temperature", (0.0,)),) * 3, threshold), 25.0)
    assert even.barrier == pytest.approx(0.5)
    assert even.position.mean == pytest.approx([2.0, 2.0])
    assert logit(even.barrier) == pytest.approx(0.0)


def test_the_card_that_is_shipped_is_of_todays_default_scenario(capsys):
    found, scenario = cards.read("default"), Scenario()
    assert (found.card.encounters, len(found.seeds)) == (1000, 1000)
    assert found.card.seeds == hashed(found.seeds)
    assert cards.carded(scenario, "default", [3]).card == found.card
    assert capsys.readouterr().err == ""
    assert [r.belief for r in found.card.recalibrations] == [*scenario.filters, "fused"]
    assert all(r.threshold.k == int(0.05 * (r.threshold.n + 1)) and r.rate for r in found.card.recalibrations)
    low, high = found.card.visibility
    assert low < 15.0 < 40.0 < high
