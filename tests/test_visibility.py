import numpy as np
import pytest

from filters.models.fog import fog_at
from filters.models.lidar_echo import log_density_background
from filters.models.lidar_scan import Scene, sample_scan
from filters.models.optics import Optics, echo_table, extinction
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, Hits, Solids
from filters.models.visibility import predict_visibility, update_visibility, visibility_prior
from filters.spec import Surfaces

TABLE = echo_table(Optics())


def street(n, seed=0):
    """Half road and walls at 5 to 60 m, half sky."""
    rng = np.random.default_rng(seed)
    distance = np.where(rng.random(n) < 0.5, rng.uniform(5.0, 60.0, n), np.inf)
    return Surfaces(distance, rng.uniform(0.1, 1.0, n), rng.uniform(0.1, 0.4, n))


def beams(background, visibility, rng):
    """Ranges and powers (n, 1) of one sweep over the background."""
    ring = Surfaces(*(a[None] for a in background))
    nothing = Hits(*(np.full((1, background.range.size, 0), v) for v in (np.inf, 0.0, -2)))
    empty = Solids(*(np.empty(0) for _ in Solids._fields))
    scene = Scene(nothing._replace(what=nothing.what.astype(int)), empty, ring, np.zeros(ring.range.shape, bool))
    echoes = sample_scan(TABLE, fog_at(TABLE, float(extinction(visibility))), scene, rng)
    return echoes.range[0], echoes.power[0]


def brute_force(prior, background, ranges, powers, low, high):
    """Mean and deviation of ln visibility on 2000 dense nodes between low and high."""
    nodes = np.linspace(low, high, 2000)
    log_density = log_density_background(
        TABLE, extinction(np.exp(nodes)), ranges, powers, *background, BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE
    ).sum(axis=1)
    log_weights = log_density - 0.5 * ((nodes - prior.mean) / prior.deviation) ** 2
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = weights @ nodes
    return mean, np.sqrt(weights @ (nodes - mean) ** 2), weights[0] + weights[-1]


@pytest.mark.parametrize("n", [30, 400])
@pytest.mark.parametrize("visibility", [12.0, 25.0, 60.0, 300.0])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_posterior_is_that_of_a_dense_grid(spread, visibility, n):
    prior, background = visibility_prior(40.0, spread), street(n)
    ranges, powers = beams(background, visibility, np.random.default_rng(1))
    found, clutter = update_visibility(prior, TABLE, ranges, powers, background)
    mean, deviation, cut = brute_force(prior, background, ranges, powers, np.log(3.0), np.log(3000.0))
    assert cut < 1e-9
    assert found.mean == pytest.approx(mean, abs=0.05 * deviation)
    assert found.deviation == pytest.approx(deviation, rel=0.05)
    assert clutter.log_density.shape == (clutter.nodes.size, n)
    assert clutter.nodes[0] < found.mean - 2.0 * found.deviation
    assert clutter.nodes[-1] > found.mean + 2.0 * found.deviation


def test_clutter_is_the_background_density_at_its_nodes():
    background = street(50)
    ranges, powers = beams(background, 30.0, np.random.default_rng(2))
    _, clutter = update_visibility(visibility_prior(25.0, 0.3), TABLE, ranges, powers, background)
    exact = log_density_background(
        TABLE, extinction(np.exp(clutter.nodes)), ranges, powers, *background, BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE
    )
    assert clutter.log_density == pytest.approx(exact)


def test_repeated_updates_close_in_on_the_truth():
    background, rng, fog = street(60), np.random.default_rng(3), visibility_prior(25.0, 0.5)
    deviations = [fog.deviation]
    for _ in range(12):
        fog, _ = update_visibility(fog, TABLE, *beams(background, 40.0, rng), background)
        deviations.append(fog.deviation)
    assert (np.diff(deviations) < 0.0).all()
    assert deviations[12] == pytest.approx(deviations[3] / 2.0, rel=0.3)  # four times the beams
    assert fog.mean == pytest.approx(np.log(40.0), abs=4.0 * fog.deviation)


def test_without_beams_the_prior_stays():
    prior, nothing = visibility_prior(25.0, 0.3), street(0)
    found, clutter = update_visibility(prior, TABLE, np.zeros((0, 1)), np.zeros((0, 1)), nothing)
    assert found.mean == pytest.approx(prior.mean, abs=1e-9)
    assert found.deviation == pytest.approx(prior.deviation, rel=0.01)
    assert clutter.log_density.shape == (clutter.nodes.size, 0)


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_two_deviations_cover_the_truth(spread):
    """The truth from the prior, 60 beams, 100 times: 95 are expected within two deviations."""
    background, prior, z = street(60), visibility_prior(25.0, spread), []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = prior.mean + prior.deviation * rng.standard_normal()
        found, _ = update_visibility(prior, TABLE, *beams(background, np.exp(truth), rng), background)
        z.append((truth - found.mean) / found.deviation)
    assert 0.85 <= np.mean(np.abs(z) < 2.0) <= 0.99
    assert 0.8 < np.std(z) < 1.25


def test_wandering_visibility_is_a_random_walk_of_its_log():
    now = visibility_prior(30.0, 0.1)
    assert predict_visibility(now, 0.0, 0.1) == now
    later = now
    for _ in range(10):
        later = predict_visibility(later, 0.5, 0.1)
    assert later.mean == now.mean
    assert later.deviation == pytest.approx(np.hypot(0.1, 0.5))


def test_a_wandering_visibility_follows_the_car_into_a_bank():
    """A minute's knowledge of 60 m of visibility gives way to a second's scans of 15 m; a steady one holds on."""
    background, rng, found = street(400), np.random.default_rng(4), {}
    for drift in (0.0, 0.5):
        fog = visibility_prior(60.0, 0.3)
        for visibility in [60.0] * 20 + [15.0] * 3:
            fog = predict_visibility(fog, drift, 0.1)
            fog, _ = update_visibility(fog, TABLE, *beams(background, visibility, rng), background)
        found[drift] = np.exp(fog.mean)
    assert found[0.5] == pytest.approx(15.0, rel=0.05)
    assert found[0.0] > 18.0
