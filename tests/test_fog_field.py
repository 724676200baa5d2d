"""Uneven fog: its parts, the law of its patches, how it drifts, and the rays that sensors are given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.models.fog import BUNDLE
from filters.models.optics import CELLS, CENTRES
from filters.spec import Pose
from filters.streams import stream
from fogsim.errors import UserError
from fogsim.scenario import Scenario
from fogsim.scripts import resolve
from fogsim.world.fog import (
    CELLS_PER_LENGTH,
    SIDE,
    draw_field,
    extinction_along,
    extinction_at,
    gaussian_lattice,
    smoothstep,
)
from fogsim.world.setting import Bank, Fog, Layer, Setting, Texture
from fogsim.world.world import start, step, visibility_at

LN_20 = np.log(20.0)
ALL = Fog(
    visibility=30.0,
    bank=Bank((12.0, 30.0), 8.0, 4.0),
    layer=Layer(2.5, 1.5),
    texture=Texture(0.6, 5.0),
    wind=(1.5, -0.7),
)


def field_of(fog, seed=0, visibility=None):
    return draw_field(fog, visibility or fog.visibility, stream(seed, "fog"))


def slow_extinction(fog, field, place, time):
    """The module's equation, a place at a time, the lattice interpolated over its four neighbours by their shares."""
    x, y, z = place[0] - fog.wind[0] * time, place[1] - fog.wind[1] * time, place[2]

    def rise(u):
        v = np.clip(u + 0.5, 0.0, 1.0)
        return 3.0 * v**2 - 2.0 * v**3

    begin, end = fog.bank.x
    within = rise((x - begin) / fog.bank.edge) * rise((end - x) / fog.bank.edge) if begin < end else 0.0
    alpha = field.alpha * (1.0 + (fog.visibility / fog.bank.visibility - 1.0) * within)
    if fog.layer.height > 0.0:
        alpha *= rise((fog.layer.height - z) / fog.layer.edge)
    if fog.texture.strength > 0.0:
        u, v = x / field.spacing, y / field.spacing
        shares = {
            (i, j): (1.0 - abs(u - i)) * (1.0 - abs(v - j))
            for i in (np.floor(u), np.floor(u) + 1.0)
            for j in (np.floor(v), np.floor(v) + 1.0)
        }
        alpha *= sum(w * field.texture[int(i) % SIDE, int(j) % SIDE] for (i, j), w in shares.items())
    return alpha


# Even fog


def test_fog_is_even_by_default_and_then_one_number():
    field = field_of(Fog(visibility=25.0), visibility=20.0)
    assert field.even
    assert extinction_along(field, Pose(1.0, 2.0, 3.0, 0.4), np.zeros(3), np.zeros(8), 5.0) == LN_20 / 20
    for place in ((0.0, 0.0, 0.0), (1e3, -50.0, 30.0)):
        assert extinction_at(field, *place, 7.0) == LN_20 / 20


@pytest.mark.parametrize("fog", [Fog(bank=ALL.bank), Fog(layer=ALL.layer), Fog(texture=ALL.texture)])
def test_each_part_makes_it_uneven(fog):
    field = field_of(fog)
    assert not field.even
    assert extinction_along(field, Pose(0.0, 0.0, 1.0, 0.0), np.zeros(3), np.zeros(2 * BUNDLE), 0.0).shape == (
        3,
        2,
        CELLS,
    )


def test_wind_alone_leaves_it_even():
    assert field_of(Fog(wind=(3.0, 1.0))).even


# Its parts


def test_a_bank_has_its_own_visibility_within_and_half_the_difference_at_its_ends():
    field = field_of(Fog(visibility=40.0, bank=Bank((10.0, 30.0), 8.0, 4.0)), visibility=44.0)  # 1.1 of the report
    outside, inside = LN_20 / 44.0, LN_20 / 8.8
    at = {x: extinction_at(field, x, 5.0, 0.5, 0.0) for x in (-5.0, 8.0, 10.0, 12.0, 20.0, 28.0, 30.0, 32.0, 60.0)}
    assert [at[x] for x in (-5.0, 8.0, 32.0, 60.0)] == pytest.approx([outside] * 4)
    assert [at[x] for x in (12.0, 20.0, 28.0)] == pytest.approx([inside] * 3)
    assert [at[x] for x in (10.0, 30.0)] == pytest.approx([0.5 * (inside + outside)] * 2)
    edge = [extinction_at(field, x, 0.0, 0.0, 0.0) for x in np.linspace(7.0, 13.0, 50)]
    assert (np.diff(edge) >= 0.0).all()


def test_a_bank_may_be_thinner_than_the_fog_about_it():
    field = field_of(Fog(visibility=20.0, bank=Bank((10.0, 30.0), 200.0, 4.0)))
    assert extinction_at(field, 20.0, 0.0, 0.0, 0.0) == pytest.approx(LN_20 / 200.0)


def test_a_layer_ends_in_clear_air():
    setting = Setting(fog=Fog(visibility=40.0, spread=0.0, layer=Layer(3.0, 1.0)))
    world = start(setting, 0)
    seen = [visibility_at(world, 10.0, 0.0, z) for z in (0.0, 2.5, 3.0, 3.6, 50.0)]
    assert seen[:3] == pytest.approx([40.0, 40.0, 80.0])
    assert np.isfinite(seen[3:]).all()
    assert min(seen[3:]) > 1e5


@pytest.mark.parametrize("x", [-0.7, -0.5, -0.2, 0.0, 0.3, 0.5, 9.0])
def test_smoothstep_is_odd_about_its_middle(x):
    assert smoothstep(x) + smoothstep(-x) == pytest.approx(1.0)
    assert 0.0 <= smoothstep(x) <= 1.0


# The law of the patches

DRAWS = 200


def test_the_lattice_has_the_covariance_that_is_asked_for():
    """Each draw's spatial mean of products is one unbiased observation: 5 standard errors."""
    lattices = [gaussian_lattice(stream(seed, "lattice")) for seed in range(DRAWS)]
    for i, j in [(0, 0), (1, 0), (0, 2), (3, 3), (4, 0), (0, 6), (8, 0), (5, 9), (0, 40), (128, 128)]:
        found = np.array([(g * np.roll(g, (i, j), (0, 1))).mean() for g in lattices])
        expected = np.exp(-0.5 * (i * i + j * j) / CELLS_PER_LENGTH**2)
        assert abs(found.mean() - expected) < 5.0 * found.std() / np.sqrt(DRAWS), (i, j)
        assert found.std() / np.sqrt(DRAWS) < 0.005  # and the interval is narrow enough to mean something
    at = np.array([g[7, 11] for g in lattices])
    assert abs(at.mean()) < 5.0 / np.sqrt(DRAWS)
    assert at.var() == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / DRAWS))


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_patches_have_mean_one_on_the_lattice_and_between(strength):
    rng = np.random.default_rng(0)
    means, logs = [], []
    for seed in range(DRAWS):
        field = field_of(Fog(visibility=LN_20, texture=Texture(strength, 6.0)), seed)
        places = rng.uniform(-300.0, 300.0, (40, 2))
        means.append(np.mean([extinction_at(field, x, y, 1.0, 0.0) for x, y in places]))
        logs.append(np.log(field.texture[3, 5]))
    assert abs(np.mean(means) - 1.0) < 5.0 * np.std(means) / np.sqrt(DRAWS)
    assert np.std(means) / np.sqrt(DRAWS) < 0.02
    assert np.std(logs) == pytest.approx(strength, rel=5.0 * np.sqrt(0.5 / DRAWS))


def test_patches_are_as_long_as_asked_for():
    """Correlation of the log over one length is exp(-1/2), along the road and across it."""
    apart = {(5.0, 0.0): np.exp(-0.5), (0.0, 5.0): np.exp(-0.5), (10.0, 0.0): np.exp(-2.0)}
    fields = [field_of(Fog(texture=Texture(0.5, 5.0)), seed) for seed in range(DRAWS)]
    grid = [(x, y) for x in np.arange(0.0, 300.0, 40.0) for y in np.arange(0.0, 300.0, 40.0)]  # lattice points
    for (dx, dy), expected in apart.items():
        found = []
        for field in fields[:60]:
            a = np.log([extinction_at(field, x, y, 1.0, 0.0) for x, y in grid])
            b = np.log([extinction_at(field, x + dx, y + dy, 1.0, 0.0) for x, y in grid])
            mean = np.log(field.alpha) - 0.125
            found.append(np.mean((a - mean) * (b - mean)) / 0.25)
        assert abs(np.mean(found) - expected) < 5.0 * np.std(found) / np.sqrt(len(found))
        assert np.std(found) / np.sqrt(len(found)) < 0.05


# Wind, rays, streams


@given(
    st.floats(-200.0, 200.0), st.floats(-200.0, 200.0), st.floats(0.0, 10.0), st.floats(0.0, 60.0), st.integers(0, 3)
)
@settings(max_examples=60, deadline=None)
def test_the_wind_carries_the_fog_unchanged_and_it_is_never_less_than_clear(x, y, z, time, seed):
    field = field_of(ALL, seed)
    alpha = extinction_at(field, x, y, z, 0.0)
    u, v = ALL.wind
    assert extinction_at(field, x + u * time, y + v * time, z, time) == pytest.approx(alpha, rel=1e-6, abs=1e-12)
    assert 0.0 <= alpha < np.inf


def test_the_world_advects_its_fog():
    setting = Setting(fog=Fog(visibility=40.0, spread=0.0, bank=Bank((20.0, 40.0), 8.0), wind=(-5.0, 0.0)))
    world = start(setting, 1)
    before = visibility_at(world, 10.0, 0.0, 1.0)
    for _ in range(30):
        world = step(world, 0, setting, np.random.default_rng(0))
    assert (before, visibility_at(world, 10.0, 0.0, 1.0)) == pytest.approx((40.0, 8.0))


@pytest.mark.parametrize("columns", [40, 41, 43])  # the last bundle may have fewer columns
def test_rays_are_the_slow_equation_along_the_middle_of_their_bundles(columns):
    field, pose, time = field_of(ALL, 3, 27.0), Pose(2.0, -1.0, 1.6, 0.3, 0.1, -0.05), 4.0
    elevation, azimuth = np.radians([-12.0, -2.0, 3.0]), np.radians(np.linspace(-170.0, 170.0, columns))
    alpha = extinction_along(field, pose, elevation, azimuth, time)
    assert alpha.shape == (3, -(-columns // BUNDLE), CELLS)
    c, s, cp, sp, cr, sr = (f(v) for v in (0.3, 0.1, -0.05) for f in (np.cos, np.sin))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    nod = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    lean = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    for r, up in enumerate(elevation):
        for b in range(alpha.shape[1]):
            bearing = azimuth[BUNDLE * b : BUNDLE * (b + 1)].mean()
            ray = turn @ nod @ lean @ [np.cos(up) * np.cos(bearing), np.cos(up) * np.sin(bearing), np.sin(up)]
            expected = [slow_extinction(ALL, field, pose[:3] + d * ray, time) for d in CENTRES]
            np.testing.assert_allclose(alpha[r, b], expected, rtol=1e-5, atol=1e-9)


def test_patches_change_nothing_else_that_a_seed_determines():
    plain, patchy = (start(Setting(fog=fog), 5) for fog in (Fog(), Fog(texture=Texture(0.5))))
    assert (plain.ego, plain.visibility) == (patchy.ego, patchy.visibility)
    assert (plain.things[0].position == patchy.things[0].position).all()
    again = start(Setting(fog=Fog(texture=Texture(0.5))), 5)
    assert (again.field.texture == patchy.field.texture).all()
    assert (start(Setting(fog=Fog(texture=Texture(0.5))), 6).field.texture != patchy.field.texture).any()


# Settings


def test_every_part_is_set_by_its_path():
    set_to = ["fog.texture.strength=.5", "fog.texture.length=4", "fog.bank.x=5,20", "fog.bank.visibility=7"]
    fog = resolve(Scenario(), None, [*set_to, "fog.layer.height=3", "fog.wind=1,-.5"]).fog
    assert fog == Fog(bank=Bank((5.0, 20.0), 7.0), layer=Layer(3.0), texture=Texture(0.5, 4.0), wind=(1.0, -0.5))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Bank(x=(5.0, 1.0)), r"fog.bank.x is \(5.0, 1.0\) m, expected two finite numbers, the smaller first"),
        (lambda: Bank(x=(0.0, np.inf)), "fog.bank.x is"),
        (lambda: Bank(visibility=0.0), "fog.bank.visibility is 0.0"),
        (lambda: Bank(edge=-1.0), "fog.bank.edge is -1.0"),
        (lambda: Layer(height=-1.0), "fog.layer.height is -1.0 m, expected >= 0"),
        (lambda: Layer(edge=0.0), "fog.layer.edge is 0.0"),
        (lambda: Texture(strength=-0.1), "fog.texture.strength is -0.1, expected 0 to 3"),
        (lambda: Texture(strength=9.0), "fog.texture.strength is 9.0"),
        (lambda: Texture(length=0.0), "fog.texture.length is 0.0"),
        (lambda: Fog(wind=(np.nan, 0.0)), "fog.wind is"),
    ],
)
def test_impossible_fogs_are_errors(make, text):
    with pytest.raises(UserError, match=text):
        make()
