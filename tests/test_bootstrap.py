"""Fast bootstrap filter: its numbers against double twins, the Kalman filter as particles grow, degenerate clouds."""

import platform
from typing import NamedTuple

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from scipy.stats import kstest, multivariate_normal

from filters import bootstrap, normals, single
from filters.bootstrap import CHUNK, Bootstrap
from filters.jit import jit, uncached
from filters.normals import fill_normals
from filters.single import f32
from filters.spec import Status
from filters.streams import stream


class Line(NamedTuple):
    """Motion along a line, and a measured position."""

    dt: float
    push: float  # m/s of one deviation
    spread: float  # m of the measurement


LINE = Line(*map(f32, (1.0, 0.3, 0.8)))
HALF, LOG_SQRT_2PI = f32(0.5), f32(0.5 * np.log(2.0 * np.pi))


@jit
def move(points, noise, line):
    place, speed, push = points[0], points[1], noise[0]
    for i in range(place.size):
        place[i] += line.dt * (speed[i] + HALF * line.push * push[i])
        speed[i] += line.push * push[i]


@jit
def log_likelihood(points, z, line, values):
    scale, constant = f32(1.0) / line.spread, LOG_SQRT_2PI + np.log(line.spread)
    for i in range(values.size):
        off = (z[0] - points[0, i]) * scale
        values[i] = -HALF * off * off - constant


@jit
def call_philox(a, b, c, d, k, q):
    return normals.philox(a, b, c, d, k, q)


@jit
def call_each(x, out):
    for i in range(x.size):
        out[0, i] = single.exp_of_negative(-x[i])
        out[1, i] = single.ln(x[i])
        out[2, i], out[3, i] = single.sin_cos(x[i])


@jit
def call_arctan2(y, x, out):
    for i in range(x.size):
        out[i] = single.arctan2(y[i], x[i])


MEAN, COVARIANCE = np.array([1.0, 0.5]), np.array([[1.0, 0.2], [0.2, 0.3]])
OURS = Bootstrap(move, log_likelihood, LINE, 1)
ZS = np.array([1.2, 2.9, 2.0, 3.9, 5.5, 5.0, 4.1, 5.2])


def cloud_of(n, rng):
    return OURS.init(rng.multivariate_normal(MEAN, COVARIANCE, n).T)


def run(ours, n, seed, zs=ZS):
    """Moments and log-evidence after measurements zs."""
    rng = stream(seed, "bootstrap", n)
    cloud, log_evidence = cloud_of(n, rng), 0.0
    for z in zs:
        cloud, info = ours.step(cloud, np.array([z]), rng)
        log_evidence += info.log_evidence[0]
    return cloud.moments(), log_evidence


def exact(zs=ZS):
    """FilterPy's mean, covariance and log-evidence of the same."""
    kf, log_evidence = KalmanFilter(2, 1), 0.0
    kf.x, kf.P, kf.H, kf.R = MEAN[:, None], COVARIANCE, np.array([[1.0, 0.0]]), np.array([[float(LINE.spread) ** 2]])
    dt, push = float(LINE.dt), float(LINE.push)
    kf.F, gain = np.array([[1.0, dt], [0.0, 1.0]]), push * np.array([[0.5 * dt], [1.0]])
    kf.Q = gain @ gain.T
    for z in zs:
        kf.predict()
        kf.update(z)
        log_evidence += multivariate_normal.logpdf(kf.y[0], cov=kf.S)
    return kf.x[:, 0], kf.P, log_evidence


def philox_twin(counter, key, rounds):
    """The paper's rounds in Python's whole numbers."""
    (a, b, c, d), (k, q), low = counter, key, 2**32 - 1
    for _ in range(rounds):
        one, two = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (two >> 32) ^ b ^ k, two & low, (one >> 32) ^ d ^ q, one & low
        k, q = (k + 0x9E3779B9) & low, (q + 0xBB67AE85) & low
    return a, b, c, d


ALL = 2**32 - 1
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),  # the authors' known answers for philox4x32 of 7 rounds
    [
        ((0,) * 4, (0, 0), (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
        ((ALL,) * 4, (ALL, ALL), (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
        (PI, (0xA4093822, 0x299F31D0), (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A)),
    ],
)
def test_philox_gives_the_known_answers(counter, key, expected):
    assert call_philox(*map(np.uint64, (*counter, *key))) == expected
    assert philox_twin(counter, key, 7) == expected


def normals_twin(first, m, key, block):
    """Box and Muller in double of the same words (4, m)."""
    words = [philox_twin((first + i, block, 0, 0), key, 7) for i in range(m)]
    a, b, c, d = np.array(words).T >> 8
    rows = []
    for u, v in ((a, b), (c, d)):
        radius, angle = np.sqrt(-2.0 * np.log((u + 0.5) * 2.0**-24)), 2.0 * np.pi * (v * 2.0**-24 - 0.5)
        rows += [radius * np.cos(angle), radius * np.sin(angle)]
    return np.array(rows)


def test_normals_are_those_of_the_twin_and_standard():
    noise = np.empty((4, CHUNK), f32)
    fill_normals(noise, 5 * CHUNK, np.array([7, 9], np.uint32), 3)
    np.testing.assert_allclose(noise, normals_twin(5 * CHUNK, CHUNK, (7, 9), 3), atol=2e-6)
    many = np.empty((4, 250_000), f32)
    fill_normals(many, 0, np.array([1, 2], np.uint32), 0)
    for row in many:
        assert kstest(row, "norm").pvalue > 1e-4
    assert np.cov(many) == pytest.approx(np.eye(4), abs=0.012)
    assert np.cov(many**2) == pytest.approx(2.0 * np.eye(4), abs=0.05)


def test_functions_of_single_precision():
    x = np.r_[np.geomspace(1e-30, 80.0, 20_001), np.linspace(0.5, 2.0, 9_999)].astype(f32)
    out = np.empty((4, x.size), f32)
    call_each(x, out)
    np.testing.assert_allclose(out[0], np.exp(-x.astype(float)), rtol=3e-7)
    np.testing.assert_allclose(out[1], np.log(x.astype(float)), rtol=3e-7, atol=1e-7)
    turns = np.linspace(-0.5, 0.5, 10_001).astype(f32)
    out = np.empty((4, turns.size), f32)
    call_each(turns, out)
    np.testing.assert_allclose(out[2], np.sin(2.0 * np.pi * turns.astype(float)), atol=5e-7)
    np.testing.assert_allclose(out[3], np.cos(2.0 * np.pi * turns.astype(float)), atol=1e-6)


def test_exponential_of_nothing_is_zero():
    x = np.array([np.inf, np.nan, 87.5, 1e30, 0.0], f32)
    out = np.empty((4, x.size), f32)
    call_each(x, out)
    assert out[0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_angles():
    angle = np.linspace(-np.pi, np.pi, 5001)
    y, x = (np.geomspace(1e-3, 1e3, 5001) * np.array([np.sin(angle), np.cos(angle)])).astype(f32)
    out = np.empty(x.size, f32)
    call_arctan2(y, x, out)
    np.testing.assert_allclose(out, np.arctan2(y.astype(float), x.astype(float)), atol=5e-7)
    axes = np.array([[0, 0, 1, -1, 0], [1, -1, 0, 0, 0]], f32)
    call_arctan2(*axes, out[:5])
    assert out[:5] == pytest.approx([0.0, np.pi, np.pi / 2, -np.pi / 2, 0.0])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86 instructions")
def test_the_loops_are_vector_loops():
    normal, sums = (uncached(k.py_func) for k in (fill_normals, bootstrap.sums_of))  # what is cached has no assembly
    normal(np.empty((4, CHUNK), f32), 0, np.zeros(2, np.uint32), 0)
    sums(np.zeros(CHUNK, f32))
    for kernel in (normal, sums):
        (assembly,) = kernel.inspect_asm().values()
        assert "mulps" in assembly  # four or more single products at once


def double_step(points, log_weights, z, key, uniform):
    """The filter of `Line` in double, in NumPy, with the same random numbers; uniform None for no resampling."""
    n = log_weights.size
    if uniform is not None:
        edges = np.cumsum(np.exp(log_weights))
        chosen = np.searchsorted(edges, (np.arange(n) + uniform) / n * edges[-1], side="right")
        points, log_weights = points[:, chosen], np.full(n, -np.log(n))
    push = float(LINE.push) * normals_twin(0, n, key, 0)[0]
    place, speed = points
    place = place + float(LINE.dt) * (speed + 0.5 * push)
    off = (z - place) / float(LINE.spread)
    log_weights = log_weights - 0.5 * off**2 - 0.5 * np.log(2.0 * np.pi) - np.log(float(LINE.spread))
    log_sum = np.logaddexp.reduce(log_weights)
    return np.array([place, speed + push]), log_weights - log_sum, log_sum


@pytest.mark.parametrize("enough", [0.0, 1.1])
@pytest.mark.parametrize("n", [1, 1000, CHUNK, 2 * CHUNK + 3])
def test_a_step_is_that_of_the_double_twin(n, enough):
    cloud = cloud_of(n, stream(1, "cloud", n))
    cloud = cloud._replace(log_weights=np.log(stream(2, "w").dirichlet(np.full(n, 0.5))).astype(f32))
    before = [part.copy() for part in cloud[:2]]
    rng = stream(3, "step")
    uniform = rng.random() if enough else None
    key = tuple(int(k) for k in rng.integers(2**32, size=2, dtype=np.uint32))
    new, info = Bootstrap(move, log_likelihood, LINE, 1, enough).step(cloud, np.array([2.5]), stream(3, "step"))
    points, log_weights, log_sum = double_step(*(b.astype(float) for b in before), 2.5, key, uniform)
    same = np.isclose(new.points, points, atol=1e-5).all(axis=0)  # a point on an edge may fall to either side
    assert same.mean() > 0.995
    np.testing.assert_allclose(new.log_weights[same], log_weights[same], rtol=1e-5, atol=1e-5)
    assert info.log_evidence[0] == pytest.approx(log_sum, abs=1e-4)
    assert info.ess == pytest.approx(1.0 / np.exp(2.0 * log_weights).sum(), rel=1e-3)
    assert info.resampled == bool(enough)
    for part, was in zip(cloud[:2], before, strict=True):
        assert (part == was).all()  # what was given is not touched


def test_it_becomes_the_kalman_filter_as_particles_grow():
    mean, P, log_evidence = exact()
    misses = []
    for n in (1000, 16_000):
        runs = [run(OURS, n, seed) for seed in range(200)]
        off = np.array([m.mean - mean for m, _ in runs])
        misses.append(np.sqrt((off**2).mean(axis=0)))
        bound = 4.0 * off.std(axis=0, ddof=1) / np.sqrt(len(runs))
        assert (abs(off.mean(axis=0)) < bound + 3.0 / n).all()  # the bias is of order 1/n
    assert misses[0] / misses[1] == pytest.approx(4.0, rel=0.25)
    assert np.mean([m.covariance for m, _ in runs], axis=0) == pytest.approx(P, rel=0.02)
    assert np.mean([e for _, e in runs]) == pytest.approx(log_evidence, abs=0.01)


@pytest.mark.parametrize("enough", [0.0, 0.5, 1.1])
def test_evidence_is_unbiased(enough):
    ours, log_evidence = Bootstrap(move, log_likelihood, LINE, 1, enough), exact()[2]
    ratio = np.exp([run(ours, 200, seed)[1] - log_evidence for seed in range(1500)])
    error = ratio.std() / np.sqrt(ratio.size)
    assert error < 0.025
    assert ratio.mean() == pytest.approx(1.0, abs=4.0 * error)


@pytest.mark.parametrize("z", [np.nan, np.inf])
@pytest.mark.parametrize("enough", [0.0, 1.1])
def test_what_no_particle_explains_is_a_status_and_the_prediction_stays(z, enough):
    ours, rng = Bootstrap(move, log_likelihood, LINE, 1, enough), stream(4, "z")
    before, _ = ours.step(cloud_of(1500, rng), np.array([1.0]), rng)
    cloud, info = ours.step(before, np.array([z]), rng)
    assert info.status == Status.DEPLETED
    assert info.log_evidence == [0.0]
    weights = np.full(1500, 1.0 / 1500) if enough else np.exp(before.log_weights)
    np.testing.assert_allclose(np.exp(cloud.log_weights), weights, rtol=1e-5)
    assert cloud.ess == pytest.approx(1.0 / (weights**2).sum(), rel=1e-4)
    predicted = before.moments().mean @ [[1.0, 0.0], [1.0, 1.0]]
    assert cloud.moments().mean == pytest.approx(predicted, abs=0.1)
    assert ours.step(cloud, np.array([2.0]), rng)[1].status == Status.OK


@pytest.mark.parametrize("gap", [-200.0, -3.0, 0.0, 5.0])
def test_sums_of_chunks_are_those_of_all(gap):
    a, b = stream(7, "sums").normal([[0.0], [gap]], 2.0, (2, CHUNK)).astype(f32)
    sums = bootstrap.add(bootstrap.add(bootstrap.NOTHING, bootstrap.sums_of(a)), bootstrap.sums_of(b))
    both = np.concatenate([a, b]).astype(float)
    assert sums.top == both.max()
    assert sums.total == pytest.approx(np.exp(both - sums.top).sum(), rel=1e-6)
    assert sums.squares == pytest.approx(np.exp(2.0 * (both - sums.top)).sum(), rel=1e-6)


def test_a_point_whose_likelihood_is_nan_is_impossible_and_leaves_no_copies():
    rng = stream(8, "nan")
    cloud = cloud_of(2000, rng)
    cloud.points[:, 3] = np.nan
    cloud, info = OURS.step(cloud, np.array([1.5]), rng)
    assert info.status == Status.OK
    assert cloud.log_weights[3] == -np.inf
    assert np.exp(cloud.log_weights.astype(float)).sum() == pytest.approx(1.0, abs=1e-5)
    cloud, info = OURS.step(cloud._replace(ess=0.0), np.array([2.0]), rng)
    assert info.resampled
    assert np.isfinite(cloud.points).all()


def test_contradictory_data_and_a_lone_particle_stay_finite():
    for n in (1, 5000):
        rng = stream(5, n)
        cloud = cloud_of(n, rng)
        for z in (1e6, -1e6, 0.0, 1e8):
            cloud, info = OURS.step(cloud, np.array([z]), rng)
            assert info.status == Status.OK
            assert np.isfinite(info.log_evidence).all()
            assert np.isfinite(np.concatenate([part.ravel() for part in cloud.moments()])).all()
            assert np.exp(cloud.log_weights.astype(float)).sum() == pytest.approx(1.0, abs=1e-5)
            assert info.ess > 1.0 - 1e-6


def test_weights_stay_normalised_over_many_updates():
    rng = stream(6, "long")
    vague = Bootstrap(move, log_likelihood, LINE._replace(spread=f32(1e4), push=f32(0.0)), 1, 0.0)
    cloud = cloud_of(300, rng)
    for _ in range(3000):
        cloud, info = vague.step(cloud, np.array([0.0]), rng)
    assert np.exp(cloud.log_weights.astype(float)).sum() == pytest.approx(1.0, abs=1e-6)
    assert info.status == Status.OK
