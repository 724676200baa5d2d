"""The watch on calibration: by number whatever order encounters end in, one alarm, and none that is not earned."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.special import expit, logit

from filters import eprocess
from fogsim import campaign_command
from fogsim.campaign_command import Running
from fogsim.campaigns import Campaign
from fogsim.monitor import ALPHA, Monitor
from fogsim.results import AT
from fogsim.scenario import Hazard, Scenario

NAME = ("kalman",)


def row(p, barrier, belief="kalman", number=0):
    """A row of the table as far as the watch reads it; text, as it comes back from the file."""
    truth = "barrier" if barrier else "bag"
    return {"number": str(number), "belief": belief, AT[0]: str(p), "truth": truth, "log": f"{number}.h5"}


def said(n, slope, seed=0):
    """Rows of a belief whose log-odds are `slope` times what they should be."""
    rng = np.random.default_rng(seed)
    L = rng.normal(0.0, 2.0, n)
    return [row(expit(np.clip(slope * x, -9.0, 9.0)), rng.random() < expit(x)) for x in L]


def grown(rows):
    """ln E of the rows, in order."""
    state = eprocess.init()
    for r in rows:
        state = eprocess.update(state, logit(float(r[AT[0]])), int(r["truth"] == "barrier"))
    return float(eprocess.log_e(state))


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)))
def test_encounters_count_by_number_in_whatever_order_they_end(order):
    rows, monitor = said(12, 2.0), Monitor(1)
    for done, k in enumerate(order):
        monitor.add(NAME, k, rows[k])
        counted = next((n for n in range(12) if n not in order[: done + 1]), 12)
        assert monitor.streams[NAME].n == counted
        assert eprocess.log_e(monitor.streams[NAME].state) == pytest.approx(grown(rows[:counted]))


def test_one_that_is_too_sure_rings_once_and_one_that_is_right_does_not():
    monitor = Monitor(2)
    told = [(k, line) for k, r in enumerate(said(400, 2.5)) if (line := monitor.add(NAME, k, r))]
    (k, line), *others = told
    assert not others
    assert f"kalman is not calibrated at the decision point, by {k + 1} encounters" in line
    assert grown(said(400, 2.5)[: k + 1]) >= np.log(2 / ALPHA) > grown(said(400, 2.5)[:k])
    assert not any(monitor.add(("bnn",), k, r) for k, r in enumerate(said(400, 1.0)))


def test_streams_share_the_promise():
    """Each rings only where a bet against it has grown as many times more as there are."""
    rows = said(400, 1.6, seed=3)
    first = {
        n: next((k for k, r in enumerate(rows) if alone.add(NAME, k, r)), None)
        for n in (1, 20)
        for alone in [Monitor(n)]
    }
    highest = np.maximum.accumulate([grown(rows[: k + 1]) for k in range(400)])
    assert first == {n: int(np.argmax(highest >= np.log(n / ALPHA))) for n in (1, 20)}
    assert 0 < first[1] < first[20]


def test_encounters_that_fail_or_say_nothing_hold_nobody_up():
    rows, monitor = said(6, 1.0), Monitor(1)
    rows[2], rows[3] = row("nan", True), row(0.7, True) | {"truth": "cone"}
    for k in (5, 4, 3, 2, 0):
        monitor.add(NAME, k, rows[k])
    assert monitor.streams[NAME].n == 1
    monitor.add(NAME, 1, None)
    assert monitor.streams[NAME].n == 3
    assert eprocess.log_e(monitor.streams[NAME].state) == pytest.approx(grown([rows[0], *rows[4:]]))
    monitor.add(NAME, 8, rows[1])  # 6 and 7 are on their way: an interrupted campaign goes on with them
    assert monitor.streams[NAME].n == 3


def running(scenario, tmp_path, **sweep):
    """A campaign's count, and what it prints."""
    console = Console(file=io.StringIO(), width=300)
    return Running(Campaign(scenario, 300, tmp_path, sweep=sweep), console), console.file


def test_a_campaign_tells_of_the_alarm_and_at_the_end_of_all(tmp_path, capsys):
    watched, told = running(Scenario(filters=("kalman",)), tmp_path)
    rows = said(300, 3.0)
    watched.add([r | {"number": str(k)} for k, r in enumerate(rows)])
    watched.add([r | {"number": str(k), "belief": "fused"} for k, r in enumerate(said(300, 1.0))])
    assert told.getvalue().startswith("fogsim: alarm: kalman is not calibrated")
    assert told.getvalue().count("alarm") == 1
    campaign_command.summary(Campaign(Scenario(filters=("kalman",)), 1, tmp_path), watched)
    said_last = capsys.readouterr().out
    assert f"evidence against calibration there (an alarm at 40): kalman {np.exp(grown(rows)):.2g}, fused" in said_last


def test_settings_of_a_sweep_are_watched_apart_and_share_the_promise(tmp_path):
    watched, _ = running(Scenario(filters=("kalman",)), tmp_path, **{"fog.visibility": ("20", "40")})
    assert watched.monitor.alpha == ALPHA / 4
    for fog in ("20", "40"):
        watched.add([row(0.8, True) | {"fog.visibility": fog}])
    assert set(watched.monitor.streams) == {("20", "kalman"), ("40", "kalman")}


def test_where_the_truth_is_not_drawn_nothing_is_watched(tmp_path):
    watched, told = running(Scenario(filters=("kalman",), hazards=(Hazard(kind="barrier"),)), tmp_path)
    watched.add([row(0.01, True, number=k) for k in range(50)])
    assert watched.monitor is None
    assert told.getvalue() == ""
