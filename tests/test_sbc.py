"""Importance sampling against what is known exactly, and a small simulation-based calibration with its controls."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from filters import standing as posteriors
from filters.importance import PRIOR_SHARE, Proposal, Weighted, adapt, log_standard_normal, weigh, weights_of
from filters.resampling import ess
from filters.spec import BAG, BARRIER
from filters.standing import Posterior, standing
from tests.studies import STUDIES, study_of

ROOT = Path(__file__).parents[1]
SEEDS = 30


@pytest.fixture(scope="module")
def study():
    """The study's script as a module."""
    return study_of("simulation_based_calibration")


@pytest.fixture(scope="module")
def small(study):
    """One scan of fewer beams from nearer by, and fewer draws."""
    hazard, lidar = replace(study.SCENARIO.hazards[0], x=11.0), replace(study.SCENARIO.lidar, columns=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "SCANS", 1)
        patch.setattr(study, "ENOUGH", 100.0)
        patch.setattr(study, "SCENARIO", replace(study.SCENARIO, hazards=(hazard,), lidar=lidar))
        patch.setattr(posteriors, "EFFORTS", ((600, 4), (1200, 8), (2400, 8)))
        yield study


# Importance sampling


def guess(d):
    return Proposal(np.zeros((1, d)), np.eye(d), prior_share=0.5)


def gaussian(z, s):
    """ln N(z; u, s² I)."""
    return lambda u: -0.5 * (((z - u) / s) ** 2).sum(axis=1) - len(z) * np.log(s * np.sqrt(2.0 * np.pi))


def sample(log_likelihood, d, enough=2000.0, n=500):
    rng = np.random.default_rng(1)
    return weigh(log_likelihood, adapt(log_likelihood, guess(d), n, 4, rng), enough, 40_000, rng)


@pytest.mark.parametrize("s", [0.003, 0.1, 3.0])
def test_a_gaussian_likelihood_gives_its_exact_posterior(s):
    z = np.array([1.2, -0.4, 2.5])
    found = sample(gaussian(z, s), 3)
    exact = stats.norm.logpdf(z, 0.0, np.sqrt(1.0 + s * s)).sum()
    assert found.log_evidence == pytest.approx(exact, abs=4.0 * found.evidence_error)
    assert found.evidence_error < 0.025
    weights = np.exp(found.log_weights - found.log_weights.max())
    mean, deviation = z / (1.0 + s * s), s / np.sqrt(1.0 + s * s)
    tolerance = 5.0 / np.sqrt(ess(found.log_weights))
    assert np.average(found.points, axis=0, weights=weights) == pytest.approx(mean, abs=tolerance * deviation)
    square = np.average((found.points - mean) ** 2, axis=0, weights=weights)
    assert square == pytest.approx(deviation**2, rel=2.0 * tolerance)


def test_two_narrow_modes_keep_their_shares():
    modes = np.array([[1.0, 1.0], [-1.0, 0.5]])
    f = [gaussian(m, 0.02) for m in modes]
    found = sample(lambda u: np.logaddexp(f[0](u), f[1](u)), 2)
    weights = np.exp(found.log_weights - found.log_weights.max())
    share = np.average(found.points[:, 0] > 0.0, weights=weights)
    evidence = log_standard_normal(modes * 1.0)
    assert share == pytest.approx(1.0 / (1.0 + np.exp(evidence[1] - evidence[0])), abs=0.06)


def test_a_proposal_draws_from_its_density():
    rng = np.random.default_rng(2)
    root = np.array([[0.4, 0.0], [0.3, 0.2]])
    q = Proposal(np.array([[1.0, -1.0], [-2.0, 0.5], [0.0, 0.0]]), root)
    points = q.draw(40_000, rng)
    kernels = [stats.multivariate_t(c, root @ root.T, 5.0).pdf(points[:50]) for c in q.centres]
    exact = PRIOR_SHARE * stats.multivariate_normal(np.zeros(2)).pdf(points[:50]) + (1.0 - PRIOR_SHARE) * np.mean(
        kernels, axis=0
    )
    assert np.exp(q.log_density(points[:50])) == pytest.approx(exact, rel=1e-9)
    for k in range(2):

        def marginal(x, k=k):
            of_kernels = [stats.t(5.0, c[k], np.hypot(*root[k])).cdf(x) for c in q.centres]
            return PRIOR_SHARE * stats.norm.cdf(x) + (1.0 - PRIOR_SHARE) * np.mean(of_kernels, axis=0)

        assert stats.kstest(points[:, k], marginal).pvalue > 1e-3


def test_no_weight_exceeds_the_likelihood_over_the_priors_share():
    q = Proposal(np.full((1, 2), 3.0), 0.01 * np.eye(2))
    drawn = weights_of(lambda u: np.zeros(len(u)), q, 5000, np.random.default_rng(4))
    assert drawn.log_weights.max() <= -np.log(PRIOR_SHARE) + 1e-12
    assert Weighted(drawn.points, np.zeros(5000)).evidence_error == 0.0


def test_a_class_below_the_floor_gets_no_more_draws():
    def hard(u):
        return np.where(u[:, 0] > 3.5, 0.0, -1e3)

    q, rng = guess(3), np.random.default_rng(5)
    assert len(weigh(hard, q, 1e9, 10_000, rng).points) == 10_000
    assert len(weigh(hard, q, 1e9, 10_000, rng, floor=0.0).points) == 2000


# The posterior of a standing object


@pytest.mark.parametrize("klass", [BAG, BARRIER])
def test_four_times_the_nodes_change_the_likelihood_by_less_than_a_two_hundredth(small, klass):
    """So interpolation in visibility is exact enough: the posterior's own scale is a nat."""
    scenario = small.scenario_of(7)
    seen = small.observe(scenario, 7).scans
    coarse, fine = (standing(*small.assumptions(scenario, "right"), seen, nodes) for nodes in (33, 129))
    u = coarse.guess(klass).draw(400, np.random.default_rng(6))
    u[:, -1] *= 2.0 / np.abs(u[:, -1]).max()
    found = coarse.log_likelihood(klass)(u) - fine.log_likelihood(klass)(u)
    assert np.abs(found - np.median(found)).max() < 5e-3
    assert np.ptp(coarse.log_likelihood(klass)(u)) > 10.0


def test_the_prior_of_the_latents_is_the_worlds(small):
    scenario = small.scenario_of(0)
    target = standing(*small.assumptions(scenario, "right"), small.observe(scenario, 0).scans)
    u = np.random.default_rng(7).standard_normal((20_000, target.dimensions(BARRIER)))
    solids, hazard = target.solids(BARRIER, u), scenario.hazards[0]
    drawn = [small.worlds.start(scenario, seed).things[0] for seed in range(400)]
    for mine, theirs in zip((solids.x, solids.y), np.array([t.position for t in drawn]).T, strict=True):
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-3
    sizes = [t.solids(scenario).hy[0] for t in drawn if t.kind == BARRIER]
    assert stats.ks_2samp(solids.hy, sizes).pvalue > 1e-3
    assert solids.x.mean() == pytest.approx(hazard.x, abs=0.05)


def test_resampling_is_by_the_class_and_the_weights():
    points = np.arange(4.0)[:, None]
    draws = (Weighted(points, np.log([1.0, 1.0, 1.0, 1.0])), Weighted(points, np.log([1.0, 2.0, 3.0, 1e-30])))
    found = Posterior(draws, np.log([0.25, 0.75]), 1)
    klass, index = found.resample(40_000, np.random.default_rng(8))
    assert klass.mean() == pytest.approx(0.75, abs=0.01)
    assert np.bincount(index[klass == 1], minlength=4) / (klass == 1).sum() == pytest.approx(
        [1 / 6, 1 / 3, 1 / 2, 0.0], abs=0.012
    )
    assert found.ess == pytest.approx(1.0 / (4 * (0.25 / 4) ** 2 + 0.75**2 * (1 + 4 + 9) / 36), rel=1e-9)


# The study


def test_the_test_of_ranks_is_calibrated_and_has_power(study):
    rng = np.random.default_rng(9)
    p = [study.p_value(rng.integers(100, size=500)) for _ in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    z = rng.standard_normal(500)
    off = (100 * stats.norm.cdf(z + 0.3)).astype(int)
    narrow = (100 * stats.norm.cdf(z / 0.7)).astype(int)
    assert max(study.p_value(off), study.p_value(narrow)) < 1e-4


def test_the_band_holds_all_of_a_uniform_ecdf_19_times_in_20(study):
    rng, z = np.random.default_rng(10), np.arange(1, 100) / 100
    low, high = study.band(500)
    ranks = rng.integers(100, size=(1000, 500))
    off = np.stack([np.bincount(r, minlength=100).cumsum()[:-1] / 500 for r in ranks]) - z
    assert np.mean(((off >= low) & (off <= high)).all(axis=1)) == pytest.approx(0.95, abs=0.03)


def test_weighted_quantiles(study):
    values = np.random.default_rng(11).uniform(size=20_000)
    assert study.quantiles(values, np.ones(20_000)) == pytest.approx(study.PROBABILITIES, abs=0.015)
    assert study.quantiles(values, values) == pytest.approx(np.sqrt(study.PROBABILITIES), abs=0.02)


@pytest.fixture(scope="module")
def right(small):
    return [small.calibrate((seed, "right")) for seed in range(SEEDS)]


def test_ranks_of_the_truth_are_uniform(small, right):
    """So few encounters notice neither a slip nor range noise x .7 for sure: that takes the whole study, below."""
    p = small.p_values(right, bins=6)
    assert len(p) * min(p.values()) > 0.001, p
    assert min(row["ess"] for row in right) >= small.ENOUGH
    assert np.median([row["sd"] / row["prior_sd"] for row in right]) <= 0.7
    assert 0.2 < np.mean([row["barrier"] for row in right]) < 0.8


def test_a_likelihood_without_fog_echoes_is_noticed(small, monkeypatch):
    """How well a wrong posterior is sampled does not matter: it gets one effort and few draws."""
    monkeypatch.setattr(posteriors, "EFFORTS", ((600, 4),))
    monkeypatch.setattr(posteriors, "MOST", 4000)
    p = small.p_values([small.calibrate((seed, "clear")) for seed in range(24)], bins=6)
    assert len(p) * min(p.values()) < 0.001, p


def test_a_record_is_read_up_to_where_a_kill_cut_it(study, tmp_path):
    path, made_of = tmp_path / "right.jsonl", {"models": "a"}
    assert study.read(path, made_of) == {}
    with path.open("a") as file:
        file.write(json.dumps({"seed": 3, "ess": 1.0}) + "\n" + '{"seed": 4, "e')
    assert study.read(path, made_of) == {3: {"seed": 3, "ess": 1.0}}
    assert path.read_text().endswith("}\n")
    with pytest.raises(SystemExit, match="another"):
        study.read(path, {"models": "b"})


@pytest.mark.slow
def test_the_whole_study_holds():
    """500 encounters with both controls; the script's exit code says whether every figure holds. It resumes."""
    script, env = STUDIES / "simulation_based_calibration.py", {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], cwd=ROOT, env=env)
    assert done.returncode == 0
