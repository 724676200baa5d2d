"""The radar's sampler against its density: intensities by quadrature, counts by chi-square, marginals by KS."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from scipy.stats import chisquare, gumbel_r, kstest, norm, poisson, truncnorm

from filters.models.radar import (
    AZIMUTH,
    RANGE,
    RATE,
    SECTION,
    Radar,
    Sources,
    background,
    clutter_intensity,
    expected,
    ground_rate,
    intensity,
    log_density,
    object_log_ratios,
    sample,
    sample_clutter,
    sources_of,
)
from filters.models.shapes import BagPrior, BarrierPrior
from filters.spec import BAG, BARRIER, Pose, RadarScan
from fogsim.scenario import Hazard, Scenario
from fogsim.sensors.radar import MAP, PIECE, no_reflectors, offsets, pieces, reflectors, things_seen
from fogsim.sensors.schedule import Moment, Motion
from fogsim.world import world as worlds
from fogsim.world.setting import Road
from fogsim.world.solids import road_map
from tests.encounters import ball, box

RADAR = Radar()
POSE, MOVING = Pose(1.0, 0.5, 0.0, 0.1), np.array([8.0, 0.5])
QUIET = replace(RADAR, false_alarms=1e-12, ground=1e-12)
DETECTED = ("range", "azimuth", "rate", "cross-section")
NOBODY = Sources(np.zeros(0), np.zeros((0, 4)), np.ones((0, 4)))


def source(distance=20.0, azimuth=0.05, section=-10.0, radar=RADAR):
    """One source, of the noise's width."""
    noise = [radar.range_noise, np.radians(radar.azimuth_noise_deg), radar.rate_noise, radar.fluctuation]
    mean = np.array([[distance, azimuth, -7.0, section]])
    return Sources(radar.floor(mean[:, 0], mean[:, 1]), mean, np.array([noise]))


# In plain view, at an edge of the view, beyond the last range, and about the floor (-26 dBsm at 20 m).
PLACES = {
    "in view": source(),
    "at the edge": source(azimuth=RADAR.half_view - 0.004, section=5.0),
    "far": source(distance=70.1, section=5.0),
    "near": source(distance=0.6, section=-40.0),
    "faint": source(section=-27.0),
    "hardly heard": source(section=-40.0),
}


def gauss(low, high, n):
    """Gauss-Legendre nodes and weights on an interval."""
    x, w = np.polynomial.legendre.leggauss(n)
    return 0.5 * (high - low) * x + 0.5 * (low + high), 0.5 * (high - low) * w


def integral(one, n=24):
    """∫ lambda(z) dz of one source by quadrature over seven deviations, cut at the view's edges."""
    low, high = one.mean[0] - 7.0 * one.deviation[0], one.mean[0] + 7.0 * one.deviation[0]
    low[RANGE], high[RANGE] = max(low[RANGE], RADAR.range_limits[0]), min(high[RANGE], RADAR.range_limits[1])
    low[AZIMUTH], high[AZIMUTH] = max(low[AZIMUTH], -RADAR.half_view), min(high[AZIMUTH], RADAR.half_view)
    low[SECTION] = max(low[SECTION], one.floor[0])
    nodes, weights = zip(*(gauss(a, b, n) for a, b in zip(low, high, strict=True)), strict=True)
    z = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 4)
    return intensity(RADAR, one, z)[0] @ np.einsum("i,j,k,l->ijkl", *weights).ravel()


@pytest.mark.parametrize("place", PLACES)
def test_a_source_sends_as_many_as_expected(place):
    assert integral(PLACES[place], 28) == pytest.approx(expected(RADAR, PLACES[place])[0], rel=1e-6)


def test_nothing_is_outside_of_the_view():
    one = PLACES["at the edge"]
    z = np.tile(one.mean, (4, 1))
    z[1, AZIMUTH], z[2, SECTION], z[3, RANGE] = RADAR.half_view + 1e-6, one.floor[0] - 1e-6, 70.001
    inside = intensity(RADAR, one, z)[0] > 0.0
    assert inside.tolist() == [True, False, False, False]
    assert clutter_intensity(RADAR, POSE, MOVING, z)[[1, 3]].max() == 0.0


@pytest.mark.parametrize("kind", ["false_alarms", "ground"])
def test_clutter_is_as_much_as_expected(kind):
    radar = replace(QUIET, **{kind: 3.0})
    r, wr = gauss(*radar.range_limits, 6)
    a, wa = gauss(-radar.half_view, radar.half_view, 6)
    span = radar.fastest if kind == "false_alarms" else 8.0 * radar.rate_noise
    v, wv = gauss(-span, span, 60)
    s, ws = gauss(-6.0 * radar.margin, 25.0 * radar.margin, 160)
    r, a, v, s = (g.ravel() for g in np.meshgrid(r, a, v, s, indexing="ij"))
    v = v + (ground_rate(a, POSE, MOVING) if kind == "ground" else 0.0)
    z = np.stack([r, a, v, s + radar.floor(r, a)], axis=1)
    weights = np.einsum("i,j,k,l->ijkl", wr, wa, wv, ws).ravel()
    assert clutter_intensity(radar, POSE, MOVING, z) @ weights == pytest.approx(3.0, rel=1e-6)


def counts(radar, sources, n=3000, seed=1):
    """How many detections each of n scans has."""
    rng = np.random.default_rng(seed)
    return np.array([len(sample(radar, sources, POSE, MOVING, rng)) for _ in range(n)])


def poisson_p(found, mean):
    """p-value of counts being Poisson, in bins of five and more."""
    edges = np.unique(poisson.ppf([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], mean))
    observed = np.bincount(np.searchsorted(edges, found, side="left"), minlength=len(edges) + 1)
    return chisquare(observed, len(found) * np.diff([0.0, *poisson.cdf(edges, mean), 1.0])).pvalue


@lru_cache
def street():
    """A barrier and a bag before the built-in road's map, as sources."""
    things = [box(22.0, -0.5), ball(15.0, 1.0)]
    objects = [sources_of(RADAR, t, np.array([-12.0]), np.zeros((1, 2)), POSE, MOVING) for t in things]
    mapped = reflectors(Road()).seen_from(RADAR, POSE, MOVING)
    return objects, mapped


def together(*parts):
    return Sources(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def test_counts_of_a_street_are_poisson():
    objects, mapped = street()
    everything = together(*objects, mapped)
    mean = expected(RADAR, everything).sum() + RADAR.false_alarms + RADAR.ground
    assert poisson_p(counts(RADAR, everything), mean) > 0.01
    assert poisson_p(counts(replace(RADAR, reflections=0.72), everything), mean) < 1e-3  # a tenth fewer


def marginal(one, dim):
    """The law of one component of a source's detections."""
    low, high = np.full(4, -np.inf), np.full(4, np.inf)
    low[RANGE], high[RANGE] = RADAR.range_limits
    low[AZIMUTH], high[AZIMUTH] = -RADAR.half_view, RADAR.half_view
    low[SECTION] = one.floor[0]
    mean, deviation = one.mean[0, dim], one.deviation[0, dim]
    return truncnorm((low[dim] - mean) / deviation, (high[dim] - mean) / deviation, mean, deviation)


def drawn(one, n=4000, radar=QUIET):
    """Detections of one source, in one scan of many copies of it."""
    share = expected(RADAR, one)[0]
    copies = Sources(*(np.repeat(column, int(n / share), axis=0) for column in one))
    return sample(radar, copies, POSE, MOVING, np.random.default_rng(3))


@pytest.mark.parametrize("place", [p for p in PLACES if p != "hardly heard"])
@pytest.mark.parametrize("dim", range(4), ids=DETECTED)
def test_marginals_of_a_source(place, dim):
    one = PLACES[place]
    assert kstest(drawn(one)[:, dim], marginal(one, dim).cdf).pvalue > 1e-3


@pytest.mark.parametrize("dim", range(4), ids=DETECTED)
def test_marginals_of_a_wider_source_are_told_apart(dim):
    one = PLACES["in view"]
    wide = one._replace(deviation=one.deviation * np.where(np.arange(4) == dim, 1.2, 1.0))
    assert kstest(drawn(wide)[:, dim], marginal(one, dim).cdf).pvalue < 1e-3


def test_marginals_of_clutter():
    many = replace(RADAR, false_alarms=2000.0, ground=4000.0)
    r, a, v, s = sample_clutter(many, POSE, MOVING, np.random.default_rng(4)).T
    near, far = RADAR.range_limits
    still = v - ground_rate(a, POSE, MOVING)
    law = gumbel_r(0.0, RADAR.margin)
    assert kstest(r, "uniform", (near, far - near)).pvalue > 1e-3
    assert kstest(a, "uniform", (-RADAR.half_view, 2.0 * RADAR.half_view)).pvalue > 1e-3
    assert kstest(s - RADAR.floor(r, a), law.cdf).pvalue > 1e-3
    assert kstest(s - RADAR.floor(r, a) - 1.0, law.cdf).pvalue < 1e-3
    road = np.abs(still) < 5.0 * RADAR.rate_noise
    share = (4000.0 + 2000.0 * 10.0 * RADAR.rate_noise / (2.0 * RADAR.fastest)) / 6000.0
    assert road.mean() == pytest.approx(share, abs=0.02)
    assert kstest(still[road], norm(0.0, RADAR.rate_noise).cdf).pvalue > 1e-3
    assert kstest(v[~road], "uniform", (-RADAR.fastest, 2.0 * RADAR.fastest)).pvalue > 1e-3


# The likelihood of a scan


def heard(rng, *present):
    """One scan of the street with these objects present, as a filter gets it."""
    _, mapped = street()
    z = sample(RADAR, together(*present, mapped), POSE, MOVING, rng)
    return RadarScan(POSE, MOVING, z, background(RADAR, mapped, POSE, MOVING, z))


def test_the_ratio_is_that_of_two_densities():
    (barrier, _), mapped = street()
    rng = np.random.default_rng(5)
    for present in ([barrier], []):
        for _ in range(20):
            scan = heard(rng, *present)
            with_it = log_density(RADAR, together(barrier, mapped), POSE, MOVING, scan.detections)
            without = log_density(RADAR, mapped, POSE, MOVING, scan.detections)
            assert object_log_ratios(RADAR, scan, barrier)[0] == pytest.approx(with_it - without, abs=1e-6)


def test_ratios_average_to_one_where_nothing_is():
    """∫ p(Z | object) dZ = 1 with the sampler of p(Z | background) as the measure, and the other way round."""
    objects, _ = street()
    rng = np.random.default_rng(6)
    faint = objects[0]._replace(mean=objects[0].mean - np.array([0.0, 0.0, 0.0, 20.0]))
    empty = np.array([np.exp(object_log_ratios(RADAR, heard(rng), faint)[0]) for _ in range(2000)])
    there = np.array([np.exp(-object_log_ratios(RADAR, heard(rng, faint), faint)[0]) for _ in range(2000)])
    for ratios in (empty, there):
        assert ratios.mean() == pytest.approx(1.0, abs=4.0 * ratios.std() / np.sqrt(2000))
    assert ratios.std() > 0.2, "found a test without power"


def test_silence_is_evidence():
    (barrier, _), mapped = street()
    none = np.zeros((0, 4))
    silent = RadarScan(POSE, MOVING, none, background(RADAR, mapped, POSE, MOVING, none))
    assert object_log_ratios(RADAR, silent, barrier)[0] == pytest.approx(-expected(RADAR, barrier)[0])
    assert object_log_ratios(RADAR, silent, barrier)[0] < -0.5


def ranks(fluctuation, n=400):
    """Posterior probability below the truth of an object's offset after three scans: uniform where both agree."""
    rng, nodes = np.random.default_rng(7), np.linspace(-4.0, 4.0, 161)
    assumed = replace(RADAR, fluctuation=fluctuation)
    thing, result = box(22.0, -0.5), []
    many = thing.__class__(*(np.repeat(column, len(nodes)) for column in thing))
    imagined = sources_of(assumed, many, -20.0 + 7.0 * nodes, np.zeros((len(nodes), 2)), POSE, MOVING)
    for _ in range(n):
        truth = rng.standard_normal()
        true = sources_of(RADAR, thing, np.array([-20.0 + 7.0 * truth]), np.zeros((1, 2)), POSE, MOVING)
        log = -0.5 * nodes**2 + sum(object_log_ratios(assumed, heard(rng, true), imagined) for _ in range(3))
        weights = np.exp(log - log.max())
        below = np.cumsum(weights) - 0.5 * weights
        result.append(np.interp(truth, nodes, below / weights.sum()))
    return result


def test_what_is_learned_of_an_object_is_calibrated():
    assert kstest(ranks(RADAR.fluctuation), "uniform").pvalue > 0.01


def test_a_fluctuation_taken_too_small_is_found_out():
    assert kstest(ranks(0.4 * RADAR.fluctuation), "uniform").pvalue < 1e-3


# Physics


def test_the_floor_rises_as_the_fourth_power_of_range():
    assert RADAR.floor(RADAR.reach, 0.0) == pytest.approx(0.0)
    assert RADAR.floor(20.0, 0.0) - RADAR.floor(10.0, 0.0) == pytest.approx(40.0 * np.log10(2.0))
    assert RADAR.floor(20.0, np.radians(30.0)) - RADAR.floor(20.0, 0.0) == pytest.approx(6.0)


def seen(thing, reflectivity=0.0, velocity=(0.0, 0.0)):
    one = sources_of(RADAR, thing, np.array([reflectivity]), np.array([velocity]), Pose(0, 0, 0, 0), np.array([8.0, 0]))
    return one.mean[0]


def test_range_rate_is_that_of_the_distance():
    assert seen(box(20.0, 0.0))[RATE] == pytest.approx(-8.0)
    assert seen(box(20.0, 0.0), velocity=(8.0, 0.0))[RATE] == pytest.approx(0.0)
    assert seen(box(12.0, 16.0))[RATE] == pytest.approx(-8.0 * 0.6)
    assert seen(box(12.0, 16.0), velocity=(0.0, 1.0))[RATE] == pytest.approx(-8.0 * 0.6 + 0.8)


def test_cross_section_grows_with_the_silhouette():
    one, twice = (seen(box(20.0, 0.0, width=w)) for w in (1.0, 2.0))
    assert twice[SECTION] - one[SECTION] == pytest.approx(10.0 * np.log10(2.0))
    assert one[SECTION] == pytest.approx(10.0 * np.log10(4.0 * 0.6))


def test_a_car_is_ten_dbsm_and_a_bag_next_to_nothing():
    mapped = reflectors(Road())
    car = mapped.seen_from(RADAR, Pose(Road().next_lane_gap - 30.0, 3.5, 0.0, 0.0), np.zeros(2))
    assert car.mean[np.argmax(mapped.solids.hz == 0.75), SECTION] == pytest.approx(10.0, abs=1.0)
    rng = np.random.default_rng(8)
    for klass, prior, most in ((BAG, BagPrior(), 0.4), (BARRIER, BarrierPrior(), 1.0)):
        latents, (mean, spread) = rng.standard_normal((500, len(prior.names))), RADAR.material(klass)
        solids = prior.solids(np.tile([30.0, 0.0], (500, 1)), latents)
        reflectivity = mean + spread * rng.standard_normal(500)
        sources = sources_of(RADAR, solids, reflectivity, np.zeros((500, 2)), Pose(0, 0, 0, 0), np.zeros(2))
        share = expected(RADAR, sources).mean() / RADAR.reflections
        assert most - 0.2 < share < most, (klass, share)


def test_behind_the_car_nothing_is_seen():
    behind = sources_of(RADAR, box(-10.0, 0.0), np.zeros(1), np.zeros((1, 2)), Pose(0, 0, 0, 0), np.zeros(2))
    assert expected(RADAR, behind)[0] == 0.0


def test_an_object_at_the_radar_itself_gives_no_nan():
    at = sources_of(RADAR, box(0.0, 0.0), np.zeros(1), np.zeros((1, 2)), Pose(0, 0, 0, 0), np.zeros(2))
    assert np.isfinite(at.mean).all()
    assert np.isfinite(expected(RADAR, at)).all()


def test_a_true_object_reflects_as_its_material_and_its_own_offset():
    """One deviation more is the class's spread more, of each object by itself."""
    scenario = Scenario(hazards=(Hazard(kind="bag"), Hazard(kind="barrier", x=38.0)))
    world, estimate = worlds.start(scenario, 3), Pose(0.0, 0.0, 0.0, 0.0)
    motion = Motion(Moment(world, np.zeros(3), estimate), np.zeros(2), np.zeros(2))

    def section(*offset):
        return things_seen(motion, scenario, RADAR, np.array(offset)).mean[:, SECTION]

    assert section(1.0, 0.0) - section(0.0, 0.0) == pytest.approx([RADAR.film[1], 0.0])
    assert section(0.0, -2.0) - section(0.0, 0.0) == pytest.approx([0.0, -2.0 * RADAR.concrete[1]])
    assert len(set(offsets(3, 2))) == 2


def test_without_false_alarms_densities_stay_finite():
    radar, (barrier, _) = replace(RADAR, false_alarms=0.0), street()[0]
    rng = np.random.default_rng(9)
    z = np.concatenate([sample(radar, barrier, POSE, MOVING, rng) for _ in range(10)])
    z[:, RATE] += 25.0  # as nothing that stands still
    scan = RadarScan(POSE, MOVING, z, background(radar, NOBODY, POSE, MOVING, z))
    assert np.isfinite(log_density(radar, NOBODY, POSE, MOVING, z))
    moving = barrier._replace(mean=barrier.mean + np.array([0.0, 0.0, 25.0, 0.0]))
    assert np.isfinite(object_log_ratios(radar, scan, moving)).all()


def test_the_map_has_a_material_for_each_solid_and_is_cut_into_pieces():
    solids = road_map(Road())
    assert len(solids.x) == len(MAP)
    wall = pieces(type(solids)(*(column[[2]] for column in solids)))
    assert (2.0 * wall.hx <= PIECE + 1e-9).all()
    assert 2.0 * wall.hx.sum() == pytest.approx(2.0 * solids.hx[2])
    assert (wall.x.min() - wall.hx[0], wall.x.max() + wall.hx[0]) == pytest.approx(
        (solids.x[2] - solids.hx[2], solids.x[2] + solids.hx[2])
    )
    assert len(no_reflectors().seen_from(RADAR, POSE, MOVING).floor) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", 0.0),
        ("latency", -1.0),
        ("false_alarms", -1.0),
        ("range_noise", np.nan),
        ("range_limits", (70.0, 0.5)),
        ("azimuth_deg", 361.0),
        ("film", (-23.0, -7.0)),
        ("concrete", (np.nan, 6.0)),
    ],
)
def test_what_cannot_be_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"radar.{field} is .*expected") as error:
        replace(Scenario().radar, **{field: value})
    assert "\n" not in str(error.value)
