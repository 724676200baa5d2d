"""The compiled density of a lidar's echoes: against its twin in every mode and fog, and its integral against one."""

from itertools import permutations
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from filters.models.fog import fog_at, fog_power
from filters.models.lidar_echo import log_density, stop_at
from filters.models.normal import decay, log_add, log_cdf, sample_tail
from filters.models.optics import MODES, MOST_ECHOES, Optics, echo_table, extinction
from tests import reference
from tests.echoes import (
    ALPHA,
    BANK,
    BEAMS,
    FOGS,
    PATCHY,
    candidates,
    grids,
    nothing,
    proposed,
    ray,
    single_echoes,
    stops,
)
from tests.reference import Surface

# Twin


@st.composite
def reports(draw):
    """A random beam and a report of up to three echoes near what could have made them."""
    optics = Optics(
        mode=draw(st.sampled_from(MODES)),
        threshold=draw(st.sampled_from([2.5, 4.0])),
        glitch=draw(st.sampled_from([0.0, 1e-4, 0.05])),
    )
    stop = Surface(
        draw(st.one_of(st.just(np.inf), st.floats(0.5, 1.0), st.floats(1.3, 60.0))),
        draw(st.floats(0.05, 1.0)),
        draw(st.floats(0.05, 0.8)),
        roughness=draw(st.floats(0.005, 0.1)),
        texture=draw(st.sampled_from([0.0, 0.15, 0.4])),
    )
    fog = draw(st.one_of(st.floats(8.0, 500.0).map(lambda v: float(extinction(v))), st.sampled_from([BANK, PATCHY])))
    found = candidates(optics, fog, stop)
    echoes = []
    for _ in range(draw(st.integers(0, MOST_ECHOES[optics.mode]))):
        source = found[draw(st.integers(0, len(found) - 1))]
        p = max(source.power + source.spread * draw(st.floats(-4.0, 4.0)), optics.threshold + 0.01)
        echoes.append((float(source.draw(p, draw(st.floats(0.001, 0.999)))), float(p)))
    return optics, fog, stop, found, echoes


@given(reports())
@settings(max_examples=400, deadline=None)
def test_density_is_the_twins(report):
    optics, uneven, stop, found, echoes = report
    ranges, powers = np.zeros(3), np.zeros(3)
    for k, (r, p) in enumerate(echoes):
        ranges[k], powers[k] = r, p
    table, fog = echo_table(optics), ray(optics, uneven)
    place = stop_at(table, fog, stop.range, stop.cosine, stop.reflectance, stop.roughness, stop.texture)
    value = np.exp(log_density(table, fog, ranges, powers, place))
    # Terms below e^-72 of their peak are left out by the kernel.
    assert value == pytest.approx(reference.density(optics, found, echoes), rel=1e-9, abs=1e-27)


@pytest.mark.parametrize("visibility", [15.0, 60.0])
@pytest.mark.parametrize("distance", [6.0, 14.0])
def test_without_texture_and_glitch_it_is_the_plain_formula(distance, visibility):
    optics, alpha = Optics(glitch=0.0), float(extinction(visibility))
    table = echo_table(optics)
    fog = fog_at(table, alpha)
    powers = [
        0.0,
        fog_power(table, fog, distance),
        reference.hard_power(optics, alpha * distance, Surface(distance, 0.7, 0.3)),
    ]
    law = stats.lognorm(optics.fog_spread, scale=np.exp(fog.location))
    mass = law.cdf(distance) - law.cdf(1.0)
    place = stop_at(table, fog, distance, 0.7, 0.3, 0.02, 0.0)
    for r, p in [
        (0.0, 0.0),
        (distance, 5.0),
        (distance + 0.05, powers[2] + 1.0),
        (3.0, 4.5),
        (3.0, powers[1]),
        (90.0, 4.1),
    ]:
        sigma = np.hypot(0.02, 0.03 * np.sqrt(4.0 / max(p, 4.0)))
        ranges = [
            lambda x: 1.0 / 119.5,
            lambda x: law.pdf(x) / mass * (1.0 < x < distance),
            lambda x, s=sigma: stats.norm.pdf(x, distance, s),
        ]
        value = np.exp(log_density(table, fog, np.array([r]), np.array([p]), place))
        assert value == pytest.approx(reference.section_3(4.0, powers, ranges, r, p), rel=1e-9)


def test_log_cdf_and_log_add():
    x = np.concatenate([np.linspace(-40.0, 8.0, 2001), [-6.0, -5.999, -6.001, -30.0]])
    assert np.array([log_cdf(v) for v in x]) == pytest.approx(stats.norm.logcdf(x), rel=1e-9, abs=2e-12)
    for a, b in [(0.0, 0.0), (-700.0, -701.0), (3.0, -50.0), (-np.inf, 2.0), (-np.inf, -np.inf)]:
        assert log_add(a, b) == pytest.approx(np.logaddexp(a, b))


def test_the_noise_s_tail_is_the_normal_s():
    rng = np.random.default_rng(2)
    draws = np.array([sample_tail(2.5, rng) for _ in range(20_000)])
    assert stats.kstest(draws, lambda x: 1.0 - stats.norm.sf(x) / stats.norm.sf(2.5)).pvalue > 1e-3


@given(st.floats(0.0, 690.0))
def test_decay_is_the_exponential_function(x):
    assert decay(x) == pytest.approx(np.exp(-x), rel=4e-16)


def test_what_no_light_comes_back_from_decays_to_nothing():
    assert decay(0.0) == 1.0
    assert 0.0 < decay(np.inf) == decay(1e9) < 1e-300


# Integral


def several_echoes(optics, fog, beam):
    """Probability of two echoes or more, by the twin: what nothing depends on is integrated out beforehand."""
    total = 0.0
    (p, wp), (k, wk) = grids(optics, fog, beam)
    for weight, stop in stops(beam):
        found = candidates(optics, fog, stop)
        if optics.mode == "all":
            total += weight * two_or_more([detection(c, p, wp, k, wk) for c in found])
        elif optics.mode == "dual":
            total += weight * sum(dual_pair(optics, found, s, m, p, wp, k, wk) for s, m in permutations(found, 2))
    return total


def detection(c, p, wp, r, wr):
    """∫ N(p) g(r | p) over every echo of a candidate."""
    return float((reference.echo(c, r, p[:, None]) * wp[:, None] * wr).sum())


def two_or_more(detected):
    """Pr(at least two of independent events)."""
    one = sum(d * prod(1.0 - e for j, e in enumerate(detected) if j != i) for i, d in enumerate(detected))
    return 1.0 - prod(1.0 - d for d in detected) - one


def dual_pair(optics, found, strong, last, p, wp, k, wk):
    """∫∫ N_s(p) g_m(k) [F_m(p) - F_m(threshold)] Pr(k_s < k) B(p, k): strongest and last are these two."""
    if last.key is not None:
        k, wk, at = np.array([last.key]), np.ones(1), np.ones(1)
    else:
        at = last.density(k, optics.threshold)
    x = p[:, None]
    weaker = reference.missed(last, x) - reference.missed(last, optics.threshold)
    value = stats.norm.pdf(x, strong.power, strong.spread) * weaker * at * (1.0 - strong.later(k))
    for other in found:
        if other is not strong and other is not last:
            value = value * reference.hidden(optics, other, x, k)
    return float((value * wp[:, None] * wk).sum())


@pytest.mark.parametrize("fog", FOGS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BEAMS)
def test_every_mode_integrates_to_one(name, mode, fog):
    optics = Optics(mode=mode, threshold=2.5, glitch=0.0)
    given_fog, beam = FOGS[fog], BEAMS[name]
    mass = nothing(optics, given_fog, beam) + single_echoes(optics, given_fog, beam)[2].sum()
    assert mass + several_echoes(optics, given_fog, beam) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("mode", ["strongest", "last"])
def test_glitches_integrate_to_one(mode):
    optics = Optics(mode=mode, glitch=0.02)
    mass = nothing(optics, ALPHA, BEAMS["hard"]) + single_echoes(optics, ALPHA, BEAMS["hard"])[2].sum()
    assert mass == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("glitch", [0.0, 0.02])
@pytest.mark.parametrize("mode", ["dual", "all"])
@pytest.mark.parametrize("name", BEAMS)
def test_compiled_sets_of_echoes_sum_to_one(name, mode, glitch):
    """None exactly, one by quadrature, two and three by importance sampling to a standard error below .002."""
    optics, rng = Optics(mode=mode, threshold=1.5, glitch=glitch), np.random.default_rng(3)
    total, variance = nothing(optics, ALPHA, BEAMS[name]) + single_echoes(optics, ALPHA, BEAMS[name])[2].sum(), 0.0
    for echoes in range(2, MOST_ECHOES[mode] + 1):
        weights = proposed(optics, ALPHA, BEAMS[name], echoes, 20_000, rng).weights
        total, variance = total + weights.mean(), variance + weights.var() / 20_000
    assert np.sqrt(variance) < 2e-3
    assert total == pytest.approx(1.0, abs=4.0 * np.sqrt(variance) + 1e-6)
