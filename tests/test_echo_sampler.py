"""The sampler of a lidar's echoes against the density: chi-square, Kolmogorov-Smirnov, and what the labels say."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from filters.models.fog import BUNDLE, fog_at, fog_rays
from filters.models.lidar_echo import FOG, GROUND, LOST, NOISE, NOTHING, STRUCTURE, THING
from filters.models.lidar_scan import Scene, sample_scan
from filters.models.optics import CELLS, MODES, MOST_ECHOES, Optics, echo_table
from filters.models.shapes import Hits, Solids
from filters.spec import Surfaces
from tests import reference
from tests.echoes import (
    ALPHA,
    BANK,
    BEAMS,
    FOGS,
    HARD,
    POROUS,
    POWER_EDGES,
    nothing,
    proposed,
    range_edges,
    single_echoes,
)

SAMPLED = ("hard", "porous", "empty")
DRAWS = 60_000
LEVEL = 1e-4  # of each p-value: there are about a hundred in this file


def noisy(mode, **changes):
    """A threshold so low that false alarms really occur, and frequent glitches."""
    return Optics(mode=mode, **({"threshold": 2.5, "glitch": 0.02} | changes))


def scene_of(beam, n):
    """A beam n times over, one ring of a scan: its surfaces as things, nothing behind them."""
    what = np.arange(len(beam))
    columns = [np.tile([[getattr(s, f) for s in beam]], (n, 1))[None] for f in ("range", "cosine")]
    materials = {f: np.array([getattr(s, f) for s in beam]) for f in ("reflectance", "fill", "roughness", "texture")}
    solids = Solids(**{f: materials.get(f, np.zeros(len(beam))) for f in Solids._fields})
    behind = Surfaces(np.full((1, n), np.inf), np.zeros((1, n)), np.zeros((1, n)))
    return Scene(Hits(*columns, np.tile(what, (n, 1))[None]), solids, behind, np.zeros((1, n), bool))


def sample(optics, fog, beam, n, seed):
    """Ranges, powers and labels (n, echoes) of n scans of one beam."""
    rays = n // BUNDLE + 1
    given = fog_at(echo_table(optics), fog) if isinstance(fog, float) else fog_rays(optics, np.tile(fog, (1, rays, 1)))
    return [a[0] for a in sample_scan(echo_table(optics), given, scene_of(beam, n), np.random.default_rng(seed))]


def cells(beam, ranges, powers):
    """The cell of power and range that each echo falls into, and how many there are."""
    edges = range_edges(beam)
    across = len(edges) + 1
    return np.searchsorted(POWER_EDGES, powers) * across + np.searchsorted(edges, ranges), across * (
        len(POWER_EDGES) + 1
    )


def fit(optics, beam, scored, scored_beam, fog=ALPHA, scored_fog=None, seed=5):
    """Chi-square p-value of draws of `beam` under `optics` against the kernel for `scored_beam` under `scored`."""
    scored_fog = fog if scored_fog is None else scored_fog
    ranges, powers, _ = sample(optics, fog, beam, DRAWS, seed)
    count = (powers > 0.0).sum(axis=1)
    index, size = cells(beam, ranges[:, 0], powers[:, 0])
    p, r, mass = single_echoes(scored, scored_fog, scored_beam)
    at, _ = cells(beam, np.broadcast_to(r, mass.shape), np.broadcast_to(p[:, None], mass.shape))
    observed = [np.array([(count == 0).sum()]), np.bincount(index[count == 1], minlength=size)]
    probability = [np.array([nothing(scored, scored_fog, scored_beam)]), np.bincount(at.ravel(), mass.ravel(), size)]
    error = [np.zeros(1), np.zeros(size)]
    for echoes in range(2, MOST_ECHOES[optics.mode] + 1):
        draws = proposed(scored, scored_fog, scored_beam, echoes, 60_000, np.random.default_rng(seed + echoes))
        mine, size_2 = coarse(beam, ranges[count == echoes], powers[count == echoes])
        theirs, _ = coarse(beam, draws.ranges, draws.powers)
        n = len(draws.weights)
        mean = np.bincount(theirs, draws.weights, size_2) / n
        observed.append(np.bincount(mine, minlength=size_2))
        probability.append(mean)
        error.append(np.sqrt(np.maximum(np.bincount(theirs, draws.weights**2, size_2) / n - mean**2, 0.0) / n))
    return reference.chi_square(*(np.concatenate(a) for a in (observed, probability, error)))


def coarse(beam, ranges, powers):
    """Cell of a set of several echoes: is each strong, and is each fog-near, before, at or behind the first surface."""
    first = min(beam[0].range, 20.0)
    edges = np.array([3.0, first - 0.2, first - 0.03, first + 0.03, first + 0.2])
    index = np.zeros(len(ranges), int)
    for k in range(ranges.shape[1]):
        index = index * 18 + np.where(
            powers[:, k] > 0.0, 3 * np.searchsorted(edges, ranges[:, k]) + np.searchsorted([5.0, 9.0], powers[:, k]), 0
        )
    return index, 18**3


CASES = [(m, n, "even") for m, n in product(MODES, SAMPLED)] + [
    (m, "porous", f) for m in MODES for f in FOGS if f != "even"
]


@pytest.mark.parametrize(("mode", "name", "fog"), CASES)
def test_sampler_fits_the_density(mode, name, fog):
    assert fit(noisy(mode), BEAMS[name], noisy(mode), BEAMS[name], FOGS[fog]) > LEVEL


@pytest.mark.parametrize(("mode", "name"), list(product(MODES, ("hard", "porous"))))
def test_a_density_with_too_little_range_noise_is_rejected(mode, name):
    smaller = tuple(s._replace(roughness=0.7 * s.roughness) for s in BEAMS[name])
    optics = noisy(mode)
    assert fit(optics, BEAMS[name], noisy(mode, range_noise=0.7 * optics.range_noise), smaller) < 1e-6


@pytest.mark.parametrize(("mode", "name"), list(product(MODES, SAMPLED)))
def test_a_density_without_fog_echoes_is_rejected(mode, name):
    assert fit(noisy(mode), BEAMS[name], noisy(mode, lidar_ratio=1e6), BEAMS[name]) < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_a_density_without_texture_is_rejected(mode):
    plain = tuple(s._replace(texture=0.0) for s in HARD)
    assert fit(noisy(mode), HARD, noisy(mode), plain) < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_a_density_of_even_fog_is_rejected_in_a_bank(mode):
    assert fit(noisy(mode), POROUS, noisy(mode), POROUS, fog=BANK, scored_fog=float(BANK.mean())) < 1e-6


@pytest.mark.parametrize("mode", ["last", "dual"])
def test_a_density_of_another_mode_is_rejected(mode):
    """On beams where they differ: both surface and fog are heard at times."""
    other = noisy("strongest" if mode == "last" else "all")
    ranges, powers, _ = sample(noisy(mode), ALPHA, HARD, DRAWS, 5)
    theirs = sample(other, ALPHA, HARD, DRAWS, 6)
    assert stats.ks_2samp(ranges[:, 0], theirs[0][:, 0]).pvalue < 1e-6
    assert (powers > 0.0).sum() != (theirs[1] > 0.0).sum()


def marginals(optics, beam, scored, scored_beam, fog=ALPHA, seed=8):
    """Kolmogorov-Smirnov p-values of power and range of single echoes."""
    ranges, powers, _ = sample(optics, fog, beam, DRAWS, seed)
    single = (powers > 0.0).sum(axis=1) == 1
    p, r, mass = single_echoes(scored, fog, scored_beam)

    def p_value(values, nodes, weights):
        return stats.kstest(
            values, lambda x: np.interp(x, nodes, (np.cumsum(weights) - 0.5 * weights) / weights.sum())
        ).pvalue

    return p_value(powers[single, 0], p, mass.sum(axis=1)), p_value(ranges[single, 0], r, mass.sum(axis=0))


@pytest.mark.parametrize(("mode", "name", "fog"), CASES)
def test_marginals_of_sampler_and_density_agree(mode, name, fog):
    assert min(marginals(noisy(mode), BEAMS[name], noisy(mode), BEAMS[name], FOGS[fog])) > LEVEL


@pytest.mark.parametrize("mode", MODES)
def test_marginals_tell_wrong_densities(mode):
    optics = noisy(mode)
    smaller = tuple(s._replace(roughness=0.7 * s.roughness) for s in HARD)
    assert marginals(optics, HARD, noisy(mode, range_noise=0.7 * optics.range_noise), smaller)[1] < 1e-6
    assert min(marginals(optics, HARD, noisy(mode, lidar_ratio=1e6), HARD)) < 1e-6


# Labels


@pytest.mark.parametrize("mode", MODES)
def test_labels_tell_where_an_echo_is_from(mode):
    ranges, powers, labels = sample(noisy(mode, glitch=0.0), ALPHA, POROUS, 20_000, 2)
    for k, surface in enumerate(POROUS):
        own = labels == THING + k
        assert own.sum() > 500
        assert np.abs(ranges[own] - surface.range).max() < 6.0 * np.hypot(surface.roughness, 0.03)
    assert (ranges[labels == FOG] < POROUS[1].range).all()
    assert set(np.unique(labels)) <= {NOTHING, NOISE, FOG, LOST, THING, THING + 1}
    assert ((powers > 2.5) == (labels != NOTHING) & (labels != LOST)).all()


@pytest.mark.parametrize("mode", ["dual", "all"])
def test_a_lost_surface_is_marked_once_and_only_where_it_has_no_echo(mode):
    """Behind a beam's one surface there is nothing: each beam has its echo or, given room, the mark."""
    _, powers, labels = sample(noisy(mode, glitch=0.0), ALPHA, HARD, 20_000, 2)
    heard, lost = (labels == THING).sum(axis=1), (labels == LOST).sum(axis=1)
    room = (powers > 0.0).sum(axis=1) < powers.shape[1]
    assert heard.max() == 1
    assert (lost[room] == 1 - heard[room]).all()
    assert lost[~room].sum() == 0
    assert 500 < lost.sum() < 19_500


def test_the_road_and_the_rest_of_the_map_have_labels_of_their_own():
    n = 4_000
    scene = scene_of(HARD, n)
    behind = Surfaces(np.full((1, n), 12.0), np.full((1, n), 0.5), np.full((1, n), 0.3))
    scene = scene._replace(background=behind, ground=np.arange(n)[None] % 2 == 0)
    optics = noisy("all", glitch=0.0)
    labels = sample_scan(echo_table(optics), fog_at(echo_table(optics), ALPHA), scene, np.random.default_rng(1)).label[
        0
    ]
    assert (labels[::2] == GROUND).any()
    assert (labels[1::2] == STRUCTURE).any()
    assert not (labels[::2] == STRUCTURE).any()
    assert not (labels == THING).any()  # it stands behind


def test_nothing_there_is_not_lost():
    _, powers, labels = sample(noisy("all", glitch=0.0), ALPHA, BEAMS["empty"], 2_000, 2)
    assert (labels[powers == 0.0] == NOTHING).all()


@pytest.mark.parametrize("mode", ["dual", "all"])
def test_echoes_are_listed_near_to_far(mode):
    ranges, powers, _ = sample(noisy(mode), ALPHA, POROUS, 5_000, 2)
    assert ((powers > 0.0).sum(axis=1) > 1).sum() > 300
    assert (ranges[:, 1:] > ranges[:, :-1])[powers[:, 1:] > 0.0].all()


def test_each_bundle_of_columns_and_each_ring_has_its_own_fog():
    """One opaque cell on one ray: only the wall behind it goes dark."""
    rings, bundles = 3, 4
    columns = bundles * BUNDLE
    wall = Surfaces(*(np.full((rings, columns), v) for v in (15.0, 0.9, 0.5)))
    nothing_there = Hits(*(np.zeros((rings, columns, 0), t) for t in (float, float, int)))
    scene = Scene(nothing_there, Solids(*(np.empty(0) for _ in Solids._fields)), wall, np.zeros(wall.range.shape, bool))
    optics = Optics(mode="all", glitch=0.0)
    for ring, bundle in ((0, 0), (1, 0), (1, 2), (2, 3)):
        extinction = np.full((rings, bundles, CELLS), 1e-3)
        extinction[ring, bundle, 8] = 5.0
        echoes = sample_scan(echo_table(optics), fog_rays(optics, extinction), scene, np.random.default_rng(1))
        dark = ~(echoes.label == STRUCTURE).any(axis=2)
        expected = np.zeros((rings, columns), bool)
        expected[ring, bundle * BUNDLE : (bundle + 1) * BUNDLE] = True
        np.testing.assert_array_equal(dark, expected)
