"""The classifier's training: by every engine, watched, broken off and gone on with."""

import signal

import numpy as np
import pytest
import torch

from filters import beam_patch, bnn, novelty
from filters.network_filter import average, fused, information
from filters.posterior.engines import NAMES
from filters.posterior.spec import generator
from filters.spec import BARRIER, FEATURES
from fogsim import classifier
from fogsim.dataset import Looks
from fogsim.errors import UserError


def looks_of(n: int, seed: int) -> Looks:
    """Frames whose class is by the product of two features, as no linear rule can tell."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(FEATURES)))
    label = (rng.random(n) < 1.0 / (1.0 + np.exp(-3.0 * x[:, 4] * x[:, 7]))).astype(int)
    same, patch = np.ones(n), np.zeros((n, beam_patch.SIZE), np.float32)
    return Looks(np.arange(n), x, label, 10.0 * same, 20.0 * same, same, patch)


LEARNT, HELD = looks_of(2000, 0), looks_of(300, 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_learns_and_is_unsure_where_it_has_not_been(name, tmp_path, monkeypatch):
    monkeypatch.setitem(classifier.EPOCHS, "classifier", 100)
    monkeypatch.setattr(classifier, "BATCH", 500)
    tensors, evidence = classifier.fit(LEARNT, HELD, 0, name, tmp_path / "a.part")
    net = bnn.Network(**tensors, tau=np.ones(2))
    assert evidence.shape == (len(HELD.label), classifier.SAMPLES, 2)
    np.testing.assert_allclose(evidence, bnn.evidence(net, HELD.features))
    probe = np.zeros((2, len(FEATURES)))
    probe[:, 4] = 1.5
    probe[:, 7] = 1.5, -1.5
    p = np.exp(average(bnn.evidence(net, probe) + net.prior))[:, BARRIER]
    assert p[0] > 0.75
    assert p[1] < 0.25
    far = np.random.default_rng(2).normal(size=(200, len(FEATURES))) * 3.0
    near, away = (np.std(bnn.logits(net, points), axis=1).mean() for points in (HELD.features, far))
    assert away > 1.5 * near


@pytest.mark.parametrize(("what", "name"), [("classifier", "reparameterised"), ("patch", "pyro")])
def test_broken_off_it_goes_on_to_the_same_end(tmp_path, monkeypatch, what, name):
    monkeypatch.setitem(classifier.EPOCHS, what, 6)

    def fitted(kept):
        return classifier.fit(LEARNT, HELD, 3, name, kept, what)[0]

    whole, epochs = fitted(tmp_path / "whole.part"), []

    def broken(steps, loss, count):
        for at in steps:
            epochs.append(at.epoch)
            if at.epoch == 4 and 4 not in epochs[:-1]:
                raise KeyboardInterrupt
            yield at

    monkeypatch.setattr(classifier, "shown", broken)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "a.part")
    again = fitted(tmp_path / "a.part")
    assert epochs == [*range(5), *range(4, 7)]
    for key, values in whole.items():
        np.testing.assert_array_equal(again[key], values)


def test_ctrl_c_ends_it_after_an_epoch_and_says_how_to_go_on(tmp_path, monkeypatch, capfd):
    told = []

    def misfit(*_):
        told.append(0.5)
        if len(told) == 2:
            signal.raise_signal(signal.SIGINT)
        return told[-1]

    monkeypatch.setattr(classifier, "misfit", misfit)
    monkeypatch.setitem(classifier.EPOCHS, "classifier", 12)
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(LEARNT, HELD, 3, "reparameterised", tmp_path / "a.part")
    assert "the same command goes on from here" in capfd.readouterr().err
    assert (tmp_path / "a.part").exists()


def test_the_bar_tells_both_losses(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(classifier.EPOCHS, "classifier", 5)
    classifier.fit(LEARNT, HELD, 3, "reparameterised", tmp_path / "a.part")
    told = capfd.readouterr().err
    assert "held out 0." in told
    assert "nan" not in told.splitlines()[-1]


def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(classifier.EPOCHS, "classifier", 2)
    kept = tmp_path / "a.part"
    classifier.fit(LEARNT, HELD, 3, "reparameterised", kept)
    there = kept.read_bytes()
    one = LEARNT._replace(label=np.zeros_like(LEARNT.label))
    for looks, seed, name, message in (
        (LEARNT, 4, "reparameterised", "another training"),
        (LEARNT, 3, "pyro", "another training"),
        (HELD, 3, "reparameterised", "another training"),
        (LEARNT, 3, "svm", "expected one of pyro"),
        (one, 3, "reparameterised", "one class only"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            classifier.fit(looks, HELD, seed, name, kept)
        assert "\n" not in str(caught.value)
    kept.write_bytes(there[:-9])
    with pytest.raises(UserError, match="not a checkpoint"):
        classifier.fit(LEARNT, HELD, 3, "reparameterised", kept)
    assert kept.read_bytes() == there[:-9]


def test_what_is_known_is_of_the_learnt_and_its_tails_of_the_held_out():
    """Held-out frames are three times as spread as those learnt: of them a share α has p <= α, all learnt are usual."""
    rng, i = np.random.default_rng(0), FEATURES.index("detected")
    learnt, held = looks_of(4000, 2), looks_of(4000, 3)
    held.features[:, novelty.SHAPE] *= 3.0
    for looks in (learnt, held):
        looks.features[:, i] = rng.random(4000) < 0.8
    evidence = bnn.evidence_of(rng.normal(size=(4000, 5)), np.log([0.5, 0.5]))
    known = novelty.Known(**classifier.known(learnt, held, evidence, np.log([0.5, 0.5])))
    seen = learnt.detected == 1
    fit = novelty.learn(learnt.features[seen], learnt.label[seen], learnt.weight[seen])
    np.testing.assert_array_equal(known.regression, fit[0])
    np.testing.assert_array_equal(known.precision, fit[1])
    told = information(fused(evidence, np.log([0.5, 0.5])))
    parts = [looks.detected == 1 for looks in (held, learnt)]
    log_p = [novelty.log_p(known, k.features[s], told[s]) for k, s in zip((held, learnt), parts, strict=True)]
    assert np.mean(log_p[0] < np.log(0.1)) == pytest.approx(0.1, abs=0.03)
    assert np.mean(log_p[1] < np.log(0.1)) < 0.03


def test_too_few_frames_that_show_a_class_are_refused():
    few = looks_of(40, 2)
    few.features[:, FEATURES.index("detected")] = 1.0
    with pytest.raises(UserError, match="expected 200: simulate more encounters"):
        classifier.known(few, few, np.zeros((40, 5, 2)), np.log([0.5, 0.5]))


def test_both_ways_is_each_frame_and_its_mirror_image_at_half_its_weight():
    looks = HELD._replace(patch=np.random.default_rng(0).normal(size=HELD.patch.shape))
    both = classifier.both_ways(looks)
    n = len(looks.label)
    np.testing.assert_array_equal(both.label, np.tile(looks.label, 2))
    np.testing.assert_array_equal(both.patch[:n], looks.patch)
    np.testing.assert_array_equal(both.patch[n:], beam_patch.mirrored(looks.patch))
    assert (both.patch[n:] != looks.patch).any()
    np.testing.assert_allclose(both.weight, 0.5)


def test_the_loss_that_is_told_is_of_the_mean_over_draws(tmp_path):
    """A slow twin, of as many frames as are asked in several parts, and of different weights."""
    fresh = looks_of(2 * classifier.BATCH + 7, 4)
    fresh = fresh._replace(weight=np.random.default_rng(0).uniform(0.2, 2.0, len(fresh.label)))
    way, engine = classifier.by_features(LEARNT), classifier.engine_of("classifier", "reparameterised", "cpu")
    state = engine.update(engine.init(generator(0, "a")), classifier.rows(LEARNT, way), generator(0, "b"))
    found = classifier.misfit(engine, state, classifier.rows(fresh, way), 3)
    draws, x = engine.sample(state, generator(1, "draws"), 500), torch.tensor(way.inputs(fresh), dtype=torch.float32)
    p = torch.sigmoid(engine.network.forward(draws, x))[..., 0].mean(0).numpy()
    slow = np.average(-np.log(np.where(fresh.label == 1, p, 1.0 - p)), weights=fresh.weight)
    assert found == pytest.approx(slow, abs=0.02)
    assert found < 0.6
