"""The forward-scatter sensor's sampler against its density, and what a reading does to the fog."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, kstest, truncnorm

from filters.models.visibility import Visibility
from filters.models.visibility_sensor import VisibilitySensor, log_density, sample, update
from filters.spec import Pose
from fogsim.errors import UserError
from fogsim.scenario import Bank, Fog, Scenario
from fogsim.sensors.schedule import Moment
from fogsim.sensors.visibility import read
from fogsim.world import world as worlds

SENSOR = VisibilitySensor()
NARROW = replace(SENSOR, limits=(20.0, 30.0))


def readings(sensor, visibility, n=4000):
    rng = np.random.default_rng(1)
    return np.array([sample(sensor, visibility, rng) for _ in range(n)])


@pytest.mark.parametrize("visibility", [19.0, 25.0, 33.0])
def test_the_density_integrates_to_one(visibility):
    low, high = np.log(NARROW.limits)
    x, w = np.polynomial.legendre.leggauss(60)
    nodes, weights = 0.5 * (high - low) * x + 0.5 * (low + high), 0.5 * (high - low) * w
    between = weights @ np.exp([log_density(NARROW, float(np.exp(v)), visibility) for v in nodes])
    lumps = sum(np.exp(log_density(NARROW, limit, visibility)) for limit in NARROW.limits)
    assert between + lumps == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("visibility", [19.0, 25.0, 33.0])
def test_readings_follow_the_density(visibility):
    found = readings(NARROW, visibility)
    for limit in NARROW.limits:
        share = np.exp(log_density(NARROW, limit, visibility))
        assert binomtest(int((found == limit).sum()), len(found), float(share)).pvalue > 1e-3
    inside = np.log(found[(found > 20.0) & (found < 30.0)])
    edges = (np.log(NARROW.limits) - np.log(visibility)) / NARROW.spread
    assert kstest(inside, truncnorm(*edges, np.log(visibility), NARROW.spread).cdf).pvalue > 1e-3
    wrong = truncnorm(*(edges / 1.3), np.log(visibility), 1.3 * NARROW.spread)
    if visibility == 25.0:
        assert kstest(inside, wrong.cdf).pvalue < 1e-3


def by_grid(prior, sensor, reading):
    """Mean and deviation of ln visibility on a dense grid."""
    nodes = np.linspace(prior.mean - 8.0 * prior.deviation, prior.mean + 8.0 * prior.deviation, 4001)
    log = -0.5 * ((nodes - prior.mean) / prior.deviation) ** 2
    log = log + [log_density(sensor, reading, float(v)) for v in np.exp(nodes)]
    weights = np.exp(log - log.max())
    weights /= weights.sum()
    mean = weights @ nodes
    return mean, np.sqrt(weights @ (nodes - mean) ** 2)


@pytest.mark.parametrize("reading", [20.0, 21.0, 26.0, 30.0])
@pytest.mark.parametrize("prior", [Visibility(np.log(25.0), 0.3), Visibility(np.log(40.0), 0.05)])
def test_the_update_is_that_of_a_dense_grid(prior, reading):
    after = update(prior, NARROW, reading)
    mean, deviation = by_grid(prior, NARROW, reading)
    assert after.mean == pytest.approx(mean, abs=1e-6)
    assert after.deviation == pytest.approx(deviation, rel=1e-5)


def test_clear_air_reads_as_the_highest():
    assert sample(SENSOR, np.inf, np.random.default_rng(2)) == SENSOR.limits[1]
    after = update(Visibility(np.log(25.0), 0.3), SENSOR, SENSOR.limits[1])
    assert np.isfinite(after.mean)
    assert after.deviation > 0.0


def test_readings_close_in_on_the_truth():
    fog = Visibility(np.log(40.0), 0.5)
    for reading in readings(SENSOR, 25.0, 50):
        fog = update(fog, SENSOR, float(reading))
    assert fog.deviation == pytest.approx(SENSOR.spread / np.sqrt(50.0), rel=0.01)
    assert fog.mean == pytest.approx(np.log(25.0), abs=4.0 * fog.deviation)


def test_in_uneven_fog_it_reads_the_fog_about_it():
    """Before the bank 60 m, within it 15 m; the bank drifts towards the car."""
    setting = Scenario(
        fog=Fog(visibility=60.0, spread=0.0, bank=Bank(x=(30.0, 80.0), visibility=15.0), wind=(-2.0, 0.0))
    )
    world = worlds.start(setting, 1)
    for x, time, expected in ((0.0, 0.0, 60.0), (50.0, 0.0, 15.0), (20.0, 0.0, 60.0), (20.0, 10.0, 15.0)):
        moment = Moment(world._replace(time=time), np.array([x, 0.0, 0.0]), Pose(x, 0.0, 0.0, 0.0))
        found = [read(moment, SENSOR, np.random.default_rng(k)) for k in range(200)]
        assert np.log(found).mean() == pytest.approx(np.log(expected), abs=4.0 * SENSOR.spread / np.sqrt(200)), (
            x,
            time,
        )
        assert all(np.float32(v) == v for v in found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", 0.0),
        ("spread", -0.1),
        ("latency", np.inf),
        ("limits", (5.0, 5.0)),
        ("height", np.nan),
        ("height", -1.0),
    ],
)
def test_what_cannot_be_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"visibility_sensor.{field} is .*expected"):
        replace(SENSOR, **{field: value})


def test_more_than_one_reading_a_tick_is_refused():
    """A frame logs one."""
    often = replace(SENSOR, on=True, rate=10.0)
    assert Scenario(visibility_sensor=often, dt=0.1).visibility_sensor is often
    assert Scenario(visibility_sensor=replace(often, on=False), dt=0.2).dt == 0.2
    with pytest.raises(
        UserError, match=r"visibility_sensor.rate is 10.0, expected at most one a tick, 5 / s$"
    ) as error:
        Scenario(visibility_sensor=often, dt=0.2)
    assert "\n" not in str(error.value)
