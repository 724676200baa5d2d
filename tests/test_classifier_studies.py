"""The studies of the network over features: how they resample encounters, and how they tell things apart."""

from collections import Counter

import numpy as np
import pytest

from filters import bnn, novelty
from filters.spec import FEATURES
from filters.trained import save
from fogsim.dataset import Looks
from fogsim.scoring.corp import decompose
from tests.studies import study_of

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def classifier():
    return study_of("classifier")


@pytest.fixture(scope="module")
def unseen():
    return study_of("unseen_objects")


def looks_of(encounter, features=None, label=None):
    """Frames of these encounters (n,), all else as little as will do."""
    n = len(encounter)
    features = np.zeros((n, len(FEATURES))) if features is None else features
    label = np.zeros(n, int) if label is None else label
    return Looks(encounter, features, label, np.full(n, 9.0), np.full(n, 50.0), np.ones(n), np.zeros((n, 0)))


def frames(encounters=12, each=7, spread=1.0):
    """Encounter, log-odds that are right but for a common error of each encounter, and label: (n,)."""
    encounter = np.repeat(np.arange(encounters), each)
    label = np.repeat(RNG.integers(2, size=encounters), each)
    off = np.repeat(spread * RNG.normal(size=encounters), each)
    return encounter, (2.0 * label - 1.0 + off + 0.3 * RNG.normal(size=len(label))).round(1), label


# classifier.py


def test_resamples_draw_as_many_encounters_as_there_are_each_alike(classifier):
    picks = classifier.resamples(40)
    assert (picks.sum(axis=1) == 40).all()
    assert picks.mean(axis=0) == pytest.approx(np.ones(40), abs=5.0 / np.sqrt(len(picks)))


def test_resampled_mcb_and_means_are_those_of_the_frames_repeated(classifier):
    encounter, log_odds, y = frames()
    p = 1.0 / (1.0 + np.exp(-log_odds))
    picks = RNG.multinomial(12, np.full(12, 1 / 12), 20)
    rows = [
        np.concatenate([np.flatnonzero(encounter == e) for e in Counter(dict(enumerate(pick))).elements()])
        for pick in picks
    ]
    slow = [decompose(p[which], y[which]).mcb for which in rows]
    np.testing.assert_allclose(classifier.resampled_mcb(p, y, encounter, picks), slow, atol=1e-12)
    np.testing.assert_allclose(classifier.resampled_means(p, encounter, picks), [p[which].mean() for which in rows])


def test_the_interval_of_a_difference_covers_it_though_frames_of_an_encounter_are_alike(classifier):
    covered, naive, encounter = [], [], np.repeat(np.arange(60), RNG.integers(1, 30, 60))
    picks = classifier.resamples(60)
    for _ in range(200):
        apart = 0.1 + RNG.normal(size=60)[encounter] + 0.1 * RNG.normal(size=len(encounter))
        low, high = np.percentile(classifier.resampled_means(apart, encounter, picks), (2.5, 97.5))
        covered.append(low < 0.1 < high)
        naive.append(abs(apart.mean() - 0.1) < 1.96 * apart.std() / len(apart) ** 0.5)
    assert np.mean(covered) > 0.88
    assert np.mean(naive) < 0.6


def test_log_loss_is_that_of_the_probabilities_and_bears_certainty(classifier):
    loss = classifier.log_loss(np.array([[np.log(3.0)] * 2, [-900.0, 900.0]]), np.array([1, 0]))
    np.testing.assert_allclose(loss, [[np.log(4.0 / 3.0), np.log(4.0)], [900.0, 900.0]])


def test_a_method_beside_itself_shows_no_difference_and_beside_a_worse_one_it_does(classifier):
    encounter, log_odds, label = frames(60)
    starts = [classifier.Answers(log_odds + 0.01 * k, 1.0, "") for k in range(3)]
    looks, all_ = looks_of(encounter, label=label), np.full(len(label), True)
    loss, less, mcb, most = classifier.row(starts, log_odds - 3.0, looks, all_)
    assert "±" in loss
    low, high = (float(part) for part in less.split("[")[1].rstrip("]").split(", "))
    assert low < high < 0.0
    assert 0.0 < float(mcb) < float(most)
    assert classifier.row(starts[:1], log_odds, looks, all_)[1] == ""


def test_answers_are_learnt_once(classifier, tmp_path):
    calls = []

    def learn():
        calls.append(1)
        return np.array([0.25, -1.0]), "so"

    for _ in range(2):
        found = classifier.answered(tmp_path / "a.json", learn)
        assert (found.log_odds.tolist(), found.note) == ([0.25, -1.0], "so")
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_trees_are_tuned_on_other_encounters_than_they_grew_from(classifier, monkeypatch):
    """An encounter's frames are all alike here, so that trees that had met them would know the label of noise."""
    monkeypatch.setattr(classifier, "MOST", 100)
    encounter = np.repeat(np.arange(100), 12)
    label, features = (np.arange(100) % 2)[encounter], RNG.normal(size=(100, len(FEATURES)))[encounter]
    loss = classifier.held_out_loss(looks_of(encounter, features, label), (15, 1.0))
    assert loss.shape == (100,)
    assert loss[-1] > 0.6
    features[:, 3] = label
    assert classifier.held_out_loss(looks_of(encounter, features, label), (15, 1.0))[-1] < 0.1


# unseen_objects.py


def test_apart_is_the_auroc_and_halves_leave_no_encounter_in_both(unseen):
    assert unseen.apart(np.array([1.0, 2.0, 3.0]), np.array([2.0, 5.0])) == pytest.approx(4.5 / 6.0)
    looks = looks_of(np.repeat(np.arange(6), 3))
    one, two = unseen.halves(looks, 4)
    assert (set(one.encounter), set(two.encounter)) == ({0, 1, 2, 3}, {4, 5})
    np.testing.assert_allclose(unseen.per_encounter(np.arange(5.0), np.array([3, 3, 7, 7, 7])), [0.5, 3.0])


def test_a_frame_is_unknown_if_p_is_no_more_than_the_level(unseen):
    assert unseen.unknown(-np.log([0.5, 0.05, 0.03, 0.01])) == {"p <= .05": 0.75, "p <= .01": 0.25}


def checkpoint(path, odd):
    """A network that takes wide things for barriers under every draw; either all or nothing looks odd to it."""
    weights = {name: np.zeros((4, *shape[1:])) for name, shape in bnn.SHAPES.items() if name[0] in "wb"}
    weights["w1"][:, FEATURES.index("width"), 0] = weights["w2"][:, 0, 0] = weights["w3"][:, 0] = 1.0
    weights["b3"] -= 1.0
    scores = dict(mean=np.zeros(len(FEATURES)), deviation=np.ones(len(FEATURES)), prior=np.log([0.5, 0.5]))
    blank = {name: np.zeros(shape) for name, shape in novelty.SHAPES.items()}
    blank["tails"] += -1e30 if odd else 1e30
    save(path, weights | scores | blank | {"tau": np.array([0.05, 1.0])}, {"kind": "bnn"})
    return path


def test_the_belief_is_the_filters_own_and_stays_where_it_was_before_what_is_odd(unseen, tmp_path):
    features = np.zeros((12, len(FEATURES)))
    features[:, FEATURES.index("detected")] = 1.0
    features[:8, FEATURES.index("width")] = 3.0
    looks = looks_of(np.repeat([2, 5, 9], 4), features, np.repeat([1, 1, 0], 4))._replace(weight=np.full(12, 5.0))
    for odd in (False, True):
        ends = unseen.ending(checkpoint(tmp_path / f"{odd}.safetensors", odd), looks)
        logit = np.log(0.25) + 4.0 * np.array([2.0, 2.0, -1.0])
        np.testing.assert_allclose(ends[:, 0], 1.0 / (1.0 + np.exp(-logit)), atol=1e-6)
        np.testing.assert_allclose(ends[:, 1], (1.0 - ends[:, 2]) * ends[:, 0] + 0.2 * ends[:, 2], atol=1e-9)
        assert (ends[:, 2] > 0.9).all() if odd else (ends[:, 2] < 0.01).all()
    found = unseen.believed(tmp_path / "False.safetensors", looks)
    assert found["sure"] == found["sure, none"] == 1.0
    assert found["nats"] < found["nats, none"] < 0.01
    assert "nats" not in unseen.believed(tmp_path / "True.safetensors", looks._replace(label=np.full(12, 2)))


def test_an_interval_is_students(unseen, classifier):
    assert unseen.interval([1.0, 2.0, 3.0]) == "2.000 ± 2.484"  # 4.303 / √3
    assert (unseen.interval([0.5]), unseen.interval([])) == ("0.500", "")
    assert classifier.interval(np.array([1.0, 2.0, 3.0])) == "2.0000 ± 2.4841"
