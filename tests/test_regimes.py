"""Campaigns whose world changes midway: which scenario holds when, and that filters are not told."""

import json
from dataclasses import replace

import pytest

from filters.models.shapes import BagPrior
from fogsim.campaign_command import campaign
from fogsim.campaigns import Campaign, begin
from fogsim.errors import UserError
from fogsim.followers import model_of
from fogsim.labelled import logs_of
from fogsim.log import Replay
from fogsim.scenario import Assumed, Fog, Scenario, Then
from fogsim.scripts import load, load_both, load_then
from tests.test_scenarios import SCRIPTS

FIRST = Scenario(filters=("kalman",), duration=0.2)
LATER = replace(FIRST, name="later", fog=Fog(visibility=60.0))
SHIFTS = [p for p in SCRIPTS if p.stem in ("regime_shift", "sensor_swap")]


def test_jobs_change_with_the_encounter_and_seeds_go_on(tmp_path):
    whole, plain = Campaign(FIRST, 6, tmp_path, then=Then(4, LATER)), Campaign(FIRST, 6, tmp_path)
    jobs = list(whole.jobs())
    assert [job.scenario.name for job in jobs] == ["creeping_fog"] * 4 + ["later"] * 2
    assert [job.seed for job in jobs] == [job.seed for job in plain.jobs()]
    assert [job.log for job in jobs[:4]] == [job.log for job in plain.jobs()][:4]  # the same logs, by their hash


def test_a_sweep_holds_before_and_after(tmp_path):
    plan = Campaign(FIRST, 2, tmp_path, sweep={"dt": ("0.1", "0.2")}, then=Then(1, LATER))
    assert [(job.scenario.name, job.scenario.dt) for job in plan.jobs()] == [
        ("creeping_fog", 0.1),
        ("creeping_fog", 0.2),
        ("later", 0.1),
        ("later", 0.2),
    ]


def test_every_log_tells_the_scenario_that_held(tmp_path):
    plan = Campaign(FIRST, 4, tmp_path / "out", then=Then(2, LATER))
    assert campaign(plan, 1) == 0
    told = []
    for _, path in logs_of(plan.folder):
        with Replay(path) as log:
            told.append((log.scenario["name"], log.scenario["fog"]["visibility"]))
    assert told == [("creeping_fog", 25.0)] * 2 + [("later", 60.0)] * 2


def test_a_folder_is_of_one_change_only(tmp_path):
    begin(Campaign(FIRST, 4, tmp_path, then=Then(2, LATER)))
    begin(Campaign(FIRST, 9, tmp_path, then=Then(2, LATER)))
    for other in (None, Then(3, LATER), Then(2, FIRST)):
        with pytest.raises(UserError, match="was begun with then"):
            begin(Campaign(FIRST, 4, tmp_path, then=other))


def test_what_filters_take_bags_to_be_is_apart_from_what_they_are():
    new = Scenario(bag=BagPrior(fill=(0.9, 1.0)), assumed=Assumed(bag=BagPrior(), reflectance=0.5))
    assert model_of(new).bag == replace(BagPrior(), reflectance=(0.1, 0.3))
    assert json.loads(new.json)["assumed"]["bag"]["fill"] == [0.6, 0.98]
    assert "bag" not in json.loads(Scenario().json)["assumed"]  # scenarios without one are what they were


@pytest.mark.parametrize("path", SHIFTS, ids=lambda p: p.stem)
def test_filters_go_on_with_the_old_model_in_the_new_world(path):
    first, then = load_both(path)
    before, after = model_of(first), model_of(then.scenario)
    assert (after.bag, after.barrier, after.motion) == (before.bag, before.barrier, before.motion)
    for name in ("range_10", "range_noise", "lidar_ratio"):
        assert getattr(after.optics, name) == pytest.approx(getattr(before.optics, name))
    assert (then.scenario.bag, then.scenario.lidar) != (first.bag, first.lidar)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("THEN = 3", "THEN is of type int, expected fogsim.scenario.Then"),
        ("THEN = Then(0, SCENARIO)", "THEN holds from encounter 0 on, expected 1 or later"),
        ("THEN = Then(5, Scenario(filters=('bnn',)))", "THEN has other filters than SCENARIO"),
        ("THEN = Then(5, Scenario(duration='long'))", "THEN"),
    ],
)
def test_a_wrong_then_is_told_in_a_line(tmp_path, text, line):
    path = tmp_path / "a.py"
    path.write_text(f"from fogsim.scenario import Scenario, Then\nSCENARIO = Scenario()\n{text}\n")
    with pytest.raises(UserError, match=line):
        load_both(path)


def test_a_script_without_then_has_none(tmp_path):
    plain = next(p for p in SCRIPTS if p.stem == "creeping_fog")
    assert load_both(plain) == (load(plain), None)
    with pytest.raises(UserError, match="has no THEN"):
        load_then(plain)
