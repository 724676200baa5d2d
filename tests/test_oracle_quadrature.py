"""The oracle against quadrature on a reduced problem: a standing object of known shape, three free latents, two scans.

    python -m tests.test_oracle_quadrature [ENCOUNTERS] [LOG]

prints and logs the class log-odds of both, encounter by encounter, and how far they are apart; interrupted, the same
command goes on. Objects, places and visibilities are drawn from the prior, so that some encounters say much and most
nothing. The oracle runs again and again until its own runs say that their mean is good to `ERROR`; how far it is from
quadrature has no say in that.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pytest

from filters.models.motion import BagMotion
from filters.models.shapes import BagPrior, BarrierPrior
from filters.oracle import SETTLED, Oracle, OracleState
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Measurement, Pose, Prior, Scan, Status
from filters.standing import posterior, standing
from filters.streams import stream
from fogsim.followers import model_of
from fogsim.scenario import Scenario
from fogsim.sensors.lidar import Lidar
from tests import quadrature, reference, slow_beam
from tests.encounters import sweep
from tests.quadrature import log_odds
from tests.slow_beam import Stops

LIDAR = Lidar(rings=4, lowest_deg=-5.0, highest_deg=-0.5, columns=12, azimuth_deg=24.0)
PRIOR = Prior(np.log([0.5, 0.5]), Gaussian(np.array([11.0, 0.0]), 0.15**2 * np.eye(2)), 15.0, 0.15)
BARRIERS = BarrierPrior(length=(0.6, 0.6), height=(0.6, 0.6), yaw=(0.1, 0.1), reflectance=(0.3, 0.3))
BAGS = BagPrior(radius=(0.3, 0.3), fill=(0.95, 0.95), reflectance=(0.35, 0.35))
STILL = BagMotion(wander=0.0, gust_rate=0.0)
MODEL = replace(model_of(Scenario(lidar=LIDAR)), motion=STILL, barrier=BARRIERS, bag=BAGS)
SHAPES = {"bag": BAGS, "barrier": BARRIERS}
ENCOUNTERS, PARTICLES = 100, 10_000
TOLERANCE = 0.01  # nats
ERROR = 0.003  # nats: standard error of the oracle's mean at which it has run often enough ...
FEWEST, MOST = 4, 200  # ... and how often it runs at least and at most
BOUND = 10  # of so many encounters, quadrature is doubled in one


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


class Odds(NamedTuple):
    """Class log-odds of the mean of all runs' evidences, its standard error, and how many runs there were."""

    value: float
    error: float
    runs: int


def odds_of(evidence: np.ndarray) -> Odds:
    """By ln evidences (runs, K), the error being sqrt(Σ_classes var(Z) / (n mean(Z)²))."""
    share = np.exp(evidence - evidence.max(axis=0))
    mean, n = share.mean(axis=0), len(evidence)
    bag, barrier = PRIOR.log_probs + np.log(mean) + evidence.max(axis=0)
    return Odds(float(barrier - bag), float(np.sqrt((share.var(axis=0, ddof=1) / mean**2).sum() / n)), n)


def oracle_odds(scans: list[Scan], seed: int, particles: int = PARTICLES) -> Odds:
    """What the oracle says when it has run until its error is at most `ERROR`, or `MOST` times."""
    found = [followed(scans, particles, (MOST + 1) * seed + k).evidence for k in range(FEWEST)]
    while (odds := odds_of(np.concatenate(found))).error > ERROR and len(found) < MOST and not settled(odds.value):
        found.append(followed(scans, particles, (MOST + 1) * seed + len(found)).evidence)
    return odds


def settled(odds: float) -> bool:
    """Whether the oracle looks at no scan any more."""
    return abs(odds) > SETTLED


def compare(seed: int) -> list[float]:
    """Seed, log-odds by quadrature and by the oracle less that, its standard error, its runs, quadrature's error, s.

    Two that are both settled on the same class are no distance apart; quadrature's error is nan where not bounded.
    """
    scans, begin = scans_of(seed), perf_counter()
    exact = log_odds(MODEL, PRIOR, scans)
    finer = log_odds(MODEL, PRIOR, scans, quadrature.SHARE / 2, 2 * quadrature.NODES) if seed % BOUND == 0 else np.nan
    odds = oracle_odds(scans, seed)
    same = settled(exact) and settled(odds.value) and exact * odds.value > 0.0
    gap = 0.0 if same else odds.value - exact
    return [seed, exact, gap, odds.error, odds.runs, abs(finer - exact), perf_counter() - begin]


def report(encounters: int = ENCOUNTERS, log: Path | None = None) -> np.ndarray:
    """Print every encounter; how far the two are apart (encounters,). Those in the log are not done again."""
    rows = [[float(a) for a in line.split()] for line in log.read_text().splitlines()] if log and log.exists() else []
    for seed in range(len(rows), encounters):
        rows.append(compare(seed))
        line = "{:3.0f} {:10.5f} {:+.5f} {:.5f} {:3.0f} {:.1e} {:5.1f}".format(*rows[-1])
        print(line, flush=True)
        if log:
            with log.open("a") as file:
                file.write(line + "\n")
    gaps, errors = np.array(rows)[:encounters, 2:4].T
    off = np.abs(gaps)
    half, most = np.quantile(off, [0.5, 0.9])
    print(f"apart: median {half:.4f}, 90 % {most:.4f}, most {off.max():.4f}; mean {np.mean(gaps):+.4f}")
    print(f"in the oracle's own standard errors: rms {np.sqrt(np.mean((gaps / errors) ** 2)):.2f}")
    print(f"{np.count_nonzero(off <= TOLERANCE)} of {len(off)} within {TOLERANCE} nats")
    return off


STOPS = Stops(np.array([9.7, 10.4, 3.1, 0.9, np.inf]), np.array([0.9, 0.2, 0.5, 1.0, 0.0]), 0.3, 0.03, 0.2)
V = np.log([9.0, 14.0, 25.0])


@pytest.mark.parametrize("echo", [(), (9.75, 12.0), (10.3, 4.2), (3.0, 5.0), (6.2, 9.0), (121.0, 30.0), (60.0, 4.1)])
def test_a_beams_density_is_that_of_the_slow_twin(echo):
    optics, r_p = MODEL.optics, echo or (0.0, 0.0)
    fogs = slow_beam.fogs_of(optics, V)
    found = slow_beam.log_density(optics, fogs, *r_p, STOPS)
    for k, alpha in enumerate(np.log(20.0) / np.exp(V)):
        fog = reference.even_fog(optics, alpha, partial(reference.soft_power, optics, alpha), fogs.log_median[k])
        for i, (far, cosine) in enumerate(zip(STOPS.range, STOPS.cosine, strict=True)):
            stop = reference.Surface(far, cosine, STOPS.reflectance, 1.0, STOPS.roughness, STOPS.texture)
            wanted = reference.density(optics, reference.candidates(optics, fog, stop), [echo] if echo else [])
            assert found[i, k] == pytest.approx(np.log(wanted), abs=2e-3)


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


@pytest.mark.parametrize("seed", [1, 5], ids=["unseen", "seen"])
def test_the_oracle_is_quadrature(seed):
    """As far as so few particles can tell."""
    scans = scans_of(seed)
    odds = odds_of(np.concatenate([followed(scans, 1000, k).evidence for k in range(FEWEST)]))
    assert odds.error < 0.1
    assert abs(odds.value - log_odds(MODEL, PRIOR, scans, 1e-3)) < 4.0 * odds.error + TOLERANCE


def test_the_error_is_what_evidences_vary_by():
    """Runs whose evidences are known to vary: lognormal, of mean 1."""
    rng, spread = stream(0, "lognormal"), np.array([0.1, 0.3])
    drawn = [odds_of(spread * rng.standard_normal((20, 2)) - 0.5 * spread**2) for _ in range(500)]
    values, errors = np.array([[d.value, d.error] for d in drawn]).T
    assert values.std() == pytest.approx(np.sqrt((np.expm1(spread**2)).sum() / 20), rel=0.1)
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


@pytest.mark.slow
def test_quadrature_has_converged():
    for seed in range(5):
        scans = scans_of(seed)
        finer = log_odds(MODEL, PRIOR, scans, quadrature.SHARE / 2, 2 * quadrature.NODES)
        assert log_odds(MODEL, PRIOR, scans) == pytest.approx(finer, abs=2e-3)


@pytest.mark.slow
def test_the_oracle_is_quadrature_in_a_hundred_encounters():
    assert report().max() <= TOLERANCE


if __name__ == "__main__":
    report(*[int(a) for a in sys.argv[1:2]], *[Path(a) for a in sys.argv[2:]])
