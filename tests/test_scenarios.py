"""The scenario scripts: what they are, that each shows what its docstring says, and the real street's occlusion."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from filters.models.lidar_echo import FOG, GROUND, STRUCTURE, THING
from filters.spec import BAG, BARRIER, Pose
from filters.streams import stream
from fogsim.background import background_of, check_room
from fogsim.cli import main
from fogsim.errors import UserError
from fogsim.frame import ACTIONS, RANGE_UNIT
from fogsim.log import info
from fogsim.runner import run, sweep
from fogsim.scans import read_scan
from fogsim.scenario import HDL_64, Fog, Hazard, Scenario, Street
from fogsim.scripts import load, resolve
from fogsim.sensors.lidar import grid
from fogsim.world import ego as car
from fogsim.world import world as worlds
from fogsim.world.street import real_street, street_surfaces

SCRIPTS = sorted((Path(__file__).parents[1] / "scenarios").glob("*.py"))
REAL_STREET = next(p for p in SCRIPTS if p.stem == "real_street")
BRAKE, CHANGE_LANE = ACTIONS.index("brake"), ACTIONS.index("change_lane")


def script(name, *settings, filters="particle"):
    return resolve(load(next(p for p in SCRIPTS if p.stem == name)), filters, settings)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_is_a_docstring_a_scenario_and_a_main_guard(path):
    tree = ast.parse(path.read_text())
    kinds = [type(node) for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert kinds in ([ast.Expr, ast.Assign, ast.If], [ast.Expr, ast.Assign, ast.Assign, ast.If])  # with THEN
    docstring = ast.get_docstring(tree)
    assert docstring
    assert f"fogsim run scenarios/{path.name}" in docstring
    assert load(path).name == path.stem


def test_the_default_encounter_is_a_script_too():
    assert script("creeping_fog", filters=None) == Scenario()


def test_a_script_runs_by_itself(tmp_path):
    out = tmp_path / "a.h5"
    command = [sys.executable, str(SCRIPTS[0]), "--filters", "particle", "--set", "duration=0.3", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert info(out)["frames"] == 3


@pytest.mark.parametrize("profile", ["block", "jersey"])
def test_a_barrier_on_the_verge_does_not_brake_and_the_same_in_the_way_does(profile):
    for seed in range(3):
        frames = list(run(script("verge_barrier", f"barrier.profile={profile}"), seed))
        assert frames[-1].distance_left[0] < 0.0
        assert not frames[-1].collided
        assert max(f.log_probs[-1, 0, BARRIER] for f in frames) > np.log(0.9)  # and not for want of knowing it
        assert not {int(f.action) for f in frames} & {BRAKE, CHANGE_LANE}
    frames = list(run(script("verge_barrier", "hazards.0.y=0", f"barrier.profile={profile}"), 0))
    assert {int(f.action) for f in frames} & {BRAKE, CHANGE_LANE}


def test_a_bank_drifts_onto_the_car_and_the_echoes_show_it():
    """At ego the fog is at first that at large, then the bank's; so are the fog's echoes, as many as in even fog."""
    bag = "driver.policy=open_loop", "hazards.0.kind=bag", "fog.spread=0", "fog.texture.strength=0"
    scenario = script("fog_bank", *bag)
    world, found = worlds.start(scenario, 1), {}
    for tick in range(41):
        if tick in (0, 40):
            x, y, _ = car.front(scenario.ego, world.ego)
            found[worlds.visibility_at(world, x, y, 0.9)] = fog_echoes(scenario, world)
        world = worlds.step(world, 0, scenario, stream(1, "motion", tick))
    expected = {}
    for visibility in (60.0, 18.0):
        even = resolve(scenario, None, ["fog.bank.x=0,0", f"fog.visibility={visibility}"])
        expected[visibility] = fog_echoes(even, worlds.start(even, 1))
    assert list(found) == pytest.approx(list(expected))
    assert list(found.values()) == pytest.approx(list(expected.values()), abs=0.05)
    assert expected[18.0] > expected[60.0] + 0.3


def fog_echoes(scenario, world):
    """Share of the beams above the horizon whose echo is fog."""
    pose = car.front(scenario.ego, world.ego)
    returns = sweep(world, pose, scenario, background_of(scenario), stream(0, "test"))
    return (returns.label[-7:] == FOG).any(axis=-1).mean()


def test_fog_that_the_filters_do_not_believe_in_leaves_them_finite():
    for seed in (0, 1):
        for f in run(script("fog_bank"), seed):
            assert np.isfinite(f.log_probs[:, 0]).all()
            assert np.isfinite(f.position_mean[:, 0]).all()


def test_gusts_blow_the_bag_into_the_lane_three_times_in_four():
    scenario, entered = script("gusty_bag"), 0
    for seed in range(100):
        world, y = worlds.start(scenario, seed), []
        while worlds.farthest_left(world, scenario) > 0.0:
            y.append(float(world.things[0].position[1]))
            world = worlds.step(world, 0, scenario, stream(seed, "motion", len(y) - 1))
        entered += max(y) > -0.5 * scenario.road.lane_width
    assert 60 <= entered <= 88  # 4.5 standard errors of 100 draws are 20 of 75


def test_a_blown_bag_does_not_brake_wherever_it_is_and_is_followed():
    """In the lane when the car is near, or on the verge."""
    aside, followed = [], 0
    for seed in (4, 6, 9):
        frames = list(run(script("gusty_bag"), seed))
        near = next(f for f in frames if f.distance_left[0] < 5.0)
        aside.append(abs(near.truth_position[0, 1]))
        assert np.ptp([f.truth_position[0, 1] for f in frames]) > 1.0
        assert not {int(f.action) for f in frames} & {BRAKE, CHANGE_LANE}
        assert frames[-1].distance_left[0] < 0.0
        off = np.linalg.norm(near.position_mean[-1, 0] - near.truth_position[0])
        followed += off < 1.0 and near.log_probs[-1, 0, BARRIER] < np.log(0.2)
    assert followed == 3
    assert min(aside) < 1.7 < 2.0 < max(aside)


def test_a_crowded_street_is_four_tracks_and_the_car_stops_before_the_one_in_its_way():
    for seed in range(2):
        told = {}
        for f in run(script("crowded_street", "driver.policy=open_loop"), seed):
            assert f.track_id.tolist() == [0, 1, 2, 3]
            for k in np.flatnonzero(f.distance_left < 7.0):
                told.setdefault(int(k), (float(np.exp(f.log_probs[-1, k, BARRIER])), f))
        for k, (p, f) in told.items():
            assert abs(p - f.truth_class[k]) < 0.2
            assert np.linalg.norm(f.position_mean[-1, k] - f.truth_position[k]) < 1.0
        assert len(told) == 4
        frames = list(run(script("crowded_street"), seed))
        assert not frames[-1].collided
        assert frames[-1].ego_speed < 0.1
        assert 0.0 < frames[-1].distance_left[3] < 15.0


def test_two_shapes_are_two_tracks():
    for seed in (0, 1):
        frames = list(run(script("two_shapes", "driver.policy=open_loop"), seed))
        assert frames[-1].truth_class[:2].tolist() == [BAG, BARRIER]
        for k, low, high in ((BAG, 0.0, 0.2), (BARRIER, 0.8, 1.0)):
            near = next(f for f in frames if f.distance_left[k] < 6.0)
            assert near.track_id.tolist() == [0, 1, -1, -1]
            assert low < np.exp(near.log_probs[-1, k, BARRIER]) < high
            assert np.linalg.norm(near.position_mean[-1, k] - near.truth_position[k]) < 1.0


# The real street, generated: a road, a wall 40 m away, and if wanted a parked car in the lane

HEIGHT, WALL, LIDAR = 1.73, 40.0, 0.9
LOW, HIGH = np.array([12.0, -0.9, -HEIGHT]), np.array([16.0, 0.9, 1.5 - HEIGHT])  # the car, about the sensor


def generated_sweep(path, parked):
    """A sweep of 70 rings in the KITTI layout."""
    elevation, azimuth = np.meshgrid(np.radians(np.linspace(-24.8, 6.0, 70)), np.radians(np.arange(-40, 40, 0.18)))
    level = np.cos(elevation)
    ray = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], -1).reshape(-1, 3)
    with np.errstate(divide="ignore"):
        near, far = np.sort(np.stack([LOW / ray, HIGH / ray]), axis=0)
        road = np.where(ray[:, 2] < 0, -HEIGHT / ray[:, 2], np.inf)
    enters, leaves = near.max(axis=1), far.min(axis=1)
    box = np.where(parked & (enters < leaves), enters, np.inf)
    wall = np.where(ray[:, 2] * WALL < 4.0 - HEIGHT, WALL / ray[:, 0], np.inf)
    distance = np.stack([road, wall, box])
    seen = distance.min(axis=0) < 80.0
    intensity = np.array([0.3, 0.6, 0.6])[distance.argmin(axis=0)[seen]]
    rows = np.column_stack([ray[seen] * distance.min(axis=0)[seen, None], intensity])
    rows.astype("<f4").tofile(path)
    return path


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps")
    return {parked: generated_sweep(folder / f"{parked}.bin", parked) for parked in (True, False)}


def look(path, x, kind="barrier"):
    """Echoes (ring, column, echo): range and label, of a hazard at (x, 0) in a street, in clear air; the surfaces."""
    hazard = Hazard(kind=kind, x=x, x_spread=0.0, y=0.0, y_spread=0.0)
    fog = Fog(visibility=5000.0, spread=0.0)
    scenario = Scenario(hazards=(hazard,), fog=fog, street=Street(scan=str(path)), lidar=HDL_64)
    street = real_street(read_scan(path), HEIGHT)

    def surfaces(pose):
        return street_surfaces(street, pose, *grid(scenario.lidar))

    world = worlds.start(scenario, 0)
    pose = car.front(scenario.ego, world.ego)
    returns = sweep(world, pose, scenario, surfaces, stream(0, "test"))
    return returns.range * RANGE_UNIT, returns.label, surfaces(Pose(0.0, 0.0, LIDAR, 0.0)).range


def mapped(label):
    """Which beams have an echo of the street's own."""
    return ((label == GROUND) | (label == STRUCTURE)).any(axis=-1)


def test_a_real_car_hides_what_stands_behind_it(streets):
    assert (look(streets[True], 20.0)[1] >= THING).sum() == 0
    assert (look(streets[False], 20.0)[1] >= THING).sum() >= 5


def test_a_shape_hides_the_real_points_behind_it(streets):
    far, near = look(streets[True], 30.0), look(streets[True], 7.0)
    covered = (near[1] >= THING).any(axis=-1)
    assert covered.sum() >= 10
    on_car = covered & (np.abs(far[2] - 12.0) < 0.3)
    assert on_car.sum() >= 5
    assert mapped(far[1][on_car]).mean() > 0.9  # without it those beams echo from the car
    assert mapped(near[1][on_car]).sum() == 0
    assert np.abs(near[0][on_car].max(axis=-1) - 7.0).max() < 1.5
    beside = ~covered & (np.abs(far[2] - 12.0) < 0.3)
    assert mapped(near[1][beside]).mean() > 0.9  # and the car beside it is still seen


def test_a_porous_shape_lets_some_of_the_street_through(streets):
    _, label, _ = look(streets[True], 7.0, "bag")
    through = (label >= THING).any(axis=-1)
    assert through.sum() >= 5
    _, clear, _ = look(streets[True], 30.0)
    hidden = mapped(clear) & ~mapped(label)
    assert hidden.sum() >= 5


def test_a_hazard_behind_something_real_is_refused_with_a_place_that_is_free(streets):
    behind = Scenario(street=Street(scan=str(streets[True])), hazards=(Hazard(x=32.0, y=0.5),))
    with pytest.raises(UserError, match=r"hazard 0 at x=32, y=0.5: .* stands in front of it from x=12\.\d m") as caught:
        background_of(behind)
    assert "\n" not in str(caught.value)
    settings = re.findall(r"--set (\S+=[\d.-]+)", str(caught.value))
    assert len(settings) == 2
    moved = resolve(behind, None, settings)
    background_of(moved)
    assert 7.0 < moved.hazards[0].x < 36.0
    background_of(resolve(behind, None, [f"street.scan={streets[False]}"]))


def test_a_street_without_its_scan_says_so():
    with pytest.raises(UserError, match=r"real_street needs street.scan.*--set street.scan=PATH$"):
        script("real_street")


# The real files, by the commands that the scenario's docstring gives


def real(name):
    folders = [os.environ.get("FOGSIM_DATA"), Path(__file__).parents[1] / ".." / "shared" / "data"]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    pytest.skip(f"{name} is neither in FOGSIM_DATA nor in ../shared/data")


def commands_of(path):
    text = ast.get_docstring(ast.parse(path.read_text())).replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("fogsim run")]


@pytest.mark.parametrize("command", commands_of(REAL_STREET), ids=lambda c: c[3])
def test_the_real_streets_run_by_the_commands_of_their_docstring(tmp_path, command):
    name = command[3].removeprefix("street.scan=")
    given = [a.replace(name, str(real(name))) for a in command]
    given[1] = str(REAL_STREET)
    out = tmp_path / "a.h5"
    short = ["--filters", "particle", "--out", str(out), "--set", "fog.visibility=40"]
    with pytest.raises(SystemExit) as left:
        main([*given, *short])
    assert left.value.code == 0
    told = info(out)
    assert (told["complete"], told["frames"] > 20) == (True, True)


def test_the_narrow_street_has_no_room_farther_on():
    street = real_street(read_scan(real("kitti_000008.bin")), HEIGHT)
    with pytest.raises(UserError, match=r"something real stands in front of it from x=\d"):
        check_room(street, Scenario().hazards)
