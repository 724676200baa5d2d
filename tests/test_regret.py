"""Regret against hand numbers; the oracle as a judge that does not drive; the study that puts both together."""

import dataclasses
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import filters
from fogsim.cli import main
from fogsim.log import Replay
from fogsim.runner import run
from fogsim.scenario import Bank, Driver, Fog, Hazard, Lidar, Scenario
from fogsim.scoring import metrics
from fogsim.scoring.encounters import MOMENTS, moments
from fogsim.scoring.regret import AT, VISIBILITIES
from fogsim.scoring.report import print_score, to_dict
from fogsim.scoring.scores import Score, score
from tests.scored import encounter
from tests.studies import study_of

SMALL = Lidar(rings=8, lowest_deg=-7.0, highest_deg=0.0, columns=60, azimuth_deg=40.0)
NEAR = (Hazard(x=24.0),)


def row(rows, belief="kalman", moment="10 m", visibility="all"):
    return next(r for r in rows if (r.belief, r.moment, r.visibility) == (belief, moment, visibility))


# Figures


def test_regret_by_hand():
    found = Score((encounter(1, 1, kalman=0.8, oracle=0.9), encounter(2, 0, kalman=0.5, oracle=0.2))).regrets
    both = row(found)
    regrets = [math.log(0.9 / 0.8), math.log(0.8 / 0.5)]
    expected = [0.9 * math.log(9 / 8) + 0.1 * math.log(0.5), 0.2 * math.log(0.4) + 0.8 * math.log(1.6)]
    np.testing.assert_allclose(expected, [0.036690, 0.192745], atol=1e-6)
    assert both.n == 2
    np.testing.assert_allclose(both.regret, metrics.paired_bootstrap(regrets))
    np.testing.assert_allclose(both.expected, metrics.paired_bootstrap(expected))
    assert {r.belief for r in found} == {"kalman"}
    assert len(found) == len(AT) * len(VISIBILITIES)


def test_expected_regret_is_what_the_oracle_expects():
    for o, p in ((0.9, 0.8), (0.03, 0.6), (0.5, 0.5)):
        pair = [row(Score((encounter(1, truth, kalman=p, oracle=o),)).regrets) for truth in (0, 1)]
        mean = (1 - o) * pair[0].regret.mean + o * pair[1].regret.mean
        assert pair[0].expected.mean == pair[1].expected.mean == pytest.approx(mean, abs=1e-12)
        assert pair[0].expected.mean >= -1e-15


def test_each_is_split_by_true_visibility_at_its_edges():
    seen = (19.9, 20.0, 29.9, 30.0, 60.0)
    encounters = tuple(encounter(k, 1, v, kalman=0.5 + 0.05 * k, oracle=0.9) for k, v in enumerate(seen))
    found = Score(encounters).regrets
    assert [row(found, visibility=v).n for v in VISIBILITIES] == [5, 1, 2, 2]
    wanted = np.mean(np.log([0.9 / 0.55, 0.9 / 0.6]))
    assert row(found, visibility="20 to 30 m").regret.mean == pytest.approx(wanted)


def test_certainties_are_clipped_like_the_log_loss():
    with np.errstate(divide="ignore"):
        found = row(Score((encounter(1, 1, kalman=0.0, oracle=1.0),)).regrets)
    assert found.regret.mean == pytest.approx(-math.log(1e-6), abs=1e-5)
    assert found.expected.mean == pytest.approx(-math.log(1e-6), abs=1e-4)


def test_only_what_was_judged_counts():
    missing = encounter(3, 1, kalman=0.8, oracle=0.9)
    at = np.array(missing.log_probs)
    at[MOMENTS.index("10 m")] = np.nan
    alone = encounter(4, 1, kalman=0.8)
    judged = (encounter(1, 1, kalman=0.8, oracle=0.9), dataclasses.replace(missing, log_probs=at), alone)
    found = Score(judged).regrets
    assert (row(found, moment="15 m").n, row(found).n) == (2, 1)
    assert Score((alone,)).regrets == ()
    assert to_dict(Score((alone,)))["regrets"] == []


def test_logs_that_share_a_seed_count_once_in_an_interval():
    single = [encounter(k, 1, kalman=0.5 + 0.05 * k, oracle=0.9) for k in range(5)]
    one, doubled = (row(Score(tuple(es)).regrets) for es in (single, single + single))
    assert (one.n, doubled.n) == (5, 10)
    np.testing.assert_allclose(one.regret, doubled.regret)


def printed(result) -> str:
    console = Console(file=io.StringIO(), width=112)
    print_score(result, console)
    return console.file.getvalue()


def test_tables_show_it_where_an_oracle_is():
    judged = Score(tuple(encounter(k, k % 2, 15.0 + 3 * k, kalman=0.6, oracle=0.5 + 0.04 * k) for k in range(9)))
    text = printed(judged)
    for wanted in ("Regret against the oracle", "Expected regret by visibility", "20 to 30 m", "MCB", "DSC"):
        assert wanted in text
    assert "…" not in text
    assert "egret" not in printed(Score((encounter(1, 1, kalman=0.8), encounter(2, 0, kalman=0.3))))
    rows = json.loads(json.dumps(to_dict(judged), allow_nan=False))["regrets"]
    assert rows[0].keys() == {"belief", "moment", "visibility", "n", "regret", "expected"}


def test_a_table_row_holds_the_decomposed_brier_score():
    judged = Score(tuple(encounter(k, k % 2, kalman=0.3 + 0.1 * (k % 4), oracle=0.5) for k in range(9)))
    found = next(r for r in judged.beliefs if (r.belief, r.moment) == ("kalman", "10 m"))
    assert found.brier == pytest.approx(found.mcb.mean - found.dsc.mean + 4 / 9 * 5 / 9)


# The judge in a run


@pytest.fixture
def stub(monkeypatch):
    """Another filter under the oracle's name: it is faster."""
    monkeypatch.setitem(filters.FILTERS, "oracle", "filters.bnn:BayesianNetwork")


def scenario(*names, **changes) -> Scenario:
    return Scenario(**({"filters": names, "hazards": NEAR, "lidar": SMALL, "duration": 1.5} | changes))


def beliefs(setting, seed=3):
    return np.array([f.log_probs[:, 0] for f in run(setting, seed)])


@pytest.mark.usefixtures("stub")
def test_the_judge_is_no_member_of_the_pool():
    with_judge, alone = beliefs(scenario("kalman", "oracle", "particle")), beliefs(scenario("kalman", "particle"))
    np.testing.assert_array_equal(with_judge[:, [0, 2, 3]], alone)  # kalman, particle, fused
    assert np.abs(with_judge[-1, 1] - with_judge[-1, 3]).max() > 1e-3
    assert "oracle" not in Scenario().filters


@pytest.mark.usefixtures("stub")
def test_a_judge_alone_is_all_that_can_be_fused():
    found = beliefs(scenario("oracle"))
    np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-12)


@pytest.mark.usefixtures("stub")
def test_the_judge_drives_where_it_is_told_to():
    for frame in run(scenario("kalman", "oracle", driver=Driver(belief="oracle"), duration=3.0), 5):
        assert frame.action == frame.shadow_action[1, 0]


def command(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return left.value.code


def script(folder: Path, setting: str) -> Path:
    path = folder / "short.py"
    path.write_text(f"from fogsim.scenario import *\nSCENARIO = {setting}\n")
    return path


def test_a_run_with_the_oracle_is_scored_against_it(tmp_path, capsys):
    short = script(tmp_path, repr(scenario(duration=0.3, hazards=(Hazard(x=15.3, x_spread=0.1),))))
    log = tmp_path / "a.h5"
    assert command("run", short, "--filters", "kalman,oracle", "--seed", 1, "--out", log) == 0
    capsys.readouterr()
    assert command("score", log, "--json", tmp_path / "a.json") == 0
    out = capsys.readouterr().out
    assert "Regret against the oracle" in out
    found = [r for r in json.loads((tmp_path / "a.json").read_text())["regrets"] if r["visibility"] == "all" and r["n"]]
    with Replay(log) as replay:
        (e,) = score(log).encounters
        assert replay.beliefs == ("kalman", "oracle", "fused") == e.beliefs
    at = MOMENTS.index(found[0]["moment"])
    kalman, oracle = (float(e.log_probs[at, b, e.truth]) for b in (0, 1))
    assert found[0]["regret"]["mean"] == pytest.approx(oracle - kalman)


def test_fog_that_drifts_is_refused_in_a_line(tmp_path, capsys):
    banked = script(tmp_path, repr(scenario(fog=Fog(bank=Bank(x=(5.0, 15.0))))))
    assert command("run", banked, "--filters", "kalman,oracle", "--out", tmp_path / "a.h5") == 2
    told = capsys.readouterr().err
    assert told.startswith("fogsim: filter 'oracle': found fog that drifts, expected even fog")
    assert (told.count("\n"), "leave oracle out" in told) == (1, True)
    assert not list(tmp_path.glob("*.h5*"))


# The study


@pytest.fixture
def study():
    """The study's script as a module."""
    return study_of("regret")


def small(study, out, seeds=(20_000, 20_001), **changes):
    """The study's jobs, of fewer beams from nearer by."""
    for job in study.jobs_of(seeds, out):
        (hazard,) = job.scenario.hazards
        job.path.parent.mkdir(parents=True, exist_ok=True)
        yield job._replace(scenario=replace(job.scenario, lidar=SMALL, hazards=(replace(hazard, x=24.0),), **changes))


def test_the_study_drives_judge_and_filters_through_the_same_seeds(study, tmp_path):
    jobs = study.jobs_of(range(20_000, 20_004), tmp_path)
    assert [(j.path.parent.name, j.seed, j.scenario.hazards[0].kind) for j in jobs[:3]] == [
        ("oracle", 20_000, "bag"),
        ("oracle", 20_001, "barrier"),
        ("oracle", 20_002, "bag"),
    ]
    assert [j[1] for j in jobs[:4]] == [j[1] for j in jobs[4:]]
    assert {j.scenario.driver.policy for j in jobs} == {"open_loop"}
    assert jobs[4].scenario.filters == Scenario().filters
    assert study.jobs_of(range(20_000, 20_004), tmp_path, "filters") == jobs[4:]


@pytest.mark.usefixtures("stub")
def test_the_study_reads_two_logs_as_one(study, tmp_path, capsys):
    from study import drive

    for job in small(study, tmp_path):
        drive(job)
    seeds = (20_000, 20_001)
    found = study.read(seeds, tmp_path)
    for seed, judged in zip(seeds, found, strict=True):
        with Replay(tmp_path / "filters" / f"{seed}.h5") as one, Replay(tmp_path / "oracle" / f"{seed}.h5") as other:
            for name in study.WORLD:
                np.testing.assert_array_equal(one.column(name), other.column(name))
            p = np.exp(one.column("log_probs")[:, :, 0, judged.encounter.truth])
            left = one.column("distance_left")[:, 0]
            doubt = [other.column("epistemic")[i, 0, 0] if i is not None else np.nan for i in moments(other)]
            network, oracle = (np.exp(r.column("log_probs")[:, b, 0, 1]) for r, b in ((one, 3), (other, 0)))
        np.testing.assert_allclose(network, oracle)  # the stub is our network
        assert judged.encounter.beliefs == (*Scenario().filters, "fused", "oracle")
        np.testing.assert_array_equal(judged.encounter.log_probs[:, 3], judged.encounter.log_probs[:, 5])
        np.testing.assert_array_equal(judged.right[:5], [(q[left > 8.0] > 0.99).any() for q in p.T])
        np.testing.assert_array_equal(judged.wrong[:5], [(1.0 - q > 0.99).any() for q in p.T])
        assert judged.right.shape == judged.wrong.shape == (6,)
        np.testing.assert_array_equal(judged.doubt, doubt)
        assert np.nanmax(judged.doubt) > 0.0
    assert any(j.right.any() for j in found)
    regrets = Score(tuple(j.encounter for j in found)).regrets
    assert row(regrets, "bnn").expected.mean == pytest.approx(0.0, abs=1e-12)
    assert row(regrets, "kalman").n == 2
    study.report(seeds, tmp_path)
    out = capsys.readouterr().out
    for wanted in (
        "Regret against the oracle",
        "Regret by visibility",
        "MCB - DSC + UNC at 15 m",
        "wrong, ever",
        "Mutual information",
    ):
        assert wanted in out


@pytest.mark.usefixtures("stub")
def test_the_study_refuses_logs_of_two_worlds(study, tmp_path):
    from study import drive

    for job in small(study, tmp_path, (20_000,), filters=("kalman", "oracle")):
        other = replace(job.scenario, fog=Fog(visibility=60.0)) if job.path.parent.name == "oracle" else job.scenario
        drive(job._replace(scenario=replace(other, duration=1.0)))
    with pytest.raises(SystemExit, match=r"seed 20000: .* differ: drive both by the same code"):
        study.read((20_000,), tmp_path)


def test_sure_early_of_the_right_class_or_ever_of_the_wrong_one(study):
    left = np.array([20.0, 8.1, 8.0, -0.5])
    p = [[0.98, 0.991, 0.5, 0.5], [0.5, 0.99, 0.995, 0.999], [0.5, 0.5, 0.5, 0.009], [0.011, 0.5, 0.992, 0.5]]
    right, wrong = study.sure(np.array(p).T, left)
    np.testing.assert_array_equal(right, [True, False, False, False])
    np.testing.assert_array_equal(wrong, [False, False, True, False])


def test_shares_have_exact_intervals(study):
    assert study.share(9, 400) == "0.022 [0.010, 0.042]"
    assert study.share(0, 10).startswith("0.000 [0.000, 0.308]")


def test_what_is_counted_and_doubted_stands_in_the_tables(study):
    """Two beliefs, three encounters, one of which never came to 10 m; moments are those that are scored."""
    encounter, k = SimpleNamespace(beliefs=("one", "two")), MOMENTS.index("10 m")
    doubts = np.full((3, len(MOMENTS)), 0.5)
    doubts[:, k] = 0.03, 0.001, np.nan
    right = [[True, False], [True, True], [True, False]]
    wrong = [[False, True], [False, True], [False, False]]
    found = [study.Judged(encounter, *(np.array(a) for a in row)) for row in zip(right, wrong, doubts, strict=True)]
    cells = [list(column.cells) for column in study.doubt_table(found).columns]
    assert [column[study.AT.index("10 m")] for column in cells] == ["10 m", "0.01550", "0.0300", "1 of 2"]
    counts = [list(column.cells) for column in study.sureness_table(found).columns]
    assert (counts[0], counts[1], counts[3]) == (["one", "two"], ["3", "1"], ["0", "2"])
