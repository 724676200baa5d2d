"""What a network was trained on is told from what it was not, and a belief in the latter goes back to the prior."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.distance import mahalanobis
from scipy.special import expit, logit
from scipy.stats import chi2

from filters import bnn, novelty
from filters.belief import entropy
from filters.bnn import NONE_OF_THESE, SUREST, BayesianNetwork
from filters.models.model import Model
from filters.network_filter import average
from filters.novelty import DISTANCE, KAPPA, LOG_VISIBILITY, SHAPE, TAILS, TERMS
from filters.spec import FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior
from filters.trained import save

DRAWS, COUNT, FLOOR = 16, 20_000, np.log(TAILS[-1])
DETECTED = FEATURES.index("detected")
AT_12_M = 3  # its band
POSE = Pose(0.0, 0.0, 0.9, 0.0)
PRIOR = Prior(np.log([0.4, 0.6]), Gaussian(np.array([15.0, 0.0]), np.eye(2)), 25.0, 0.3)
RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(2, TERMS, len(SHAPE))) * np.array([1.0, 0.05, 0.5, 0.002, 0.3])[:, None]
MIXING = 0.5 * np.eye(len(SHAPE)) + 0.1 * RNG.normal(size=(2, len(SHAPE), len(SHAPE)))


def slow_terms(values):
    d, log_visibility = values[DISTANCE], values[LOG_VISIBILITY]
    return [1.0, d, np.log(d), d * d, log_visibility]


def known_frames(count, seed, near=None):
    """Features (n, F) and labels of objects of two classes, whose shape is normal about a mean by distance and fog."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=count)
    features = np.zeros((count, len(FEATURES)))
    features[:, DETECTED] = 1.0
    features[:, FEATURES.index("lateral")] = rng.normal(size=count)
    features[:, DISTANCE] = rng.uniform(4.0, 30.0, count) if near is None else rng.uniform(0.5, near, count)
    features[:, LOG_VISIBILITY] = np.log(rng.uniform(15.0, 90.0, count))
    means = np.einsum("nt,ntf->nf", [slow_terms(values) for values in features], MEANS[label])
    features[:, SHAPE] = means + np.einsum("nf,nfg->ng", rng.normal(size=(count, len(SHAPE))), MIXING[label])
    return features, label


def typical(label, distance=12.0):
    """What is most like a class (F,)."""
    values = np.zeros(len(FEATURES))
    values[[DETECTED, DISTANCE, LOG_VISIBILITY]] = 1.0, distance, np.log(40.0)
    values[SHAPE] = slow_terms(values) @ MEANS[label]
    return values


def far_off(label=1):
    """What nothing known is like."""
    values = typical(label)
    values[SHAPE] += 8.0
    return values


def random_tensors():
    """An untrained network of which the draws differ a little."""
    rng, (features, _) = np.random.default_rng(2), known_frames(COUNT, 1)
    sites = {name: (DRAWS, *shape[1:]) for name, shape in bnn.SHAPES.items() if name[0] in "wb"}
    weights = {k: rng.normal(size=s[1:]) * 0.3 + 0.05 * rng.normal(size=s) for k, s in sites.items()}
    scores = {"mean": features.mean(axis=0), "deviation": features.std(axis=0) + 1e-3}
    return weights | scores | {"prior": np.log([0.45, 0.55]), "tau": np.array([0.05, 0.5])}


def slow_information(net, features):
    """Of label and weights, of features (n, F) alone."""
    p = expit(bnn.logits(net, features))
    of_mean, of_draws = (-q * np.log(q) - (1.0 - q) * np.log1p(-q) for q in (p.mean(axis=1), p))
    return of_mean - of_draws.mean(axis=1)


@pytest.fixture(scope="module")
def net():
    return bnn.Network(**random_tensors())


@pytest.fixture(scope="module")
def known(net):
    """Of some frames, and calibrated by others."""
    learnt, fresh = novelty.learn(*known_frames(COUNT, 1), np.ones(COUNT)), known_frames(COUNT, 2)[0]
    return novelty.calibrate(*learnt, fresh, slow_information(net, fresh), np.ones(COUNT))


@pytest.fixture(scope="module")
def wary(known, tmp_path_factory):
    """The filter."""
    path = tmp_path_factory.mktemp("trained") / "net.safetensors"
    save(path, random_tensors() | known._asdict(), {"kind": "bnn"})
    return BayesianNetwork(Model(), str(path))


@pytest.fixture(scope="module")
def credulous(known, tmp_path_factory):
    """The same network, to which nothing is odd."""
    path = tmp_path_factory.mktemp("trained") / "net.safetensors"
    save(path, random_tensors() | known._asdict() | {"tails": np.full(novelty.SHAPES["tails"], 1e30)}, {"kind": "bnn"})
    return BayesianNetwork(Model(), str(path))


def fed(filter_, frames, state=None, way=bnn.PACE):
    """The state after features (n, F), each so many m further on."""
    state = filter_.init(PRIOR, RNG) if state is None else state
    for values in frames:
        data = Features(values, np.full(2, np.nan), np.full((2, 2), np.nan), POSE)
        state = filter_.predict(state, EgoMotion(np.array([way, 0.0, 0.0]), np.zeros((3, 3)), POSE), 0.1, RNG)
        state, _ = filter_.update(state, Measurement(0.0, "features", data), RNG)
    return state


# How unlike


def test_what_is_learnt_are_the_classes_means_and_spreads():
    regression, precision = novelty.learn(*known_frames(COUNT, 1), np.ones(COUNT))
    for label in (0, 1):
        for distance in (6.0, 12.0, 25.0):
            values = typical(label, distance)
            np.testing.assert_allclose(slow_terms(values) @ regression[label], values[SHAPE], atol=0.04)
        np.testing.assert_allclose(np.linalg.inv(precision[label]), MIXING[label].T @ MIXING[label], atol=0.02)


def test_known_objects_are_as_far_from_their_class_as_normal_ones_are(known):
    far = novelty.distances(known.regression, known.precision, known_frames(COUNT, 3)[0])
    for share in (0.9, 0.5, 0.1, 0.01):
        found = (far > chi2(len(SHAPE)).isf(share)).mean()
        assert found == pytest.approx(share, abs=0.005 + 4.0 * np.sqrt(share * (1.0 - share) / COUNT))


def test_distances_are_those_of_a_slow_twin(known):
    features = known_frames(20, 4)[0] + RNG.normal(size=(20, len(FEATURES)))
    slow = [
        min(
            mahalanobis(values[SHAPE], slow_terms(values) @ B, P) ** 2
            for B, P in zip(known.regression, known.precision, strict=True)
        )
        for values in features
    ]
    np.testing.assert_allclose(novelty.distances(known.regression, known.precision, features), slow, rtol=1e-9)


def test_p_of_known_objects_is_uniform(known, net):
    fresh = known_frames(COUNT, 3)[0]
    p = np.exp(novelty.log_p(known, fresh, slow_information(net, fresh)))
    assert p.min() >= TAILS[-1] * (1.0 - 1e-9)
    for level in (0.5, 0.1, 0.05, 0.01):
        error = np.sqrt(level * (1.0 - level) * 2.0 / COUNT)  # of these and of those it was calibrated by
        assert (p <= level).mean() == pytest.approx(level, abs=4.0 * error)


def test_a_frame_of_weight_two_is_learnt_as_two():
    features, label = known_frames(2000, 1)
    weight = np.random.default_rng(5).integers(1, 4, 2000)
    twice = novelty.learn(np.repeat(features, weight, 0), np.repeat(label, weight), np.ones(weight.sum()))
    for found, expected in zip(novelty.learn(features, label, 1.0 * weight), twice, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)


def test_what_looks_odd_near_by_is_not_if_all_known_objects_do(net):
    """Shapes three times as spread nearer than 3 m, as clusters that fill the view are: p is uniform there too."""

    def frames(seed):
        far, (near, label) = known_frames(COUNT, seed)[0], known_frames(COUNT, seed + 1, 3.0)
        off = near[:, SHAPE] - np.einsum("nt,ntf->nf", [slow_terms(values) for values in near], MEANS[label])
        near[:, SHAPE] += 2.0 * off
        return np.concatenate([far, near])

    regression, precision = novelty.learn(*known_frames(COUNT, 1), np.ones(COUNT))
    held, fresh = frames(2), frames(4)
    banded = novelty.calibrate(regression, precision, held, slow_information(net, held), np.ones(len(held)))
    p = np.exp(novelty.log_p(banded, fresh, slow_information(net, fresh)))
    for part in (fresh[:, DISTANCE] < 3.0, fresh[:, DISTANCE] > 4.0):
        assert (p[part] <= 0.05).mean() == pytest.approx(0.05, abs=0.01)


def test_a_band_of_few_frames_has_the_table_of_the_next(net):
    frames = known_frames(COUNT, 2)[0]
    frames = frames[frames[:, DISTANCE] > 6.0]
    learnt = novelty.learn(*known_frames(COUNT, 1), np.ones(COUNT))
    tails = novelty.calibrate(*learnt, frames, slow_information(net, frames), np.ones(len(frames))).tails
    np.testing.assert_array_equal(tails[[0, 1]], tails[[2, 2]])
    assert (tails[2] != tails[3]).any()
    band = frames[frames[:, DISTANCE] < 10.0]
    np.testing.assert_allclose(tails[0, 0], novelty.tail_values(slow_information(net, band), np.ones(len(band))))


def test_p_is_the_tail_of_the_two_signs_added(known):
    """As Fisher adds them: that both are as large as in one of 100 is rarer than one of 100."""
    one, two = (np.interp(np.log(0.01), np.log(TAILS)[::-1], known.tails[AT_12_M, k][::-1]) for k in (0, 1))
    values = typical(1)
    direction = np.linalg.solve(np.linalg.cholesky(known.precision[1]).T, np.eye(len(SHAPE))[0])
    values[SHAPE] += np.sqrt(two) * direction
    assert novelty.distances(known.regression, known.precision, values[None])[0] == pytest.approx(two, rel=0.1)
    both = novelty.log_p(known, values[None], np.array([one]))[0]
    lone = novelty.log_p(known, typical(1)[None], np.array([one]))[0]
    assert both == pytest.approx(np.log(0.001), abs=0.5)  # 1e-4 (1 + ln 1e4) of independent ones
    assert lone > np.log(0.02)


def test_what_is_far_in_every_way_is_as_odd_as_can_be_told(known):
    told = np.array([np.log(2.0)])
    assert novelty.log_p(known, far_off()[None], told)[0] == FLOOR
    assert novelty.log_p(known, far_off()[None], np.zeros(1))[0] < np.log(0.02)  # by its place alone


# Tails


def test_a_tail_falls_and_is_as_stored_at_what_is_stored():
    values = novelty.tail_values(RNG.gamma(2.0, size=5000), np.ones(5000))
    np.testing.assert_allclose(novelty.log_tail(values, values), np.log(TAILS), atol=1e-8)
    between = novelty.log_tail(np.linspace(values[0], values[-1], 500), values)
    assert (np.diff(between) < 0.0).all()
    np.testing.assert_array_equal(novelty.log_tail(np.array([-1.0, 1e9]), values), [0.0, FLOOR])


def test_a_tail_is_the_share_that_shows_more():
    sign = RNG.gamma(2.0, size=5000)
    values = novelty.tail_values(sign, np.ones(5000))
    for share in (0.5, 0.1, 0.01):
        at = np.quantile(sign, 1.0 - share)
        assert np.exp(novelty.log_tail(at, values)) == pytest.approx(share, rel=0.05)


def test_signs_that_are_equal_say_nothing():
    values = novelty.tail_values(np.ones(100), np.ones(100))
    np.testing.assert_allclose(novelty.log_tail(np.array([0.0, 1.0, 1.1]), values), [0.0, 0.0, FLOOR])


def test_a_frame_of_twice_the_weight_is_two():
    sign = RNG.permutation(np.linspace(0.0, 1.0, 5000))
    weight = np.where(sign > 0.6, 2, 1)
    twice = novelty.tail_values(np.repeat(sign, weight), np.ones(weight.sum()))
    np.testing.assert_allclose(novelty.tail_values(sign, weight.astype(float)), twice, atol=5e-4)
    assert np.abs(novelty.tail_values(sign, np.ones(5000)) - twice).max() > 0.1


def test_a_frame_stands_in_the_middle_of_its_share():
    values = novelty.tail_values(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]))
    found = np.interp([0.3, 0.5, 0.7], 1.0 - TAILS, values)  # theirs are at .125, .5 and .875
    np.testing.assert_allclose(found, [1.0 + 7.0 / 15.0, 2.0, 2.0 + 8.0 / 15.0], atol=0.01)


# The calibrator


def test_the_calibrators_mean_is_one():
    whole, _ = quad(lambda p: np.exp(novelty.log_odds(np.log(p))), 0.0, 1.0)
    assert whole == pytest.approx(1.0, abs=1e-6)
    floored, _ = quad(lambda p: np.exp(novelty.log_odds(max(np.log(p), FLOOR))), 0.0, 1.0, points=[TAILS[-1]])
    assert floored == pytest.approx(1.0 - (1.0 - KAPPA) * TAILS[-1] ** KAPPA, abs=1e-6)
    assert 0.98 < floored < 1.0


def test_known_objects_give_no_odds_for_another_thing(known, net):
    fresh = known_frames(COUNT, 3)[0]
    e = np.exp(novelty.log_odds(novelty.log_p(known, fresh, slow_information(net, fresh))))
    assert e.mean() == pytest.approx(1.0, abs=0.05)


# The belief


def test_a_frame_counts_by_its_features_and_its_own_information(wary, known, net):
    for values in (typical(0), far_off(), *known_frames(5, 5)[0]):
        log_p = novelty.log_p(known, values[None], slow_information(net, values[None]))[0]
        worth = bnn.TEMPER * (np.log(KAPPA) - (1.0 - KAPPA) * log_p)
        before = fed(wary, [far_off()])
        assert fed(wary, [values]).unknown == pytest.approx(logit(NONE_OF_THESE) + worth, abs=1e-4)
        assert fed(wary, [values], before).unknown == pytest.approx(before.unknown + worth, abs=1e-4)


def test_a_car_that_stands_learns_no_more_of_it(wary):
    before = fed(wary, [far_off()] * 3)
    assert fed(wary, [far_off()] * 50, before, way=0.0).unknown == before.unknown
    there = fed(wary, [far_off()] * 4, before).unknown
    assert fed(wary, [far_off()] * 40, before, way=0.1 * bnn.PACE).unknown == pytest.approx(there)


def test_belief_in_an_odd_object_goes_back_to_the_prior(wary, credulous):
    frames = [far_off()] * 40
    sure, doubtful = (f.belief(fed(f, frames)) for f in (credulous, wary))
    assert abs(sure.barrier - 0.6) > 0.3
    assert doubtful.barrier == pytest.approx(0.6, abs=0.05)
    assert doubtful.epistemic > 0.0


def test_epistemic_is_the_information_of_the_class_on_weights_and_on_whether_it_is_known(wary):
    """A slow twin: of a mixture of the draws and of the prior."""
    for count in range(0, 12, 2):
        state = fed(wary, [far_off(), typical(0)] + [far_off()] * count)
        u = expit(state.unknown)
        parts = np.exp(np.vstack([state.log_probs, PRIOR.log_probs]))
        shares = np.append(np.full(DRAWS, (1.0 - u) / DRAWS), u)
        belief = wary.belief(state)
        np.testing.assert_allclose(np.exp(belief.log_probs), shares @ parts, atol=1e-9)
        within = sum(share * entropy(np.log(p)) for share, p in zip(shares, parts, strict=True))
        assert belief.epistemic == pytest.approx(entropy(np.log(shares @ parts)) - within, abs=1e-9)


def test_not_to_know_whether_it_is_known_is_epistemic(wary, credulous):
    frames = [far_off()] * 8
    state = fed(wary, frames)
    assert 0.1 < expit(state.unknown) < 0.9
    assert wary.belief(state).epistemic > credulous.belief(fed(credulous, frames)).epistemic + 0.02


@pytest.mark.parametrize("label", [0, 1])
def test_belief_in_a_known_object_is_hardly_another(wary, label):
    features, labels = known_frames(200, 6)
    state = fed(wary, features[labels == label][:30])
    plain, belief = np.exp(average(state.log_probs)), np.exp(wary.belief(state).log_probs)
    assert np.abs(plain - np.exp(PRIOR.log_probs)).max() > 0.1
    np.testing.assert_allclose(belief, plain, atol=0.01)


def test_where_nothing_was_seen_nothing_is_odd(wary):
    odd = far_off()
    odd[DETECTED] = 0.0
    before = fed(wary, [far_off()] * 3)
    after = fed(wary, [odd] * 20, before)
    assert after.unknown == before.unknown > logit(NONE_OF_THESE)
    assert (after.log_probs != before.log_probs).any()


def test_what_turns_out_to_be_known_is_believed_again(wary):
    odd = fed(wary, [far_off()] * 200)
    assert odd.unknown == SUREST
    known_again = fed(wary, [typical(1)] * 60, odd)
    assert expit(known_again.unknown) < 0.5
    long_known = fed(wary, [typical(1)] * 200)
    assert long_known.unknown == -SUREST
    assert expit(fed(wary, [far_off()] * 40, long_known).unknown) > 0.5
