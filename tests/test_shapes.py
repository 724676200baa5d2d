"""Each kind of solid against its implicit function, marched along the ray; and the priors of the two shapes."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.transform import Rotation

from filters.models.attitude import directions, places, relative, rotation, seen_from, turn, turn_back
from filters.models.incidence import meet, standing
from filters.models.shapes import BOX, CYLINDER, ELLIPSOID, JERSEY, BagPrior, BarrierPrior, Solids
from filters.spec import Pose
from tests import reference

KINDS = {"box": BOX, "ellipsoid": ELLIPSOID, "cylinder": CYLINDER, "jersey": JERSEY}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
CENTRE = np.array([5.0, -2.0, 0.7])
UPRIGHT = (0.0, 0.0, 0.0)

near = st.floats(-1.0, 1.0)
size = st.floats(0.1, 2.0)
angle = st.floats(-np.pi, np.pi).map(lambda v: round(v, 6))


def solid(kind, half, attitude=UPRIGHT):
    """One solid at CENTRE."""
    values = dict.fromkeys(Solids._fields, 0.0) | {"kind": float(kind)}
    values |= dict(
        zip(("x", "y", "z", "hx", "hy", "hz", "yaw", "pitch", "roll"), (*CENTRE, *half, *attitude), strict=True)
    )
    return Solids(*(np.array([values[k]]) for k in Solids._fields))


def met(kind, half, attitude, origin, direction):
    """What a ray from `origin` off the centre along a direction of the world meets."""
    pose = Pose(*(origin + CENTRE), 0.0)
    one = solid(kind, half, attitude)
    return meet(standing(one, 0, pose, rotation(0.0, 0.0, 0.0)), *direction)


def level(kind, half, p):
    """Implicit functions of points (..., 3) in a solid's own axes: negative inside."""
    x, y, z = np.moveaxis(np.asarray(p), -1, 0)
    if kind == BOX:
        return np.max([np.abs(x) - half[0], np.abs(y) - half[1], np.abs(z) - half[2]], axis=0)
    if kind == ELLIPSOID:
        return (x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / half[2]) ** 2 - 1.0
    if kind == CYLINDER:
        return np.maximum(np.hypot(x / half[0], y / half[1]) - 1.0, np.abs(z) / half[2] - 1.0)
    inches = 16.0 * (z / half[2] + 1.0)
    knee = 12.0 - 10.0 / np.tan(np.radians(55.0))
    width = np.interp(inches, [0.0, 3.0, 13.0, 32.0], [12.0, 12.0, knee, knee - 19.0 / np.tan(np.radians(84.0))])
    return np.max([np.abs(x) - half[0] * width / 12.0, np.abs(y) - half[1], np.abs(z) - half[2]], axis=0)


def march(kind, half, attitude, origin, direction, far=16.0, steps=4000):
    """First change from outside to inside along the ray, bisected; the cosine from the gradient there.

    Where the function comes nearest to zero the steps are a thousand times finer: a ray may cut off a sliver.
    """
    R = Rotation.from_euler("ZYX", attitude).as_matrix()
    o, d = origin @ R, direction @ R

    def f(t):
        return level(kind, half, o + np.multiply.outer(t, d))

    t = np.linspace(0.0, far, steps)
    value = f(t)
    lowest = 1 + np.flatnonzero((value[1:-1] <= value[:-2]) & (value[1:-1] <= value[2:]))
    t = np.sort(np.concatenate([t, *(np.linspace(t[k - 1], t[k + 1], 2000) for k in lowest)]))
    inside = f(t) < 0.0
    if inside[0] or not inside.any():
        return np.inf, 0.0
    k = inside.argmax()
    low, high = t[k - 1], t[k]
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if f(middle) < 0.0 else (middle, high)
    p = o + high * d
    slope = np.array([level(kind, half, p + e) - level(kind, half, p - e) for e in 1e-7 * np.eye(3)])
    return high, float(-slope @ d / np.linalg.norm(slope))


@st.composite
def rays(draw):
    """An origin 0.1 to 12 m off, and a unit direction that roughly points back."""
    origin = draw(st.floats(0.1, 12.0)) * reference.direction_of(draw(st.floats(-1.4, 1.4)), draw(angle))
    direction = np.array([draw(near), draw(near), draw(near)]) - origin
    assume(np.linalg.norm(direction) > 0.05)
    return origin, direction / np.linalg.norm(direction)


# cuts a millimetre off a Jersey barrier
SLIVER = (
    np.array([0.1400703, 1.36784696, 0.0]),
    np.array([0.28031063, -0.95990934, 0.0]) / np.hypot(0.28031063, 0.95990934),
)


@EVERY_KIND
@given(rays(), st.tuples(size, size, size), st.tuples(angle, angle, angle))
@example(SLIVER, (0.1, 0.333984375, 0.44140625), (1.484375, 1.476562, 0.332031))
@settings(max_examples=150, deadline=None)
def test_a_ray_meets_where_the_implicit_function_changes_sign(kind, ray, half, attitude):
    expected = march(kind, half, attitude, *ray)
    grown, shrunk = (march(kind, np.multiply(half, f), attitude, *ray) for f in (1.0 + 1e-3, 1.0 - 1e-3))
    assume(grown == pytest.approx(shrunk, abs=0.02))  # rays that graze a face or an edge may go either way
    found = met(kind, half, attitude, *ray)
    assert found[0] == pytest.approx(expected[0], abs=1e-6)
    assert found[1] == pytest.approx(expected[1], abs=1e-3)


@EVERY_KIND
def test_a_solid_is_met_where_it_stands(kind):
    """Straight at a solid that stands off the origin, and away from it."""
    ahead, half = np.array([1.0, 0.0, 0.0]), (0.5, 0.5, 0.5)
    below_the_toe = np.array([-4.0, 0.0, -0.45])  # where all kinds but the ball are upright and full
    distance, cosine = met(kind, half, UPRIGHT, below_the_toe, ahead)
    assert distance == pytest.approx(4.0 - np.sqrt(0.25 - 0.45**2) if kind == ELLIPSOID else 3.5)
    assert cosine == pytest.approx(np.sqrt(1.0 - 0.9**2) if kind == ELLIPSOID else 1.0)
    assert met(kind, half, UPRIGHT, below_the_toe, -ahead) == (np.inf, 0.0)


def test_rays_parallel_to_faces():
    ahead, half, along_y = np.array([1.0, 0.0, 0.0]), (1.0, 1.0, 1.0), np.array([0.0, 1.0, 0.0])
    for kind in (BOX, CYLINDER, JERSEY):
        assert met(kind, half, UPRIGHT, np.array([0.0, -3.0, -0.9]), along_y) == pytest.approx((2.0, 1.0))
        assert met(kind, half, UPRIGHT, np.array([-3.0, 0.0, -1.001]), ahead) == (np.inf, 0.0)
        assert met(kind, half, UPRIGHT, np.array([-3.0, 1.001, -0.9]), ahead) == (np.inf, 0.0)
        assert met(kind, half, UPRIGHT, np.array([0.1, 0.0, 3.0]), np.array([0.0, 0.0, -1.0])) == pytest.approx(
            (2.0, 1.0)
        )
        assert met(kind, half, UPRIGHT, np.array([1.001, 0.0, 3.0]), np.array([0.0, 0.0, -1.0])) == (np.inf, 0.0)
    distance, cosine = met(BOX, (1.0, 5.0, 1.0), (0.3, 0.0, 0.0), np.array([-3.0, 0.0, 0.0]), ahead)
    assert (distance, cosine) == pytest.approx((3.0 - 1.0 / np.cos(0.3), np.cos(0.3)))


@EVERY_KIND
def test_a_ray_that_starts_inside_meets_nothing(kind):
    rng = np.random.default_rng(0)
    for _ in range(60):
        origin = rng.uniform(-0.5, 0.5, 3)
        direction = reference.direction_of(*rng.uniform(-1.5, 1.5, 2))
        if level(kind, (0.5, 0.5, 0.5), origin) < -1e-6:
            assert met(kind, (0.5, 0.5, 0.5), UPRIGHT, origin, direction) == (np.inf, 0.0)


def test_a_jersey_barrier_is_one_solid():
    """From within its foot the upper part is not met; from above it the two parts leave no crack at the knee."""
    up = np.array([0.05, 0.0, 1.0]) / np.hypot(0.05, 1.0)
    assert met(JERSEY, (0.3, 1.0, 0.4), UPRIGHT, np.array([-0.2, 0.0, -0.39]), up) == (np.inf, 0.0)
    down = np.array([0.0, 0.0, -1.0])
    for x in np.linspace(-0.299, 0.299, 401):
        distance, _ = met(JERSEY, (0.3, 1.0, 0.4), UPRIGHT, np.array([x, 0.0, 2.0]), down)
        assert distance == pytest.approx(
            march(JERSEY, (0.3, 1.0, 0.4), UPRIGHT, np.array([x, 0.0, 2.0]), down)[0], abs=1e-6
        )


def test_the_jersey_profile_has_the_published_widths():
    """24 inches at the foot and 6 at the top, of 32 inches' height: the two angles and heights close."""
    half = (0.3048, 1.0, 0.4064)
    for height, width in ((0.0508, 0.6096), (0.8127, 0.1535)):
        distance, _ = met(JERSEY, half, UPRIGHT, np.array([-3.0, 0.0, height - 0.4064]), np.array([1.0, 0.0, 0.0]))
        assert 2.0 * (3.0 - distance) == pytest.approx(width, abs=2e-3)


def test_a_beam_across_a_ball_sees_its_disc():
    """Share of parallel rays over a square that meet the inscribed ball: pi/4; mean cosine over the disc: 2/3."""
    y, z = (a.ravel() for a in np.meshgrid(*[np.linspace(-0.99, 0.99, 100)] * 2))
    ahead = np.array([1.0, 0.0, 0.0])
    ball = np.array(
        [met(ELLIPSOID, (1.0, 1.0, 1.0), UPRIGHT, np.array([-5.0, *p]), ahead) for p in zip(y, z, strict=True)]
    )
    hit = np.isfinite(ball[:, 0])
    assert hit.mean() == pytest.approx(np.pi / 4, rel=0.015)
    assert ball[hit, 1].mean() == pytest.approx(2.0 / 3.0, rel=5e-3)


# Attitudes


@given(angle, angle, angle)
@settings(max_examples=50, deadline=None)
def test_rotation_is_yaw_after_pitch_after_roll(yaw, pitch, roll):
    expected = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix()
    R = rotation(yaw, pitch, roll)
    assert np.array(R) == pytest.approx(expected, abs=1e-12)
    v = np.array([0.3, -2.0, 1.1])
    assert turn(R, *v) == pytest.approx(expected @ v)
    assert turn_back(R, *v) == pytest.approx(expected.T @ v)
    assert np.array(relative(R, rotation(0.4, -0.2, 0.1))) == pytest.approx(
        expected.T @ np.array(rotation(0.4, -0.2, 0.1)), abs=1e-12
    )


def test_a_positive_pitch_looks_down_and_a_positive_roll_lowers_the_right():
    assert rotation(0.0, 0.1, 0.0)[2][0] < 0.0  # ahead
    assert rotation(0.0, 0.0, 0.1)[2][1] > 0.0  # left


def test_places_are_where_beams_reach_and_are_seen_there():
    pose, rng = Pose(3.0, -1.0, 1.5, 0.7, 0.2, -0.3), np.random.default_rng(2)
    up, around, distance = rng.uniform(-1.0, 1.0, 9), rng.uniform(-3.0, 3.0, 9), rng.uniform(1.0, 50.0, 9)
    points = places(pose, up, around, distance)
    own = seen_from(pose, points)
    assert own == pytest.approx(distance[:, None] * directions(up, around))
    assert np.linalg.norm(points - np.array(pose[:3]), axis=1) == pytest.approx(distance)
    R = Rotation.from_euler("ZYX", pose[3:]).as_matrix()
    assert points == pytest.approx(own @ R.T + np.array(pose[:3]))


# Priors


@pytest.mark.parametrize("prior", [BarrierPrior(), BagPrior()])
def test_normal_latents_are_uniform_priors(prior):
    latents = np.random.default_rng(1).standard_normal((4000, len(prior.names)))
    for column, (low, high) in zip(prior.physical(latents).T, prior.bounds, strict=True):
        assert stats.kstest(column, stats.uniform(low, high - low).cdf).pvalue > 1e-3
        assert stats.kstest(column, stats.uniform(low, 1.05 * (high - low)).cdf).pvalue < 1e-6


def test_latents_rise_with_what_they_stand_for():
    for prior in (BarrierPrior(), BagPrior()):
        low, middle, high = (prior.physical(np.full((1, len(prior.names)), u))[0] for u in (-9.0, 0.0, 9.0))
        assert low == pytest.approx(prior.bounds[:, 0])
        assert middle == pytest.approx(prior.bounds.mean(axis=1))
        assert high == pytest.approx(prior.bounds[:, 1])


def test_solids_stand_on_the_ground_with_the_latents_sizes():
    position = np.array([[10.0, -1.0], [20.0, 2.0]])
    latents = np.random.default_rng(2).standard_normal((2, 4))
    length, height, yaw, reflectance = BarrierPrior().physical(latents).T
    box = BarrierPrior().solids(position, latents)
    assert np.column_stack([box.x, box.y]) == pytest.approx(position)
    assert box.z - box.hz == pytest.approx(0.0)
    for found, expected in ((2 * box.hy, length), (2 * box.hz, height), (box.yaw, yaw), (box.reflectance, reflectance)):
        assert found == pytest.approx(expected)
    assert (box.kind == BOX).all()
    assert (box.fill == 1.0).all()
    radius, fill, reflectance = BagPrior().physical(latents[:, :3]).T
    bag = BagPrior().solids(position, latents[:, :3])
    for found, expected in ((bag.hx, radius), (bag.z, radius), (bag.fill, fill), (bag.reflectance, reflectance)):
        assert found == pytest.approx(expected)
    assert (bag.kind == ELLIPSOID).all()


def test_every_array_of_a_shape_is_contiguous():
    """Of another layout a kernel is compiled once more, and indexes slower."""
    for prior in (BarrierPrior(), BagPrior()):
        solids = prior.solids(np.zeros((5, 2)), np.zeros((5, len(prior.names))))
        assert all(a.flags.c_contiguous for a in solids)


def test_a_barriers_profile_is_its_kind():
    latents = np.zeros((1, 4))
    block, jersey = (BarrierPrior(profile=p).solids(np.zeros((1, 2)), latents) for p in ("block", "jersey"))
    assert (block.kind[0], jersey.kind[0]) == (BOX, JERSEY)
    assert jersey._replace(kind=block.kind) == block
    with pytest.raises(ValueError, match="'brick', expected one of block, jersey"):
        BarrierPrior(profile="brick")
