"""The oracle against quadrature on a reduced problem: a standing object of known shape, three free latents, two scans.

    python -m tests.test_oracle_quadrature [ENCOUNTERS] [PARTICLES]

prints the class log-odds of both, encounter by encounter, and how far they are apart. Objects, places and visibilities
are drawn from the prior, so that some encounters say much and some nothing.
"""

import sys
from dataclasses import replace
from functools import partial
from time import perf_counter

import numpy as np
import pytest

from filters.models.motion import BagMotion
from filters.models.shapes import BagPrior, BarrierPrior
from filters.oracle import Oracle, OracleState, disagreement
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Measurement, Pose, Prior, Scan, Status
from filters.standing import posterior, standing
from filters.streams import stream
from fogsim.followers import model_of
from fogsim.scenario import Scenario
from fogsim.sensors.lidar import Lidar
from tests import quadrature, reference
from tests.encounters import sweep
from tests.quadrature import Stops, log_odds

LIDAR = Lidar(rings=6, lowest_deg=-5.5, highest_deg=-0.5, columns=20, azimuth_deg=30.0)
PRIOR = Prior(np.log([0.5, 0.5]), Gaussian(np.array([11.0, 0.0]), 0.25**2 * np.eye(2)), 15.0, 0.15)
BARRIERS = BarrierPrior(length=(0.6, 0.6), height=(0.6, 0.6), yaw=(0.1, 0.1), reflectance=(0.3, 0.3))
BAGS = BagPrior(radius=(0.3, 0.3), fill=(0.95, 0.95), reflectance=(0.35, 0.35), roughness=0.03, texture=0.2)
STILL = BagMotion(wander=0.0, gust_rate=0.0)
MODEL = replace(model_of(Scenario(lidar=LIDAR)), motion=STILL, barrier=BARRIERS, bag=BAGS)
SHAPES = {"bag": BAGS, "barrier": BARRIERS}
ENCOUNTERS, PARTICLES = 100, 100_000
TOLERANCE = 0.01  # nats


def scans_of(seed: int) -> list[Scan]:
    """Two scans, a metre apart, of an object, at a place and through a fog drawn from the prior."""
    rng = stream(seed, "reduced")
    shape = MODEL.barrier if rng.random() < np.exp(PRIOR.log_probs[BARRIER]) else MODEL.bag
    place = rng.multivariate_normal(*PRIOR.position)
    visibility = PRIOR.visibility * np.exp(PRIOR.visibility_spread * rng.standard_normal())
    thing = shape.solids(place[None], np.zeros((1, len(shape.names))))
    poses = [Pose(x, 0.0, 0.9, 0.0) for x in (0.0, 1.0)]
    return [sweep(thing, visibility, 2 * seed + k, LIDAR, pose) for k, pose in enumerate(poses)]


def followed(scans: list[Scan], particles: int, seed: int) -> OracleState:
    """The oracle's state after all scans, told of ego's motion without error."""
    oracle, rng = Oracle(MODEL, particles), stream(seed, "oracle")
    state = oracle.init(PRIOR, rng)
    for k, scan in enumerate(scans):
        if k:
            delta = np.array([scan.pose.x - scans[k - 1].pose.x, 0.0, 0.0])
            state = oracle.predict(state, EgoMotion(delta, np.zeros((3, 3)), scan.pose), 0.1, rng)
        state, info = oracle.update(state, Measurement(0.1 * k, "scan", scan), rng)
        assert info.status == Status.OK
    return state


def odds_of(state: OracleState) -> float:
    """Class log-odds without a belief's floor."""
    bag, barrier = np.logaddexp.reduce(state.scores, axis=0)
    return float(barrier - bag)


def report(encounters: int = ENCOUNTERS, particles: int = PARTICLES) -> np.ndarray:
    """Print both log-odds of every encounter; the differences (encounters,)."""
    gaps = []
    for seed in range(encounters):
        scans, begin = scans_of(seed), perf_counter()
        exact, between = log_odds(MODEL, PRIOR, scans), perf_counter()
        state = followed(scans, particles, seed)
        gaps.append(odds_of(state) - exact)
        took = f"{between - begin:.1f} s and {perf_counter() - between:.1f} s"
        print(
            f"{seed:3d}  quadrature {exact:9.4f}  oracle {gaps[-1]:+.4f}  its runs {disagreement(state):.4f}  {took}",
            flush=True,
        )
    off = np.abs(gaps)
    half, most = np.quantile(off, [0.5, 0.9])
    print(f"apart: median {half:.4f}, 90 % {most:.4f}, most {off.max():.4f}; mean {np.mean(gaps):+.4f}")
    print(f"{np.count_nonzero(off <= TOLERANCE)} of {encounters} within {TOLERANCE} nats; {particles} particles")
    return off


STOPS = Stops(np.array([9.7, 10.4, 3.1, 0.9, np.inf]), np.array([0.9, 0.2, 0.5, 1.0, 0.0]), 0.3, 0.03, 0.2)
V = np.log([9.0, 14.0, 25.0])


@pytest.mark.parametrize("echo", [(), (9.75, 12.0), (10.3, 4.2), (3.0, 5.0), (6.2, 9.0), (121.0, 30.0), (60.0, 4.1)])
def test_a_beams_density_is_that_of_the_slow_twin(echo):
    optics, r_p = MODEL.optics, echo or (0.0, 0.0)
    fogs = quadrature.fogs_of(optics, V)
    found = quadrature.log_density(optics, fogs, *r_p, STOPS)
    for k, alpha in enumerate(np.log(20.0) / np.exp(V)):
        fog = reference.even_fog(optics, alpha, partial(reference.soft_power, optics, alpha), fogs.log_median[k])
        for i, (far, cosine) in enumerate(zip(STOPS.range, STOPS.cosine, strict=True)):
            stop = reference.Surface(far, cosine, STOPS.reflectance, 1.0, STOPS.roughness, STOPS.texture)
            wanted = reference.density(optics, reference.candidates(optics, fog, stop), [echo] if echo else [])
            assert found[i, k] == pytest.approx(np.log(wanted), abs=1e-2)  # the table is that coarse


@pytest.mark.parametrize("kind", SHAPES)
def test_beams_meet_an_object_where_the_slow_twin_says(kind):
    shape, rng, met = SHAPES[kind], stream(0, "places"), 0
    places = PRIOR.position.mean + 0.25 * rng.standard_normal((60, 2))
    solids = shape.solids(places, np.zeros((60, len(shape.names))))
    for _ in range(40):
        origin = np.array([1.0, 0.1, 0.9])
        direction = reference.direction_of(rng.uniform(-0.1, 0.0), rng.uniform(-0.08, 0.08))
        distance, cosine = quadrature.meet(shape, places, origin, direction)
        wanted = np.array([reference.meet(solids, i, origin, direction) for i in range(60)])
        np.testing.assert_allclose(distance, wanted[:, 0], atol=1e-6)
        np.testing.assert_allclose(cosine, wanted[:, 1], atol=1e-4)
        met += np.isfinite(distance).sum()
    assert met > 200


def test_quadrature_is_importance_sampling():
    """By the filters' own kernels and draws: neither shares anything with the other."""
    scans = scans_of(4)
    drawn = posterior(standing(MODEL, PRIOR, scans), 2500.0, stream(4, "drawn"))
    error = np.hypot(*[d.evidence_error for d in drawn.draws])
    assert error < 0.03
    gap = drawn.log_probs[BARRIER] - drawn.log_probs[BAG] - log_odds(MODEL, PRIOR, scans, 1e-3)
    assert abs(gap) < 3.5 * error


@pytest.mark.parametrize(("seed", "tolerance"), [(3, TOLERANCE), (4, 0.5)], ids=["unseen", "seen"])
def test_the_oracle_is_quadrature(seed, tolerance):
    """To what so few particles allow: four deviations where an echo leaves but few of them."""
    scans = scans_of(seed)
    assert odds_of(followed(scans, 5000, seed)) == pytest.approx(log_odds(MODEL, PRIOR, scans, 1e-3), abs=tolerance)


@pytest.mark.slow
def test_quadrature_has_converged():
    for seed in range(5):
        scans = scans_of(seed)
        finer = log_odds(MODEL, PRIOR, scans, quadrature.SHARE / 4, 2 * quadrature.NODES)
        assert log_odds(MODEL, PRIOR, scans) == pytest.approx(finer, abs=2e-3)


@pytest.mark.slow
def test_the_oracle_is_quadrature_in_a_hundred_encounters():
    assert report().max() <= TOLERANCE


if __name__ == "__main__":
    report(*[int(a) for a in sys.argv[1:]])
