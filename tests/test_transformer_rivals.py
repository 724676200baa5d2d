"""Who the Kalman transformer is compared with does what it says, from the same weights."""

import shutil

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_ndtr

from filters.losses import Loss
from filters.posterior.decision_transformer import DecisionTransformer, Encounter, Pretrained, answers, asked
from filters.posterior.kalman_network import PROBIT
from filters.posterior.kalman_transformer import KalmanTransformer
from tests.studies import study_of

rivals = study_of("transformer_rivals")
NETWORK = DecisionTransformer(features=3, looks=3, width=8, hidden=12)


def pretrained() -> Pretrained:
    weights = tuple(w.double().numpy() for w in NETWORK.start(torch.Generator().manual_seed(0)))
    return Pretrained(weights, np.zeros(3), np.ones(3))


def encounters(n: int) -> list[Encounter]:
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((n, 3, 3))
    return [Encounter(x, rng.integers(0, 2, 2), Loss().table(None), int(x[:, 0].sum() > 0.0)) for x in looks]


def everyone(floats: int = 20_000) -> dict[str, object]:
    rng = np.random.default_rng(0)
    return {
        "kalman": rivals.Kalman(KalmanTransformer(NETWORK, pretrained(), 1e-6), rng),
        "frozen": rivals.Frozen(NETWORK, pretrained()),
        "sgd": rivals.Sgd(NETWORK, pretrained(), 0.3),
        "adam": rivals.Adam(NETWORK, pretrained(), 1e-2, 2, floats, rng),
        "last": rivals.LastLayer(NETWORK, pretrained(), 1e-6, 0.99),
    }


def test_all_begin_with_the_same_answers():
    one = encounters(1)[0]
    is_open, expected = asked(one.losses).open, rivals.Frozen(NETWORK, pretrained()).answers(one)
    for learner in everyone().values():
        np.testing.assert_allclose(learner.answers(one)[is_open], expected[is_open], atol=1e-5)


def misfit_of(learner, one: Encounter) -> float:
    """-ln p of its open answers, mean."""
    p, right, is_open = learner.answers(one), answers(one) > 0.5, asked(one.losses).open
    return -np.log(np.where(right, p, 1.0 - p)[is_open]).mean()


@pytest.mark.parametrize("name", ["kalman", "sgd", "adam", "last"])
def test_a_step_lowers_the_loss_on_what_it_was_made_on(name):
    wide = {
        "kalman": rivals.Kalman(KalmanTransformer(NETWORK, pretrained(), 0.4), np.random.default_rng(0)),
        "last": rivals.LastLayer(NETWORK, pretrained(), 3.0, 0.99),
    }
    learner, one = (everyone() | wide)[name], encounters(1)[0]
    before = misfit_of(learner, one)
    learner.learn(one)
    assert misfit_of(learner, one) < before - 0.01


def test_the_last_layers_mean_moves_and_its_covariance_goes_back_where_nothing_is_asked():
    learner, met = rivals.LastLayer(NETWORK, pretrained(), 3.0, 0.9), encounters(12)
    prior, start = learner.covariance.copy(), learner.head.copy()
    learner.learn(met[0])
    learnt, head = learner.covariance.copy(), learner.head.copy()
    assert (head != start).any(axis=1).all()
    assert np.linalg.eigvalsh(prior - learnt).max(axis=1).min() > 0.0
    for one in met[2:]:
        learner.learn(one._replace(losses=np.full((4, 2), 3.0)))
    np.testing.assert_allclose(learner.covariance - prior, 0.9**10 * (learnt - prior), atol=1e-12)
    np.testing.assert_array_equal(learner.head, head)


def test_the_frozen_one_does_not_learn():
    learner, (one, other) = rivals.Frozen(NETWORK, pretrained()), encounters(2)
    before = learner.answers(one)
    learner.learn(other)
    np.testing.assert_array_equal(learner.answers(one), before)


def test_replay_keeps_no_more_than_the_memory_it_is_given():
    weights = everyone()["frozen"].floats
    each = 3 * 3 + 2 + 8 + 1
    learner = everyone(floats=3 * weights + 5 * each)["adam"]
    for one in encounters(9):
        learner.learn(one)
    assert len(learner.kept) == 5


def test_the_last_layers_mode_is_the_highest_point_and_its_covariance_the_inverse_curvature():
    rng = np.random.default_rng(1)
    z, sign, mean = rng.standard_normal((5, 4)), np.array([1.0, -1.0, 1.0, 1.0, -1.0]), rng.standard_normal(4)
    covariance = np.diag([0.5, 1.0, 2.0, 0.3])

    def misfit(w: np.ndarray) -> float:
        d = w - mean
        return 0.5 * d @ np.linalg.solve(covariance, d) - 0.7 * log_ndtr(PROBIT * sign * (z @ w)).sum()

    found, spread = rivals.mode(mean, covariance, z, sign, 0.7)
    np.testing.assert_allclose(found, minimize(misfit, mean, tol=1e-12).x, atol=1e-5)
    step, curvature = 1e-4, np.zeros((4, 4))
    for i, j in np.ndindex(4, 4):
        a, b = step * np.eye(4)[i], step * np.eye(4)[j]
        curvature[i, j] = misfit(found + a + b) - misfit(found + a - b) - misfit(found - a + b) + misfit(found - a - b)
    np.testing.assert_allclose(np.linalg.inv(spread), curvature / (4.0 * step**2), rtol=1e-2, atol=1e-3)


def test_the_study_judges_before_it_learns_and_pairs_by_seed(tmp_path):
    study, met = study_of("transformer_shift"), encounters(12)
    frozen = study.course_of(rivals.Frozen(NETWORK, pretrained()), met)
    still = study.course_of(rivals.Sgd(NETWORK, pretrained(), 0.0), met)
    moving = study.course_of(rivals.Sgd(NETWORK, pretrained(), 0.3), met)
    np.testing.assert_array_equal(frozen.nats, still.nats)
    assert moving.nats[0] == frozen.nats[0]
    assert (moving.nats[1:] != frozen.nats[1:]).all()
    best = [e.losses[:, e.outcome].min() for e in met]
    assert (frozen.cost >= best).all()
    found = {"frozen": [frozen] * 3, "SGD": [still] * 3}
    rows = list(zip(*(column.cells for column in study.table_of(found, [4, 4, 4]).columns), strict=True))
    assert rows[1][:3] == ("SGD", f"{frozen.nats[4:].mean():.3f} ± 0.000", "0.0 ± 0.0")
    study.plot(found, 4, tmp_path / "shift.png")
    assert (tmp_path / "shift.png").stat().st_size > 10_000


def test_the_study_refuses_encounters_of_another_scenario_world_or_seed(tmp_path, monkeypatch):
    """A file of one world or seed is none of another's, though the scenario is the same."""
    study, met = study_of("transformer_shift"), encounters(2)
    long = np.zeros((study.LOOKS, study.WIDTH))
    monkeypatch.setattr(study, "one", lambda world, seed, number: met[number]._replace(looks=long))
    made = study.encounters_of("before", 0, 2, tmp_path)
    assert [e.outcome for e in study.encounters_of("before", 0, 2, tmp_path)] == [e.outcome for e in made]
    for world, seed in (("learn", 0), ("before", 1), ("after", 0)):
        shutil.copy(tmp_path / "before-0-2.npz", tmp_path / f"{world}-{seed}-2.npz")
        with pytest.raises(SystemExit, match="another scenario or stream"):
            study.encounters_of(world, seed, 2, tmp_path)
    np.savez(tmp_path / "learn-1-2.npz", scenario="of a file that says nothing of its stream")
    with pytest.raises(SystemExit, match="another scenario or stream"):
        study.encounters_of("learn", 1, 2, tmp_path)


def test_no_two_worlds_of_the_study_share_a_stream(monkeypatch):
    study, met = study_of("transformer_shift"), set()
    monkeypatch.setattr(study, "simulated", lambda scenario, seed, rng: met.add((seed, rng.integers(2**31))))
    for world in study.WORLDS:
        for seed in (0, 1):
            for number in (0, 1):
                study.one(world, seed, number)
    assert len({seed for seed, _ in met}) == len({number for _, number in met}) == 12
