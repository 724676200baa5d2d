from itertools import pairwise

import numpy as np
import pytest

from filters.models.motion import BagMotion
from filters.spec import BAG, BARRIER
from filters.streams import stream
from fogsim.errors import UserError
from fogsim.frame import ACTIONS
from fogsim.world import ego as car
from fogsim.world.ego import BRAKE, CHANGE_LANE, PROCEED, SLOW, EgoState, stopping_distance
from fogsim.world.setting import Ego, Fog, Hazard, Road, Setting
from fogsim.world.world import collided, farthest_left, reach, rectangles_overlap, solids_of, start, step

EGO, ROAD = Ego(), Road()


def at_speed(speed):
    return EgoState(0.0, 0.0, 0.0, speed, speed)


def drive(state, action, seconds, dt=0.1):
    """The states of so many seconds of one action."""
    states = [state]
    for _ in range(round(seconds / dt)):
        states.append(car.step(states[-1], action, EGO, ROAD, dt))
    return states


# Ego


@pytest.mark.parametrize("dt", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("speed", range(3, 13))
def test_braking_at_the_stopping_distance_leaves_the_margin(speed, dt):
    before = drive(at_speed(float(speed)), PROCEED, 1.0, dt)[-1]
    states = drive(before, BRAKE, 8.0, dt)
    left = stopping_distance(EGO, before.speed) - (states[-1].x - before.x)
    assert states[-1].speed == 0.0
    assert EGO.margin - 0.3 <= left <= EGO.margin + 1.5


def test_brakes_follow_the_reaction_time():
    states = drive(drive(at_speed(8.0), PROCEED, 1.0)[-1], BRAKE, 5.0)
    speeds = np.array([s.speed for s in states])
    assert (np.diff(speeds) <= 1e-12).all()
    at_full_speed = 0.1 * np.sum(np.diff(speeds) > -1e-12, where=speeds[1:] > 0.0)
    assert EGO.reaction - 0.1 <= at_full_speed + 1e-9
    assert at_full_speed <= EGO.reaction + 1e-9
    assert np.diff(speeds).min() == pytest.approx(-EGO.deceleration * 0.1)
    assert states[-1].x == pytest.approx(states[-2].x)


def test_a_decision_taken_back_in_time_has_no_effect():
    states = drive(at_speed(8.0), BRAKE, 0.4) + drive(drive(at_speed(8.0), BRAKE, 0.4)[-1], PROCEED, 2.0)
    assert min(s.speed for s in states) == pytest.approx(8.0)
    assert {s.action for s in states} == {PROCEED}


def test_slow_drives_at_its_share_of_the_approach_and_proceed_returns():
    slow = drive(at_speed(8.0), SLOW, 6.0)[-1]
    assert slow.speed == pytest.approx(EGO.slow_factor * 8.0)
    assert drive(slow, PROCEED, 6.0)[-1].speed == pytest.approx(8.0)


@pytest.mark.parametrize("speed", [3.0, 6.0, 9.0, 12.0])
def test_a_change_of_lane_ends_straight_in_the_next_lane(speed):
    states = drive(at_speed(speed), CHANGE_LANE, 40.0 / (EGO.slow_factor * speed) + 2.0)
    last = states[-1]
    assert last.y == pytest.approx(ROAD.lane_width, abs=0.1)
    assert last.yaw == pytest.approx(0.0, abs=0.02)
    assert max(s.y for s in states) < ROAD.lane_width + 0.3
    heading, x = np.array([s.yaw for s in states]), np.array([s.x for s in states])
    sideways = np.diff(heading) / 0.1 * np.array([s.speed for s in states[1:]])
    assert np.abs(sideways).max() <= car.LATERAL_LIMIT * 1.05
    assert (np.diff(x) > 0.0).all()


def test_steps_follow_the_bicycle():
    """The path's length is speed times time, and a turn's curvature is tan(steer) / wheelbase."""
    states = drive(at_speed(6.0), CHANGE_LANE, 4.0)
    for a, b in pairwise(states):
        middle = 0.5 * (a.speed + b.speed)
        assert np.hypot(b.x - a.x, b.y - a.y) == pytest.approx(0.1 * middle)
        told = car.react(a, CHANGE_LANE, EGO, ROAD, 0.1)
        assert b.yaw - a.yaw == pytest.approx(0.1 * middle * np.tan(car.steering(told, EGO)) / EGO.wheelbase)


def test_the_front_starts_at_the_origin():
    state = car.start(EGO, np.random.default_rng(0))
    assert car.front(EGO, state) == pytest.approx([0.0, 0.0, 0.0])
    assert EGO.speed[0] <= state.speed == state.approach <= EGO.speed[1]


def test_actions_are_the_logged_ones():
    assert [ACTIONS[a] for a in (PROCEED, SLOW, CHANGE_LANE, BRAKE)] == ["proceed", "slow", "change_lane", "brake"]


# Rectangles and collisions


def inside(rectangle, points):
    """Which points (n, 2) lie in a rectangle."""
    centre, yaw, half_length, half_width = rectangle
    turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    return (np.abs((points - centre) @ turn.T) <= [half_length, half_width]).all(axis=1)


def filled(rectangle, n=60):
    """Points that fill a rectangle, its edges included."""
    centre, yaw, half_length, half_width = rectangle
    a, b = (
        v.ravel()
        for v in np.meshgrid(np.linspace(-half_length, half_length, n), np.linspace(-half_width, half_width, n))
    )
    return centre + np.column_stack([np.cos(yaw) * a - np.sin(yaw) * b, np.sin(yaw) * a + np.cos(yaw) * b])


def test_overlap_is_a_common_point():
    """Points of one that lie in the other; rectangles that touch by less than the points' spacing are left out."""
    rng, counts = np.random.default_rng(1), {True: 0, False: 0}
    for _ in range(400):
        a, b = ((rng.uniform(-2.0, 2.0, 2), rng.uniform(-3.0, 3.0), *rng.uniform(0.2, 2.0, 2)) for _ in range(2))
        grown, shrunk = ((*a[:2], a[2] * f, a[3] * f) for f in (1.1, 0.9))
        if inside(b, filled(grown)).any() != inside(b, filled(shrunk)).any():
            continue
        overlap = bool(inside(b, filled(a)).any())
        counts[overlap] += 1
        assert rectangles_overlap(a, b) == rectangles_overlap(b, a) == overlap
    assert min(counts.values()) > 50


def test_reach_is_the_farthest_corner():
    rng = np.random.default_rng(2)
    for _ in range(20):
        rectangle = (np.zeros(2), rng.uniform(-3.0, 3.0), *rng.uniform(0.2, 2.0, 2))
        axis = np.array([np.cos(t := rng.uniform(-3.0, 3.0)), np.sin(t)])
        assert reach(rectangle, axis) == pytest.approx((filled(rectangle, 2) @ axis).max())


def world_with(kind, x, y=0.0, speed=8.0):
    setting = Setting(hazards=(Hazard(kind=kind, x=x, y=y, x_spread=1e-9, y_spread=1e-9),))
    world = start(setting, 0)
    return setting, world._replace(ego=world.ego._replace(speed=speed))


@pytest.mark.parametrize(
    ("kind", "x", "y", "speed", "expected"),
    [
        ("barrier", 0.1, 0.0, 8.0, True),
        ("barrier", -2.0, 0.5, 8.0, True),  # under ego
        ("barrier", 1.5, 0.0, 8.0, False),  # ahead
        ("barrier", -6.5, 0.0, 8.0, False),  # behind the rear bumper
        ("barrier", 0.0, 2.3, 8.0, False),  # beside
        ("barrier", 0.1, 0.0, 0.05, False),  # at rest
        ("bag", 0.1, 0.0, 8.0, False),
    ],
)
def test_only_a_moving_ego_collides_and_only_with_barriers(kind, x, y, speed, expected):
    setting, world = world_with(kind, x, y, speed)
    assert collided(world, setting) is expected


def test_driving_on_hits_a_barrier_ahead_and_passes_a_bag():
    for kind, expected in (("barrier", True), ("bag", False)):
        setting, world = world_with(kind, 20.0)
        hit, rng = False, np.random.default_rng(0)
        for _ in range(60):
            world = step(world, PROCEED, setting, rng)
            hit |= collided(world, setting)
        assert hit is expected
        assert farthest_left(world, setting) < 0.0


# The drawn world


def test_the_same_seed_is_the_same_world():
    setting, worlds = Setting(hazards=(Hazard(kind="bag"), Hazard())), []
    for _ in range(2):
        world, rng = start(setting, 11), stream(11, "motion")
        for _ in range(30):
            world = step(world, SLOW, setting, rng)
        worlds.append(world)
    a, b = worlds
    assert (a.ego, a.visibility, a.time) == (b.ego, b.visibility, b.time)
    for x, y in zip(a.things, b.things, strict=True):
        assert x.kind == y.kind
        assert all((p == q).all() for p, q in zip(x[1:], y[1:], strict=True))
    assert start(setting, 12).visibility != a.visibility


def test_a_hazard_added_leaves_the_others_as_they_are():
    one, two = (start(Setting(hazards=(Hazard(),) * n), 5) for n in (1, 2))
    assert (one.ego, one.visibility) == (two.ego, two.visibility)
    assert (one.things[0].latents == two.things[0].latents).all()
    assert (two.things[0].position != two.things[1].position).all()


def test_worlds_are_drawn_from_the_priors_that_filters_are_told():
    setting = Setting(hazards=(Hazard(barrier_probability=0.3),), fog=Fog(visibility=25.0, spread=0.3))
    worlds = [start(setting, seed) for seed in range(2000)]
    things = [w.things[0] for w in worlds]
    hazard, n = setting.hazards[0], len(worlds)
    z = (np.log([w.visibility for w in worlds]) - np.log(25.0)) / 0.3
    place = (np.array([t.position for t in things]) - [hazard.x, hazard.y]) / [hazard.x_spread, hazard.y_spread]
    latents = np.concatenate([t.latents for t in things])
    for values in (z, *place.T, latents):
        assert abs(values.mean()) < 4.5 / np.sqrt(n)
        assert values.std() == pytest.approx(1.0, abs=0.08)
    assert np.mean([t.kind == BARRIER for t in things]) == pytest.approx(0.3, abs=4.5 * np.sqrt(0.21 / n))
    assert not any(t.velocity.any() for t in things if t.kind == BARRIER)
    gusts = [t.gust[0] for t in things if t.kind == BAG]
    assert np.mean(gusts) == pytest.approx(setting.motion.gust_share, abs=0.05)


def test_bags_move_and_barriers_stand():
    setting = Setting(hazards=(Hazard(kind="bag"), Hazard(kind="barrier")), motion=BagMotion(gust_rate=5.0))
    first = start(setting, 3)
    world, rng = first, np.random.default_rng(0)
    for _ in range(20):
        world = step(world, PROCEED, setting, rng)
    assert (world.things[0].position != first.things[0].position).all()
    assert (world.things[1].position == first.things[1].position).all()
    assert world.time == pytest.approx(2.0)
    solids = solids_of(world, setting)
    assert np.column_stack([solids.x, solids.y]) == pytest.approx(np.array([t.position for t in world.things]))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Fog(visibility=0.0), "fog.visibility is 0.0 m, expected > 0"),
        (lambda: Fog(visibility=float("nan")), "fog.visibility is nan"),
        (lambda: Fog(spread=-1.0), "fog.spread is -1.0"),
        (lambda: Hazard(kind="boxx"), "unknown hazard kind 'boxx': did you mean 'box'"),
        (lambda: Hazard(barrier_probability=1.0), "barrier_probability is 1.0"),
        (lambda: Setting(dt=0.0), "dt is 0.0 s"),
    ],
)
def test_impossible_settings_are_errors(make, text):
    with pytest.raises(UserError, match=text):
        make()


# Streams


def test_streams_are_stable():
    """Recorded once: a change would change every run."""
    assert stream(7, "lidar", 3).random(2).tolist() == [0.1592383071865151, 0.3059145832998963]
    assert stream(0, "world").standard_normal(2).tolist() == [0.8189672009363624, -0.10869591392067765]


def test_streams_are_keyed_by_names_not_by_order():
    a = stream(1, "a").random(3)
    stream(1, "b").random(100)
    assert (stream(1, "a").random(3) == a).all()
    draws = [
        stream(*key).random()
        for key in [(1, "a"), (2, "a"), (1, "b"), (1, "a", "b"), (1, "ab"), (1, "a", 0), (1, "a", 1)]
    ]
    assert len(set(draws)) == len(draws)


def test_streams_do_not_run_together():
    draws = np.array([stream(0, "lidar", tick).standard_normal(500) for tick in range(40)])
    correlation = np.corrcoef(draws) - np.eye(40)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(500)
