import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from filters.models.shapes import BOX, SPHERE, BagPrior, BarrierPrior, Solids, meet, meet_box, meet_sphere
from tests import reference

near = st.floats(-1.0, 1.0)
size = st.floats(0.05, 2.0)
angle = st.floats(-np.pi, np.pi).map(lambda v: round(v, 9))  # no subnormal slopes


@st.composite
def rays(draw):
    """An origin 0.1 to 12 m off, and a unit direction that roughly points back."""
    away = reference.direction_of(draw(st.floats(-1.4, 1.4)), draw(angle))
    origin = np.round(draw(st.floats(0.1, 12.0)) * away, 9)
    target = np.array([draw(near), draw(near), draw(near)])
    direction = np.round(target - origin, 9)
    assume(np.linalg.norm(direction) > 0.05)
    return origin, direction / np.linalg.norm(direction)


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], rel=1e-7, abs=1e-9)
    assert found[1] == pytest.approx(expected[1], rel=1e-5, abs=1e-6)


@given(rays(), st.tuples(size, size, size), angle)
@settings(max_examples=300, deadline=None)
def test_box_is_the_nearest_of_six_faces(ray, half, yaw):
    origin, direction = ray
    expected = reference.meet_box(origin, direction, np.array(half), yaw)
    grown, shrunk = (reference.meet_box(origin, direction, np.array(half) * f, yaw) for f in (1 + 1e-6, 1 - 1e-6))
    assume(grown == pytest.approx(shrunk, abs=1e-3))  # rays that graze a face or an edge may go either way
    assert_same(meet_box(*origin, *direction, *half, np.cos(yaw), np.sin(yaw)), expected)


@given(rays(), size)
@settings(max_examples=300, deadline=None)
def test_sphere_is_the_smaller_root(ray, radius):
    origin, direction = ray
    closest = np.linalg.norm(origin - (origin @ direction) * direction)
    assume(abs(closest - radius) > 1e-4)
    assume(abs(np.linalg.norm(origin) - radius) > 1e-4)
    assert_same(meet_sphere(*origin, *direction, radius), reference.meet_sphere(origin, direction, radius))


@given(rays(), st.tuples(size, size, size), angle)
@settings(max_examples=100, deadline=None)
def test_where_a_ray_meets_is_on_the_surface(ray, half, yaw):
    origin, direction = ray
    for kind in (BOX, SPHERE):
        distance, cosine = meet(solid(kind, half, yaw), 0, np.cos(yaw), np.sin(yaw), *(origin + CENTRE), *direction)
        if np.isinf(distance):
            assert cosine == 0.0
            continue
        assert 0.0 <= cosine <= 1.0 + 1e-9
        x, y, z = origin + distance * direction
        if kind == SPHERE:
            assert np.sqrt(x * x + y * y + z * z) == pytest.approx(half[0], abs=1e-6)
        else:
            x, y = np.cos(yaw) * x + np.sin(yaw) * y, np.cos(yaw) * y - np.sin(yaw) * x
            assert np.max(np.abs([x, y, z]) / half) == pytest.approx(1.0, abs=1e-5)


CENTRE = np.array([5.0, -2.0, 0.7])


def solid(kind, half, yaw):
    columns = dict(zip(Solids._fields, np.zeros((len(Solids._fields), 1)), strict=True))
    columns |= {"kind": np.array([float(kind)]), "yaw": np.array([yaw])}
    columns |= dict(zip("xyz", CENTRE[:, None], strict=True)) | dict(
        zip(("hx", "hy", "hz"), np.array(half)[:, None], strict=True)
    )
    return Solids(**columns)


@pytest.mark.parametrize("kind", [BOX, SPHERE])
def test_a_solid_is_met_where_it_stands(kind):
    """Straight at the centre of a solid that stands off the origin."""
    distance, cosine = meet(solid(kind, (0.5, 0.5, 0.5), 0.0), 0, 1.0, 0.0, 1.0, -2.0, 0.7, 1.0, 0.0, 0.0)
    assert (distance, cosine) == pytest.approx((3.5, 1.0))
    assert meet(solid(kind, (0.5, 0.5, 0.5), 0.0), 0, 1.0, 0.0, 1.0, -2.0, 0.7, -1.0, 0.0, 0.0)[0] == np.inf


def test_rays_parallel_to_faces():
    ahead = (1.0, 0.0, 0.0)
    assert meet_box(-3.0, 0.5, 0.0, *ahead, 1.0, 1.0, 1.0, 1.0, 0.0) == (2.0, 1.0)
    assert meet_box(-3.0, 1.001, 0.0, *ahead, 1.0, 1.0, 1.0, 1.0, 0.0) == (np.inf, 0.0)
    assert meet_box(-3.0, 0.0, -1.001, *ahead, 1.0, 1.0, 1.0, 1.0, 0.0) == (np.inf, 0.0)
    assert meet_box(-3.0, 0.5, 0.0, -1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0) == (np.inf, 0.0)  # it lies behind
    slanted = np.cos(0.3), np.sin(0.3)
    distance, cosine = meet_box(-3.0, 0.0, 0.0, *ahead, 1.0, 5.0, 1.0, *slanted)
    assert (distance, cosine) == pytest.approx((3.0 - 1.0 / slanted[0], slanted[0]))


def test_a_ray_that_starts_inside_meets_nothing():
    rng = np.random.default_rng(0)
    for _ in range(50):
        direction = reference.direction_of(*rng.uniform(-1.5, 1.5, 2))
        assert meet_box(*rng.uniform(-0.4, 0.4, 3), *direction, 0.5, 0.5, 0.5, 1.0, 0.0) == (np.inf, 0.0)
        assert meet_sphere(*rng.uniform(-0.25, 0.25, 3), *direction, 0.5) == (np.inf, 0.0)


def test_a_beam_across_a_sphere_sees_its_disc():
    """Share of parallel rays over a square that meet the inscribed sphere: pi/4; mean cosine over the disc: 2/3."""
    y, z = (a.ravel() for a in np.meshgrid(*[np.linspace(-1.0, 1.0, 202)[1:-1]] * 2))
    met = np.array([meet_sphere(-5.0, b, c, 1.0, 0.0, 0.0, 1.0) for b, c in zip(y, z, strict=True)])
    hit = np.isfinite(met[:, 0])
    assert hit.mean() == pytest.approx(np.pi / 4, rel=0.015)
    assert met[hit, 1].mean() == pytest.approx(2.0 / 3.0, rel=5e-3)


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
    assert (bag.kind == SPHERE).all()
