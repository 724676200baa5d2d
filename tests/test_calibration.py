"""Maps by hand and against scikit-learn; a distortion that is known is undone; nothing saturates or runs away."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from filters.calibration import IDENTITY, LEAST, Calibrator, fit

KINDS = tuple(LEAST)


def encounters(n, seed, slope=1.0, offset=0.0, spread=3.0):
    """Log-odds that are told, of truths drawn from σ(slope L + offset)."""
    rng = np.random.default_rng(seed)
    L = rng.normal(0.0, spread, n)
    return L, (rng.random(n) < expit(slope * L + offset)).astype(int)


def two_places(low, high, of=20):
    """Encounters at L = -1 and L = 1, `of` each, so many barriers among them."""
    return np.repeat([-1.0, 1.0], of), np.concatenate([np.arange(of) < low, np.arange(of) < high]).astype(int)


def loss(calibrator, L, y):
    return -log_expit((2 * y - 1) * calibrator(L)).mean()


def test_two_places_by_hand():
    assert fit("temperature", *two_places(5, 15), prior=0).parameters == pytest.approx([np.log(3)], abs=1e-12)
    a, b = fit("platt", *two_places(5, 19), prior=0).parameters
    assert (b - a, b + a) == pytest.approx((logit(5 / 20), logit(19 / 20)), abs=1e-12)
    weight = np.where(two_places(5, 19)[1] == 1, 3.0, 1.0)  # 15 of 30, 57 of 58
    a, b = fit("platt", *two_places(5, 19), weight, prior=0).parameters
    assert (b - a, b + a) == pytest.approx((logit(15 / 30), logit(57 / 58)), abs=1e-12)


def test_isotonic_by_hand_shrinks_the_end_blocks_and_only_those():
    L, y = np.repeat([-2.0, 0.0, 1.0, 5.0], 40), np.tile(np.arange(40), 4) < np.repeat([0, 10, 8, 40], 40)
    shaped = fit("isotonic", L, y)
    assert shaped.knots == (-2.0, 0.0, 1.0, 5.0)
    assert shaped.parameters == pytest.approx((0.5 / 41, 18 / 80, 18 / 80, 40.5 / 41), abs=1e-12)
    assert fit("isotonic", L, y, prior=0).parameters == pytest.approx((0.0, 18 / 80, 18 / 80, 1.0), abs=1e-12)
    assert expit(shaped(3.0)) == pytest.approx((18 / 80 + 40.5 / 41) / 2)  # halfway between two blocks
    assert expit(shaped([-np.inf, -9.0, 9.0, np.inf])) == pytest.approx([0.5 / 41] * 2 + [40.5 / 41] * 2)


def test_a_lone_bag_at_the_end_does_not_lift_the_block_above_it():
    L, y = np.array([-9.0] + [0.0] * 100 + [9.0] * 99), np.array([0] + [1] * 5 + [0] * 95 + [1] * 99)
    assert fit("isotonic", L, y).parameters[0] == pytest.approx(5.5 / 102)  # pooled, where ½ / 2 would stand above 5 %


@pytest.mark.parametrize("kind", IDENTITY)
def test_a_calibrated_filter_is_left_as_it_is(kind):
    L, y = encounters(40_000, 1)
    found = fit(kind, L, y)
    assert found.parameters == pytest.approx(IDENTITY[kind], abs=0.06)
    assert np.abs(found(L) - L).max() < 0.5
    assert abs(loss(found, L, y) - loss(Calibrator("temperature", (1.0,)), L, y)) < 1e-4


def test_isotonic_leaves_a_calibrated_filter_nearly_as_it_is():
    L, y = encounters(40_000, 1)
    p = np.linspace(0.02, 0.98, 25)
    assert np.abs(fit("isotonic", L, y).probability(p) - p).max() < 0.06


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("slope", "offset"), [(0.5, 0.0), (1.7, 0.0), (0.4, -1.0), (1.2, 2.0)])
def test_a_known_distortion_is_undone(kind, slope, offset):
    found = fit(kind, *encounters(4000, 2, slope, offset))
    L, y = encounters(20_000, 3, slope, offset)
    truth = loss(Calibrator("platt", (slope, offset)), L, y)
    if kind != "temperature" or offset == 0.0:  # it has no offset to undo one with
        assert loss(found, L, y) - truth < {"isotonic": 0.01}.get(kind, 0.0015)
        assert loss(Calibrator("temperature", (1.0,)), L, y) - truth > 0.02
    if kind in ("temperature", "platt") and not (kind == "temperature" and offset):
        assert found.parameters == pytest.approx((slope, offset)[: len(found.parameters)], abs=0.15)


def test_beta_undoes_what_platt_cannot():
    rng = np.random.default_rng(4)
    L = rng.normal(0.0, 3.0, 20_000)
    y = (rng.random(L.size) < expit(Calibrator("beta", (0.3, 2.0, -0.5))(L))).astype(int)
    beta, platt = fit("beta", L, y), fit("platt", L, y)
    assert beta.parameters == pytest.approx((0.3, 2.0, -0.5), abs=0.1)
    assert loss(platt, L, y) - loss(beta, L, y) > 0.005


def test_beta_with_equal_slopes_is_platt():
    L = np.linspace(-40.0, 40.0, 81)
    np.testing.assert_allclose(Calibrator("beta", (0.7, 0.7, 0.2))(L), Calibrator("platt", (0.7, 0.2))(L), atol=1e-13)


@pytest.mark.parametrize("kind", IDENTITY)
def test_a_filter_that_has_it_backwards_is_worth_nothing_not_less(kind):
    L, y = encounters(400, 5, -0.8, 1.0)
    found = fit(kind, L, y)
    assert found.parameters[: 1 + (kind == "beta")] == (0.0,) * (1 + (kind == "beta"))
    assert np.ptp(found(L)) == 0.0
    if kind != "temperature":
        assert fit(kind, L, y, prior=0).parameters[-1] == pytest.approx(logit(y.mean()), abs=1e-9)


def test_beta_holds_one_slope_at_nothing_and_fits_the_other():
    rng = np.random.default_rng(6)
    L = rng.normal(0.0, 3.0, 3000)
    y = (rng.random(L.size) < expit(0.3 - 1.5 * log_expit(-L) - 0.3 * log_expit(L))).astype(int)  # a would be -.3
    a, b, c = fit("beta", L, y, prior=0).parameters
    assert a == 0.0
    best = min(
        loss(Calibrator("beta", (0.0, b + db, c + dc)), L, y) for db in (-1e-3, 0, 1e-3) for dc in (-1e-3, 0, 1e-3)
    )
    assert loss(Calibrator("beta", (a, b, c)), L, y) == best < loss(Calibrator("beta", (1e-3, b, c)), L, y)


@pytest.mark.parametrize("kind", ["temperature", "platt", "beta"])
@pytest.mark.parametrize("weighted", [False, True])
def test_logistic_regression_of_scikit_learn_agrees(kind, weighted):
    L, y = encounters(1500, 7, 0.6, 0.4)
    w = np.random.default_rng(8).uniform(0.1, 3.0, L.size) if weighted else None
    X = np.stack([log_expit(L), -log_expit(-L)], 1) if kind == "beta" else L[:, None]
    peer = LogisticRegression(C=np.inf, tol=1e-13, max_iter=1000, solver="newton-cholesky")
    peer.set_params(fit_intercept=kind != "temperature").fit(X, y, sample_weight=w)
    theirs = np.append(peer.coef_, peer.intercept_)[: len(IDENTITY[kind])]
    assert (theirs[: 1 + (kind == "beta")] > 0).all()
    np.testing.assert_allclose(fit(kind, L, y, w, prior=0).parameters, theirs, atol=1e-8)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_isotonic_regression_of_scikit_learn_agrees_at_the_encounters_and_between_them(prior):
    L, y = encounters(800, 9, 0.7, -0.3)
    L, w = np.round(L, 1), np.random.default_rng(10).uniform(0.1, 3.0, L.size)  # equal L too
    ends, halves = np.repeat([L.min(), L.max()], 2), np.full(4, 0.5 * prior + 1e-300)
    peer = IsotonicRegression(out_of_bounds="clip")
    peer.fit(np.append(L, ends), np.append(y, [0, 1, 0, 1]), sample_weight=np.append(w, halves))
    asked = np.append(np.random.default_rng(11).uniform(-14.0, 14.0, 4000), L)
    np.testing.assert_allclose(expit(fit("isotonic", L, y, w, prior)(asked)), peer.predict(asked), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10_000), slope=st.floats(-0.5, 3.0), offset=st.floats(-2.0, 2.0), n=st.integers(100, 160))
@settings(max_examples=25, deadline=None)
def test_it_never_falls_and_is_never_sure(kind, seed, slope, offset, n):
    L, y = encounters(n, seed, slope, offset, 5.0)
    y[:2] = 0, 1  # both classes
    found = fit(kind, L, y)
    asked = np.sort(np.append(np.random.default_rng(seed).uniform(-40.0, 40.0, 300), L))
    told = found(asked)
    assert (np.diff(told) >= -1e-12).all()
    assert np.isfinite(told).all()
    if kind == "isotonic":
        assert (np.abs(told) <= np.log(2 * n + 1) + 1e-9).all()  # (n + ½) / (n + 1) at most


@pytest.mark.parametrize("kind", KINDS)
def test_separable_encounters_do_not_run_away(kind):
    L = np.concatenate([np.linspace(-8.0, -1.0, 60), np.linspace(1.0, 8.0, 60)])
    found = fit(kind, L, L > 0)
    assert max(found.parameters) < 8.0
    assert np.isfinite(found([-9.0, 9.0])).all()
    if kind != "isotonic":
        with pytest.raises(ValueError, match="expected overlapping classes: set prior=1"):
            fit(kind, L, L > 0, prior=0)


@pytest.mark.parametrize("kind", IDENTITY)
def test_what_the_prior_pulls_to_is_the_belief_as_it_was(kind):
    assert fit(kind, *encounters(200, 16, 0.3, 1.0), prior=1e7).parameters == pytest.approx(IDENTITY[kind], abs=1e-4)


def test_beliefs_that_are_all_the_same_tell_the_share_of_barriers():
    y = np.arange(40) % 4 == 0
    for prior in (0, 1):
        assert fit("platt", np.full(40, 0.7), y, prior=prior)(0.7) == pytest.approx(logit(0.25), abs=0.05)


def test_near_certainties_stay_apart():
    found = Calibrator("platt", (0.5, 1.0))
    sure = np.log([[1e-12, 1.0], [1e-30, 1.0], [1.0, 1e-12]])  # of (bag, barrier), to 1e-12
    told = found.log_probs(sure)
    np.testing.assert_allclose(told[:, 1] - told[:, 0], [0.5 * s * np.log(10) + 1 for s in (12, 30, -12)], rtol=1e-12)
    np.testing.assert_allclose(np.logaddexp(*told.T), 0.0, atol=1e-12)
    assert Calibrator("beta", (1.0, 0.5, 0.0))(40.0) == pytest.approx(20.0)
    assert Calibrator("beta", (1.0, 0.5, 0.0))(-40.0) == pytest.approx(-40.0)


@pytest.mark.parametrize(
    "found", [Calibrator(k, v) for k, v in IDENTITY.items()] + [Calibrator("beta", (0.0, 1.0, 0.3))]
)
def test_certainty_is_a_belief_too(found):
    low, high = found.probability([0.0, 1.0])
    assert high == 1.0
    assert low == pytest.approx(expit(0.3) if found.parameters[0] == 0.0 else 0.0, abs=1e-300)
    assert np.isnan(found(np.nan))


def test_shapes_are_kept():
    L, y = encounters(200, 12)
    for kind in KINDS:
        found = fit(kind, L, y)
        assert [found(np.zeros(s)).shape for s in ((), (3,), (2, 5))] == [(), (3,), (2, 5)]
        assert found.log_probs(np.log(np.full((4, 3, 2), 0.5))).shape == (4, 3, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_json_brings_it_back(kind):
    found = fit(kind, *encounters(300, 13, 0.8, 0.1))
    assert Calibrator.of_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_weight_of_two_is_two_encounters_and_one_of_nothing_is_none():
    L, y = encounters(300, 14, 0.8, 0.1)
    w = np.arange(300) % 3
    rows = np.repeat(np.arange(300), w)
    for kind in KINDS:
        weighed, repeated = fit(kind, L, y, w), fit(kind, L[rows], y[rows])
        assert weighed.parameters == pytest.approx(repeated.parameters, abs=1e-9)
        assert weighed.knots == repeated.knots


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_fitted_is_refused(kind):
    L, y = encounters(200, 15)
    few = LEAST[kind] - 1
    for odds, truth, weight, said in [
        (L, np.ones(200), None, "of both classes: drive on"),
        (L, y, y, "of both classes: drive on"),
        (L[:few], y[:few], None, f"found {few} encounters"),
        (L, y, np.arange(200) < few, f"found {few} encounters"),
        (np.where(L > 5, np.nan, L), y, None, "found NaN"),
        (np.where(L > 5, np.inf, L), y, None, "limit the log-odds"),
        (L, y + 0.5, None, "a truth not 0 or 1"),
        (L, y, -np.ones(200), "a weight < 0"),
        (L[1:], y, None, r"found shapes \(199,\), \(200,\)"),
        (L, y, np.ones(3), r"found shapes \(200,\), \(200,\), \(3,\)"),
    ]:
        with pytest.raises(ValueError, match=said):
            fit(kind, odds, truth, weight)


def test_a_map_that_falls_or_is_of_no_kind_is_refused():
    with pytest.raises(ValueError, match="found the kind 'vector', expected one of"):
        fit("vector", *encounters(50, 0))
    for kind, parameters, knots in [
        ("vector", (1.0,), ()),
        ("platt", (1.0,), ()),
        ("platt", (-0.1, 0.0), ()),
        ("beta", (1.0, -0.1, 0.0), ()),
        ("platt", (1.0, np.nan), ()),
        ("temperature", (np.nan,), ()),
        ("isotonic", (), ()),
        ("isotonic", (0.2, 0.1), (0.0, 1.0)),
        ("isotonic", (0.1, 0.2), (1.0, 0.0)),
        ("isotonic", (0.1, 0.2), (1.0,)),
    ]:
        with pytest.raises(ValueError, match="fit it anew"):
            Calibrator(kind, parameters, knots)
    assert Calibrator("platt", (0.0, -2.0))(1.0) == -2.0
