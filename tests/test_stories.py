"""Stories: told again, cut short, and drawn often enough to see how a candidate moves."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from filters.models.model import Model
from filters.models.motion import BagMotion, frame_drift, frame_jacobian
from filters.models.radar import Radar
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Pose
from filters.stories import GUST, MOTION, ODOMETRY, Cloud, Stories, joined, step_of, take_back
from filters.streams import stream

ORIGIN = Gaussian(np.array([12.0, -0.3]), np.array([[0.25, 0.06], [0.06, 0.09]]))
GUSTY = replace(Model(), motion=BagMotion(gust_rate=2.0, calm_rate=2.0))
CLASSES = pytest.mark.parametrize("klass", [BAG, BARRIER], ids=["bag", "barrier"])


def noisy(k, errors=(1e-2, 2e-2, 1e-3)):
    """Odometry's k-th step along a bend, with these deviations of its errors."""
    return EgoMotion(np.array([0.8, 0.0, 0.01]), np.diag(errors) ** 2, Pose(0.8 * k, 0.02 * k, 0.9, 0.01 * k))


def exactly(pose=Pose(0.0, 0.0, 0.9, 0.0)):
    """Odometry without error."""
    return EgoMotion(np.zeros(3), np.zeros((3, 3)), pose)


STEPS = tuple(step_of(noisy(k), 0.1 + 0.01 * k) for k in range(7))


def stories_of(klass, model=GUSTY):
    return Stories(model, klass, ORIGIN)


def drawn(stories, n, steps, seed):
    """n stories and all their steps."""
    rng = stream(seed, "stories")
    cloud = stories.draw(n, rng)
    for step in steps:
        cloud = stories.go_on(cloud, step, rng)
    return cloud


# Told again


@CLASSES
def test_a_story_told_again_is_the_story(klass):
    stories, rng = stories_of(klass), stream(3, "story")
    cloud = stories.draw(50, rng)
    went = [(cloud.place, cloud.velocity, cloud.gust)]
    for step in STEPS:
        cloud = stories.go_on(cloud, step, rng)
        went.append((cloud.place, cloud.velocity, cloud.gust))
    for told, parts in zip(stories.tell(cloud, STEPS)[:3], zip(*went, strict=True), strict=True):
        np.testing.assert_array_equal(told, parts)
    gusts = [gust for _, _, gust in went]
    assert (np.ptp(gusts, axis=1) == (klass == BAG)).all()  # at every time some bags are in a gust and some not


@CLASSES
@pytest.mark.parametrize("hears", [False, True])
def test_a_story_has_a_latent_for_all_that_was_random(klass, hears):
    stories = stories_of(klass, replace(GUSTY, radar=Radar(on=hears)))
    cloud = drawn(stories, 30, STEPS[:2], 4)
    names = {BAG: 3, BARRIER: 4}[klass]
    assert cloud.u.shape == (30, 2 + names + hears + 1)
    assert cloud.start.shape == (30, 3)
    assert cloud.place.shape == cloud.velocity.shape == (30, 2)
    assert cloud.noise.shape == (30, 2, 6)
    assert cloud.gust.shape == (30,)


def test_latents_are_standard_normal():
    cloud = drawn(stories_of(BAG), 20_000, STEPS[:2], 5)
    for part in (cloud.u, cloud.start, cloud.noise.reshape(-1, 12)):
        np.testing.assert_allclose(part.mean(axis=0), 0.0, atol=4.0 / np.sqrt(20_000))
        np.testing.assert_allclose(np.cov(part.T), np.eye(part.shape[1]), atol=6.0 / np.sqrt(20_000))


def test_solids_are_the_shape_of_their_latents():
    """The latents between place and fog, the radar's left out."""
    stories = stories_of(BARRIER, replace(GUSTY, radar=Radar(on=True)))
    u = stream(6, "shape").standard_normal((9, 8))
    solids = stories.solids(u, ORIGIN.mean + u[:, :2])
    by_hand = GUSTY.barrier.physical(u[:, 2:6])
    np.testing.assert_array_equal(2.0 * solids.hy, by_hand[:, 0])
    np.testing.assert_array_equal(solids.reflectance, by_hand[:, 3])
    np.testing.assert_array_equal(solids.x, 12.0 + u[:, 0])


# Step by step


def slowly(motion, start, noise, steps):
    """The twin of `follow`, by the motion's and the frame's own equations: what is after every step."""
    place, velocity, gust = start
    yield start
    for k, step in enumerate(steps):
        if motion is not None:
            gust = motion.gusts(gust, ndtr(noise[:, k, GUST]), step.dt)
            place, velocity = motion.moved(place, velocity, gust, noise[:, k, MOTION], step.dt)
        error = noise[:, k, ODOMETRY] @ np.linalg.cholesky(step.motion.covariance).T
        place = place + np.einsum("nij,nj->ni", frame_jacobian(step.motion, place), error)
        yield place, velocity, gust


@pytest.mark.parametrize(
    "motion", [GUSTY.motion, BagMotion(0.7, 3.0, 0.2, 5.0, 0.3), BagMotion(wander=0.5, gust_rate=0.0)], ids=str
)
@CLASSES
def test_stories_go_as_the_equations_say(klass, motion):
    """Bags by those of `BagMotion`, a barrier by odometry's errors alone, here correlated."""
    stories, rng = stories_of(klass, replace(Model(), motion=motion)), stream(21, "twin")
    cloud, steps = stories.draw(300, rng), []
    for k in range(8):
        root = np.tril(rng.normal(0.0, [0.1, 0.2, 0.02], (3, 3)))
        pose = Pose(1.5 * k, -0.4 * k, 0.9, 0.3 * k)
        steps.append(step_of(EgoMotion(np.zeros(3), root @ root.T, pose), rng.uniform(0.02, 0.4)))
    noise = rng.standard_normal((300, 8, GUST + 1))
    start = stories.begin(cloud.u, cloud.start)
    wanted = slowly(motion if klass == BAG else None, start, noise, steps)
    places, velocities, gusts = stories.go(start, noise, tuple(steps))
    for k, (place, velocity, gust) in enumerate(wanted):
        np.testing.assert_allclose(places[k], place, atol=1e-12, rtol=1e-12)
        np.testing.assert_allclose(velocities[k], velocity, atol=1e-12, rtol=1e-12)
        np.testing.assert_array_equal(gusts[k], gust)
    assert gusts.any() == (klass == BAG and motion.gust_rate > 0.0)
    assert (np.ptp(places, axis=0) > 0.1).any(axis=1).all()


# How they move


def test_only_bags_are_ever_in_a_gust():
    bag, barrier = (stories_of(k).tell(drawn(stories_of(k), 4000, STEPS, 7), STEPS) for k in (BAG, BARRIER))
    assert not np.any(barrier.gusts)
    assert not np.any(barrier.velocities)
    np.testing.assert_allclose(np.mean(bag.gusts, axis=1), GUSTY.motion.gust_share, atol=4.0 * 0.5 / np.sqrt(4000))
    assert (np.any(bag.velocities, axis=2) == np.array(bag.gusts, bool)).all()


def test_gusts_switch_as_the_motion_says():
    bags = stories_of(BAG)
    gusts = bags.tell(drawn(bags, 20_000, STEPS, 20), STEPS).gusts
    for k, step in enumerate(STEPS):
        for before in (0, 1):
            some = gusts[k + 1][gusts[k] == before]
            exact = GUSTY.motion.switch(step.dt)[before, 1]
            assert some.mean() == pytest.approx(exact, abs=4.0 * np.sqrt(exact * (1.0 - exact) / len(some)))


def test_a_gust_that_blows_at_the_start_has_its_full_strength():
    bag = stories_of(BAG).draw(40_000, stream(8, "start"))
    blown = bag.gust > 0.0
    np.testing.assert_allclose(bag.velocity[blown].std(axis=0), GUSTY.motion.gust_speed, rtol=0.02)
    assert not bag.velocity[~blown].any()


def test_they_start_about_the_origin():
    place = stories_of(BARRIER).draw(40_000, stream(9, "origin")).place
    np.testing.assert_allclose(place.mean(axis=0), ORIGIN.mean, atol=4.0 * 0.5 / np.sqrt(40_000))
    np.testing.assert_allclose(np.cov(place.T), ORIGIN.covariance, atol=0.01)


def test_a_wandering_bag_spreads_as_the_motion_says():
    stories = stories_of(BAG, replace(Model(), motion=BagMotion(wander=0.5, gust_rate=0.0)))
    cloud = drawn(stories, 20_000, (step_of(exactly(), 0.1),) * 10, 10)
    moved = cloud.place - stories.begin(cloud.u, cloud.start)[0]
    np.testing.assert_allclose(np.cov(moved.T), 0.25 * np.eye(2), atol=6.0 * 0.25 / np.sqrt(20_000))


@CLASSES
def test_odometrys_error_enters_by_the_lever_arm(klass):
    """A turn of e about ego moves what stands at lever arm (x, y) by e (-y, x), and a shift by that shift, turned."""
    stories = stories_of(klass, replace(Model(), motion=BagMotion(wander=0.0, gust_rate=0.0)))
    motion = EgoMotion(np.zeros(3), np.diag([0.1, 0.2, 0.01]) ** 2, Pose(2.0, 1.0, 0.9, np.pi / 2))
    start, noise = (np.array([[12.0, -3.0]]), np.zeros((1, 2)), np.zeros(1)), np.full((1, 1, GUST + 1), 9.0)
    noise[0, 0, ODOMETRY] = 1.0, -1.0, 2.0
    places, velocities, gusts = stories.go(start, noise, (step_of(motion, 0.1),))
    ahead, aside, turn = 0.1, -0.2, 0.02
    np.testing.assert_allclose(np.diff(places, axis=0), [[[-aside - turn * -4.0, ahead + turn * 10.0]]], atol=1e-9)
    assert not velocities.any()
    assert not gusts.any()


# Later, and cut


@CLASSES
@pytest.mark.parametrize("k", [0, 3, 7])
def test_a_cut_story_goes_on_as_it_did(klass, k):
    stories = stories_of(klass)
    cloud = drawn(stories, 60, STEPS, 11)
    told, now = stories.tell(cloud, STEPS), stories.later(STEPS[:k])
    cut = stories.cut(cloud, STEPS[:k], now)
    again = now.tell(cut, STEPS[k:])
    np.testing.assert_allclose(again.places, told.places[k:], atol=1e-12)
    np.testing.assert_allclose(again.velocities, told.velocities[k:], atol=1e-12)
    np.testing.assert_array_equal(again.gusts, told.gusts[k:])
    np.testing.assert_array_equal(cut.gust, cloud.gust)
    np.testing.assert_array_equal(cut.u[:, 2:], cloud.u[:, 2:])
    np.testing.assert_array_equal(cut.place, cloud.place)
    np.testing.assert_array_equal(cut.velocity, cloud.velocity)
    assert cut.noise.shape == (60, 7 - k, 6)


def test_cut_twice_is_cut_once():
    stories = stories_of(BAG)
    cloud = drawn(stories, 60, STEPS, 12)
    halfway, end = stories.later(STEPS[:2]), stories.later(STEPS[:5])
    twice = halfway.cut(stories.cut(cloud, STEPS[:2], halfway), STEPS[2:5], halfway.later(STEPS[2:5]))
    once = stories.cut(cloud, STEPS[:5], end)
    blown = end.begin(once.u, once.start)[2] > 0.0  # of the others' velocity at the start nothing is ever told
    for c in (twice, once):
        c.start[~blown, :2] = 0.0
    for a, b in zip(twice, once, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_a_cut_barriers_latents_are_standard_normal_again():
    """`later` has the very moments of a barrier's stories: those of start and drift of the odometry frame."""
    steps = tuple(step_of(noisy(k, (0.1, 0.2, 0.01)), 0.1) for k in range(7))
    stories = stories_of(BARRIER)
    now, n = stories.later(steps), 40_000
    cloud = drawn(stories, n, steps, 13)
    by_hand = ORIGIN.covariance + sum(frame_drift(step.motion, ORIGIN.mean) for step in steps)
    np.testing.assert_allclose(now.origin.covariance, by_hand, rtol=1e-12)
    np.testing.assert_array_equal(now.origin.mean, ORIGIN.mean)
    u = stories.cut(cloud, steps, now).u
    np.testing.assert_allclose(u.mean(axis=0), 0.0, atol=4.0 / np.sqrt(n))
    np.testing.assert_allclose(np.cov(u.T), np.eye(7), atol=6.0 / np.sqrt(n))


def spread_of(motion, seconds, dt, n, seed):
    """Variance of the way of n bags, and what `later` takes it to be."""
    stories = stories_of(BAG, replace(Model(), motion=motion))
    steps = (step_of(exactly(), dt),) * round(seconds / dt)
    cloud = drawn(stories, n, steps, seed)
    way = cloud.place - stories.begin(cloud.u, cloud.start)[0]
    added = stories.later(steps).origin.covariance - ORIGIN.covariance
    np.testing.assert_allclose(added, added[0, 0] * np.eye(2), atol=1e-12)
    return float((way**2).mean()), float(added[0, 0])


def test_later_has_the_variance_of_bags_in_long_gusts():
    """To 6 %, where a gust lasts for fifty times its correlation time: chance."""
    motion = BagMotion(wander=0.2, gust_time=0.1, gust_rate=0.2, calm_rate=0.2)
    found, expected = spread_of(motion, 10.0, 0.05, 6_000, 14)
    assert found == pytest.approx(expected, rel=0.06)


def test_later_has_the_variance_of_bags_in_short_gusts():
    """A gust rises from rest and its velocity is gone when it ends."""
    found, expected = spread_of(BagMotion(), 20.0, 0.1, 6_000, 15)
    assert found == pytest.approx(expected, rel=0.08)  # steps of dt, gusts at the start, chance


# Clouds


def test_what_is_told_of_some_stories():
    stories, chosen = stories_of(BAG), np.array([7, 0, 7])
    cloud = drawn(stories, 9, STEPS, 22)
    some, alone = stories.tell(cloud, STEPS).take(chosen), stories.tell(cloud.take(chosen), STEPS)
    for part, one in zip((*some[:3], *some.shapes), (*alone[:3], *alone.shapes), strict=True):
        np.testing.assert_array_equal(part, one)


@CLASSES
def test_what_is_told_has_the_shapes_at_any_places(klass):
    stories = stories_of(klass)
    cloud = drawn(stories, 9, STEPS, 23)
    elsewhere = cloud.place + np.arange(18.0).reshape(9, 2)
    for told in (stories.tell(cloud, STEPS), stories.last(cloud, 2)):
        for part, one in zip(told.solids(elsewhere), stories.solids(cloud.u, elsewhere), strict=True):
            np.testing.assert_array_equal(part, one)


def test_stories_at_their_last_place_are_there_at_every_step():
    stories = stories_of(BAG)
    cloud = drawn(stories, 9, STEPS, 24)
    told = stories.last(cloud, 7)
    for parts, last in zip(told[:3], (cloud.place, cloud.velocity, cloud.gust), strict=True):
        assert len(parts) == 8
        assert (parts == last).all()


def test_some_stories_of_several_clouds():
    stories = stories_of(BAG)
    a, b = (drawn(stories, 5, STEPS, seed) for seed in (16, 17))
    both = joined([a, b])
    for part, one, other in zip(both.take(np.array([7, 0])), b.take(np.array([2])), a.take(np.array([0])), strict=True):
        np.testing.assert_array_equal(part, np.concatenate([one, other]))


def test_the_new_story_where_accepted_else_the_old():
    stories = stories_of(BAG)
    new, old = (drawn(stories, 4, STEPS, seed) for seed in (18, 19))
    accept = np.array([True, False, False, True])
    after = Cloud(*(part.copy() for part in new))
    take_back(~accept, after, old)
    for part, a, b in zip(after, new, old, strict=True):
        np.testing.assert_array_equal(part[accept], a[accept])
        np.testing.assert_array_equal(part[~accept], b[~accept])
