"""A cone, an animal and a cardboard box: their shapes, who they are in scans and logs, and how they are scored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.special import ndtri

from filters.models.lidar_echo import GROUND, THING
from filters.models.shapes import NOTHING
from filters.spec import BAG, BARRIER, CLASSES, Pose
from filters.streams import stream
from fogsim import campaign_command, summary
from fogsim.background import background_of
from fogsim.campaigns import Campaign, record
from fogsim.environment import EncounterEnv
from fogsim.errors import UserError
from fogsim.frame import ANIMAL, CARTON, CONE, KINDS, RANGE_UNIT
from fogsim.log import Replay, verify
from fogsim.results import rows_of
from fogsim.runner import run, sweep
from fogsim.scenario import HDL_64, Driver, Fog, Hazard, Radar, Scenario
from fogsim.scoring.encounters import encounter
from fogsim.scoring.regret import regrets
from fogsim.scoring.report import remarks, to_dict
from fogsim.scoring.scores import Score, score
from fogsim.scripts import load, resolve
from fogsim.sensors.lidar import grid, mounted
from fogsim.sensors.radar import things_seen
from fogsim.sensors.raycast import cast
from fogsim.sensors.schedule import Moment, Motion
from fogsim.world import ego as car
from fogsim.world import world as worlds
from fogsim.world.setting import Setting
from fogsim.world.solids import box_about
from fogsim.world.unseen import UNSEEN, WHITE
from tests.encounters import encounter as scenario_of

ROOT = Path(__file__).parents[1]
NAMES = KINDS[len(CLASSES) :]
EACH = pytest.mark.parametrize("kind", UNSEEN, ids=NAMES)
CLEAR = Fog(visibility=1e4, spread=0.0)


def made(kind, x=0.0, y=0.0, **values):
    """The solids of an object with these latents, the others in the middle of their ranges."""
    ranges = UNSEEN[kind].ranges
    share = [(values[n] - low) / (high - low) if n in values else 0.5 for n, (low, high) in ranges.items()]
    return UNSEEN[kind].solids(np.array([[x, y]]), ndtri([share]))


def standing(*kinds, places=((6.0, 1.5), (7.0, -1.5), (9.0, 0.5), (11.0, -0.8)), **changes):
    """A scenario with objects at exact places."""
    hazards = (Hazard(kind=k, x=x, y=y, x_spread=0.0, y_spread=0.0) for k, (x, y) in zip(kinds, places, strict=False))
    return Scenario(hazards=tuple(hazards), fog=CLEAR, driver=Driver(policy="open_loop"), **changes)


def meets(solids, x, y, z, yaw=0.0):
    """Range and solid that a level beam from (x, y, z) meets."""
    hits = cast(solids, Pose(x, y, z, yaw), np.array([-1e-6, 0.0]), np.array([-1e-6, 0.0]), 1, False)
    return float(hits.range[1, 1, 0]), int(hits.what[1, 1, 0])


# Shapes


@EACH
def test_latents_span_their_ranges_and_the_middle_is_the_middle(kind):
    prior = UNSEEN[kind]
    low, middle, high = (prior.physical(np.full(len(prior.names), u)) for u in (-9.0, 0.0, 9.0))
    for name, (least, most) in prior.ranges.items():
        assert (low[name], high[name]) == (pytest.approx(least), pytest.approx(most))
        assert middle[name] == pytest.approx(0.5 * (least + most))


@pytest.mark.parametrize(
    ("kind", "values", "size"),
    [
        (CONE, {"height": 0.5}, (0.275, 0.275, 0.5)),
        (CONE, {"height": 0.75}, (0.4125, 0.4125, 0.75)),
        (ANIMAL, {"shoulder": 0.4}, (0.512, 0.12, 0.42)),
        (ANIMAL, {"shoulder": 0.9}, (1.152, 0.27, 0.945)),
        (CARTON, {"length": 0.3, "width": 0.5, "height": 0.4}, (0.3, 0.5, 0.4)),
    ],
)
@pytest.mark.parametrize("yaw", [-2.5, 0.0, 0.7])
def test_the_box_about_an_object_is_centred_on_it_and_as_large_as_its_latents(kind, values, size, yaw):
    box = box_about(made(kind, 3.0, -2.0, yaw=yaw, **values))
    assert 2.0 * np.array([box.hx, box.hy, box.hz])[:, 0] == pytest.approx(size)
    assert (box.x[0], box.y[0], box.z[0]) == pytest.approx((3.0, -2.0, 0.5 * size[2]))
    assert box.yaw[0] == pytest.approx(yaw)
    assert len(box.x) == 1


def test_the_shoulder_is_where_the_back_ends_and_legs_stand_on_the_road():
    solids = made(ANIMAL, shoulder=0.6)
    assert solids.z[0] + solids.hz[0] == pytest.approx(0.6)
    assert solids.z[2:] - solids.hz[2:] == pytest.approx(np.zeros(4))
    assert len(solids.x) == 6


def test_a_cone_tapers_and_only_its_collar_is_white():
    solids = made(CONE, height=0.7, reflectance=0.4)
    assert (np.diff(solids.hx) < 0.0).all()
    low, high = (solids.z + sign * solids.hz for sign in (-1.0, 1.0))
    assert low[1:] == pytest.approx(high[:-1])  # without a gap
    white = solids.reflectance == WHITE
    assert solids.reflectance[~white] == pytest.approx(0.4)
    assert (low[white].min() / 0.7 > 0.6, high[white].max() / 0.7 < 0.95) == (True, True)


@EACH
def test_objects_are_solid_and_of_plain_arrays(kind):
    solids = made(kind)
    assert (solids.fill == 1.0).all()
    assert {(c.dtype, c.flags.c_contiguous, c.shape) for c in solids} == {(np.dtype(float), True, solids.x.shape)}


def test_a_beam_meets_the_cone_or_passes_over_it():
    solids = made(CONE, 10.0, 0.0, height=0.7, yaw=0.0)
    distance, what = meets(solids, 0.0, 0.0, 0.35)
    assert distance == pytest.approx(10.0 - solids.hx[what], abs=1e-4)
    assert abs(solids.z[what] - 0.35) < solids.hz[what]
    assert meets(solids, 0.0, 0.0, 0.71)[1] == NOTHING
    assert meets(solids, 0.0, 0.15, 0.35)[1] == NOTHING  # beside its mantle
    assert meets(solids, 0.0, 0.15, 0.01) == (pytest.approx(10.0 - 0.275 * 0.7, abs=1e-4), 0)  # where the plate is


def test_a_beam_passes_between_the_animals_legs_and_under_its_belly():
    ahead, broadside = (made(ANIMAL, 10.0, 0.0, shoulder=0.8, yaw=yaw) for yaw in (0.0, np.pi / 2))
    assert meets(ahead, 0.0, 0.0, 0.2)[1] == NOTHING  # between left and right
    assert meets(broadside, 0.0, 0.0, 0.2)[1] == NOTHING  # between fore and hind
    distance, leg = meets(broadside, 0.0, 0.27 * 0.8, 0.2)  # the near foreleg
    assert (leg >= 2, distance) == (True, pytest.approx(10.0 - (0.09 + 0.03) * 0.8, abs=1e-4))
    distance, body = meets(broadside, 0.0, -0.09 * 0.8, 0.77 * 0.8)
    assert (body, distance) == (0, pytest.approx(10.0 - 0.15 * 0.8, abs=1e-4))
    assert meets(broadside, 0.0, 0.0, 0.9)[1] == NOTHING


# The world


def test_the_golden_run_drives_as_before():
    """All that a filter has no part in, with the actions that the log tells."""
    with Replay(ROOT / "replays" / "golden-creeping_fog.h5") as golden:
        names = ("ego_pose", "odometry", "truth_class", "truth_position", "truth_size", "truth_yaw", "object_echoes")
        told = {name: golden.column(name) for name in (*names, "action", "features", "collided")}
        seed = golden.seed
    driven = run(Scenario(filters=(), driver=Driver(policy="open_loop")), seed)
    frame = next(driven)
    for tick in range(30):
        for name in (*names, "features", "collided"):
            np.testing.assert_allclose(getattr(frame, name), told[name][tick], rtol=1e-6, err_msg=name)
        frame = driven.send(int(told["action"][tick]))


@EACH
def test_the_same_seed_is_the_same_object_where_a_bag_would_be(kind):
    setting = Setting(hazards=(Hazard(kind=KINDS[kind]),))
    (one,), (again,), (other,) = (worlds.start(setting, seed).things for seed in (4, 4, 5))
    (bag,) = worlds.start(Setting(hazards=(Hazard(kind="bag"),)), 4).things
    assert (one.kind, one.latents.shape) == (kind, (len(UNSEEN[kind].names),))
    assert all((a == b).all() for a, b in zip(one[1:], again[1:], strict=True))
    assert (one.latents != other.latents).all()
    assert (one.position == bag.position).all()
    assert (one.latents[:3] == bag.latents).all()


@EACH
def test_objects_are_drawn_evenly_from_their_ranges_and_stand_still(kind):
    setting = Setting(hazards=(Hazard(kind=KINDS[kind]),))
    drawn = [worlds.start(setting, seed) for seed in range(1000)]
    latents = np.array([w.things[0].latents for w in drawn])
    assert abs(latents.mean(axis=0)).max() < 4.5 / np.sqrt(1000)
    assert latents.std(axis=0) == pytest.approx(np.ones(latents.shape[1]), abs=0.1)
    world = worlds.step(drawn[0], 0, setting, stream(0, "motion", 0))
    assert (world.things[0].position == drawn[0].things[0].position).all()
    assert not world.things[0].velocity.any()


@pytest.mark.parametrize(("kind", "expected"), [("animal", True), ("barrier", True), ("cone", False), ("box", False)])
def test_only_what_must_not_be_hit_is_a_collision(kind, expected):
    setting = standing(kind, places=((0.0, 0.0),))
    assert worlds.collided(worlds.start(setting, 0), setting) is expected


def test_an_animal_is_hit_where_its_box_is():
    """At y = 1.4 a broadside animal reaches into what ego covers, |y| < .95, and one that looks ahead does not."""
    setting = standing("animal", places=((-1.0, 1.4),))
    world = worlds.start(setting, 0)
    for yaw, expected in ((0.5 * np.pi, True), (0.0, False)):
        share = np.array([0.99, 0.5, yaw / (2.0 * np.pi) + 0.5])
        thing = world.things[0]._replace(latents=ndtri(share))
        assert worlds.collided(world._replace(things=(thing,)), setting) is expected


@pytest.mark.parametrize(
    ("wrong", "hint"), [("conne", "did you mean 'cone'"), ("anmal", "'animal'"), (3, "known: draw")]
)
def test_a_wrong_kind_says_what_was_meant(wrong, hint):
    with pytest.raises(UserError, match=f"unknown hazard kind {wrong!r}: .*{hint}") as caught:
        Hazard(kind=wrong)
    assert "\n" not in str(caught.value)


# Sensors


def look(scenario, seed=0):
    """The truth, and of each echo of an object in one sweep its place (n, 3) and slot (n,)."""
    world = worlds.start(scenario, seed)
    pose = car.front(scenario.ego, world.ego)
    returns = sweep(world, pose, scenario, background_of(scenario), stream(seed, "lidar", 0))
    ring, column, echo = np.nonzero((returns.label >= THING) & (returns.range > 0))
    elevation, azimuth = (g[i] for g, i in zip(grid(scenario.lidar), (ring, column), strict=True))
    level = np.cos(elevation)
    beam = np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)], axis=1)
    at, distance = mounted(scenario.lidar, *pose), returns.range[ring, column, echo] * RANGE_UNIT
    return world, returns, [at.x, at.y, at.z] + distance[:, None] * beam, returns.label[ring, column, echo] - THING


@pytest.mark.parametrize("kinds", [("cone", "animal", "box", "bag"), ("barrier", "box", "animal", "cone")])
def test_every_echo_of_an_object_bears_its_slot(kinds):
    scenario = standing(*kinds, lidar=replace(HDL_64, azimuth_deg=120.0, columns=694), filters=())
    world, returns, places, slot = look(scenario)
    assert set(returns.label.ravel().tolist()) <= {*range(GROUND + 2), *(THING + k for k in range(4))}
    boxes = worlds.boxes_of(world, scenario)
    for k in range(4):
        off = places[slot == k] - [boxes.x[k], boxes.y[k], boxes.z[k]]
        c, s = np.cos(boxes.yaw[k]), np.sin(boxes.yaw[k])
        own = np.column_stack([c * off[:, 0] + s * off[:, 1], c * off[:, 1] - s * off[:, 0], off[:, 2]])
        assert len(own) > 20
        assert (np.abs(own) < np.array([boxes.hx[k], boxes.hy[k], boxes.hz[k]]) + 0.3).all()  # 5 deviations of a range
    frame = next(run(scenario, 0))
    assert frame.truth_class.tolist() == [KINDS.index(kind) for kind in kinds]
    assert frame.object_echoes.tolist() == [int((slot == k).sum()) for k in range(4)]
    assert frame.truth_size == pytest.approx(2.0 * np.stack([boxes.hx, boxes.hy, boxes.hz], axis=1))


def test_an_object_is_one_reflector_to_the_radar():
    scenario = standing("cone", "animal", "box", "barrier", radar=Radar(on=True), filters=())
    world = worlds.start(scenario, 0)
    still, pose = np.zeros(2), np.zeros(3)
    motion = Motion(Moment(world, pose, Pose(0.0, 0.0, 0.0, 0.0)), still, still)
    seen = things_seen(motion, scenario, scenario.radar, np.zeros(4))
    assert len(seen.floor) == 4
    assert seen.mean[:, 0] == pytest.approx([np.hypot(*t.position) for t in world.things])
    assert len(list(zip(run(scenario, 0), range(3), strict=False))) == 3


# Logs and scores


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """One log of each kind: objects in the lane, run over by a car that only proceeds."""
    folder = tmp_path_factory.mktemp("unseen")
    for kind in KINDS:
        hazard = Hazard(kind=kind, x=18.0, x_spread=0.0, y=0.0, y_spread=0.0)
        record(scenario_of(visibility=60.0, hazards=(hazard,)), 1, folder / f"{kind}.h5", "beliefs")
    return folder


@pytest.mark.parametrize("kind", NAMES)
def test_a_log_tells_what_stood_there(logs, kind):
    path = logs / f"{kind}.h5"
    assert verify(path) == []
    with Replay(path) as replay:
        assert replay.header["kinds"] == list(KINDS)
        assert set(replay.column("truth_class")[:, 0].tolist()) == {KINDS.index(kind)}
        found, said = encounter(replay), summary.outcome(replay)
        summary.table_of(replay, "a title")
        things = summary.things(replay, "a")
    assert (found.truth, found.classed) == (KINDS.index(kind), False)
    assert (found.in_path, found.collided) == (kind == "animal",) * 2
    assert found.realised_cost == (100.0 if kind == "animal" else 0.0)
    assert said.startswith("hit the animal at " if kind == "animal" else f"passed the {kind}")
    assert things == ("an animal" if kind == "animal" else f"a {kind}")


def test_the_score_leaves_them_out_of_what_is_about_classes_alone(logs):
    everything, classed = score(logs), score([logs / "bag.h5", logs / "barrier.h5"])
    assert everything.unclassed == {"animal": 1, "box": 1, "cone": 1}
    assert str(everything.beliefs) == str(classed.beliefs)
    assert [p.n for p in everything.policies] == [5] * 4
    (driver,) = everything.drivers
    assert (driver.n, driver.collisions) == (5, 2)
    (line,) = [line for line in remarks(everything) if "class" in line]
    assert (
        line == "3 of 5 left out of class scores, not of cost: no belief has a class for it (animal 1, box 1, cone 1)"
    )
    assert not any("class" in line for line in remarks(classed))
    told = json.loads(json.dumps(to_dict(everything), allow_nan=False))
    assert (told["encounters"], told["barriers"]) == (5, 1)


def test_a_score_of_nothing_but_them_holds_no_class_score(logs):
    alone = score(logs / "cone.h5")
    assert {row.n for row in alone.beliefs} == {0}
    assert to_dict(alone)["policies"][0]["n"] == 1


def test_regret_leaves_them_out(logs):
    judged = [replace(e, beliefs=("kalman", "oracle")) for e in score(logs).encounters]
    rows = regrets(judged, ("kalman", "oracle"))
    assert rows == regrets([e for e in judged if e.classed], ("kalman", "oracle"))
    assert max(row.n for row in rows) == 2
    assert Score(tuple(e for e in judged if not e.classed)).regrets == ()


def test_a_table_has_no_log_loss_of_them_and_the_campaign_counts_them(logs):
    plan = Campaign(Scenario(filters=("kalman", "bnn")), 5, logs)
    running = campaign_command.Running(plan, Console())
    for kind in KINDS:
        rows = rows_of(logs / f"{kind}.h5", 0, {})
        running.add(rows)
        assert {row["truth"] for row in rows} == {kind}
        assert {np.isnan(row["log_loss"]) for row in rows} == {kind in NAMES}
    assert running.unclassed == {f"{kind}.h5" for kind in NAMES}
    assert {n for n, _ in running.sums.values()} == {len(CLASSES)}


def test_an_agent_is_told_what_it_was():
    env = EncounterEnv(scenario_of("animal", filters=()), observation="features")
    _, info = env.reset(seed=1)
    assert info["truth_class"] == "animal"


def test_the_viewer_names_and_outlines_it(logs):
    pygame = pytest.importorskip("pygame")
    from fogsim.viewer.drawing import draw
    from fogsim.viewer.view import view_of

    with Replay(logs / "cone.h5") as replay:
        assert isinstance(draw(replay[5], view_of(replay)), pygame.Surface)


def test_draw_still_means_a_bag_or_a_barrier():
    kinds = {t.kind for seed in range(40) for t in worlds.start(Setting(), seed).things}
    assert kinds == {BAG, BARRIER}


@pytest.mark.parametrize("kind", ["cone", "bag", "barrier"])
def test_before_a_cone_a_network_goes_back_to_its_prior_and_a_particle_filter_does_not(kind):
    settings = ["driver.policy=open_loop", f"hazards.0.kind={kind}", "driver.belief=bnn"]
    scenario = resolve(load(ROOT / "scenarios" / "unseen_cone.py"), "particle,bnn", settings)
    frames = [f for f in run(scenario, 0) if f.distance_left[0] > 0.0]
    assert frames[0].truth_class[0] == KINDS.index(kind)
    particle, network, _ = np.exp(frames[-1].log_probs[:, 0, BARRIER])
    if kind == "cone":
        assert min(particle, 1.0 - particle) < 0.01
        assert network == pytest.approx(scenario.hazards[0].barrier_probability, abs=0.1)
    else:
        assert max(abs(p - (kind == "barrier")) for p in (particle, network)) < 0.05


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["bag", "barrier"])
def test_what_is_known_stays_so_for_a_car_that_brakes_before_it(kind):
    """Near by, and seen for long while standing, known things look odd; the filter must not take them for others."""
    scenario = replace(Scenario(), filters=("bnn",), hazards=(replace(Scenario().hazards[0], kind=kind),))
    ends = [np.exp(list(run(scenario, seed))[-1].log_probs[0, 0, KINDS.index(kind)]) for seed in range(8000, 8060)]
    assert np.mean(np.array(ends) < 0.8) <= 0.1
    assert -np.mean(np.log(ends)) < 0.15
