import json

import numpy as np
import pytest

from filters import beam_patch
from filters.spec import FEATURES
from filters.tempering import LEAST, fit_tempering, fused, log_loss, totals
from filters.trained import load
from fogsim import classifier, dataset, training
from fogsim.dataset import Looks
from fogsim.errors import UserError
from fogsim.scenario import Scenario
from fogsim.training import train


def looks_of(encounter):
    """Thirty frames of a candidate whose width, once it is seen from 15 m, tells a little of its class."""
    rng = np.random.default_rng(encounter)
    label = encounter // 2 % 2
    distance = np.linspace(28.0, 2.0, 30)
    seen = distance < 15.0
    features = np.zeros((30, len(FEATURES)))
    features[:, FEATURES.index("distance")] = distance
    features[:, FEATURES.index("log_visibility")] = 3.0
    features[:, FEATURES.index("detected")] = seen
    features[:, FEATURES.index("width")] = seen * (0.7 + 0.9 * label + rng.normal(0.0, 0.3) + rng.normal(0.0, 0.1, 30))
    same = np.ones(30)
    patch = np.zeros((30, beam_patch.SIZE), np.float32)
    patch[:, : beam_patch.COLUMNS] = features[:, [FEATURES.index("width")]]
    return Looks(encounter * same, features, label * same.astype(int), distance, 20.0 * same, 0.9 * same, patch)


@pytest.fixture
def quick(monkeypatch):
    """No simulator and a short fit."""
    monkeypatch.setattr(dataset, "collect", lambda scenario, n, *_: (looks_of(e)._asdict() for e in range(n)))
    monkeypatch.setattr(classifier, "EPOCHS", {"classifier": 60, "patch": 10})
    monkeypatch.setattr(classifier, "BATCH", 200)
    monkeypatch.setattr(training, "PAIRS", 120)


@pytest.mark.parametrize("what", training.KINDS)
def test_training_is_deterministic(quick, tmp_path, monkeypatch, what):
    monkeypatch.setattr(classifier, "EPOCHS", {"classifier": 4, "patch": 2})
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        train(what, 120, tmp_path / folder / "a.safetensors", 3)
    assert (tmp_path / "one" / "a.safetensors").read_bytes() == (tmp_path / "two" / "a.safetensors").read_bytes()


@pytest.mark.parametrize(("what", "kind"), training.KINDS.items())
def test_training_learns(quick, tmp_path, what, kind):
    scores = train(what, 120, tmp_path / "a.safetensors", 3)
    assert scores["20 m"] == pytest.approx(np.log(2.0), abs=0.08)
    assert scores["10 m"] < 0.6
    header = json.loads((tmp_path / "a.json").read_text())
    assert header["kind"] == kind
    by = f" --engine {training.ENGINES[what]}" if what in training.ENGINES else ""
    assert header["command"] == f"fogsim train {what}{by} --encounters 120 --seed 3 --out a.safetensors"
    assert header["scenario"] == Scenario().hash
    assert header["held_out_log_loss"] == scores
    assert {p.name for p in tmp_path.iterdir()} == {"a.safetensors", "a.json"}


@pytest.mark.parametrize(
    ("what", "encounters", "name", "seed", "message"),
    [
        ("network", 80, "a.safetensors", 0, "expected classifier, patch, kernel"),
        ("kernel", 10, "a.safetensors", 0, "at least 40"),
        ("kernel", 80, "a.safetensors", -1, "0 or more"),
        ("kernel", 80, "there.safetensors", 0, "not overwritten"),
        ("kernel", 80, "a.pt", 0, "ending in .safetensors"),
        ("kernel", 80, "no/a.safetensors", 0, "a folder that exists"),
    ],
)
def test_what_cannot_end_well_is_refused_at_once(tmp_path, what, encounters, name, seed, message):
    (tmp_path / "there.safetensors").write_text("precious")
    with pytest.raises(UserError, match=message) as caught:
        train(what, encounters, tmp_path / name, seed)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "there.safetensors").read_text() == "precious"


@pytest.mark.parametrize(
    ("what", "engine", "device", "message"),
    [
        ("classifier", "svm", "auto", "found engine 'svm', expected one of pyro, "),
        ("patch", "laplace", "auto", "found engine 'laplace', expected one of pyro, "),
        ("classifier", "ivon", "tpu", "found device 'tpu', expected "),
    ],
)
def test_an_engine_that_cannot_be_is_refused_before_anything_is_simulated(tmp_path, what, engine, device, message):
    with pytest.raises(UserError, match=message):
        train(what, 80, tmp_path / "a.safetensors", 0, engine=engine, device=device)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_it_simulates_says_that_it_begins_anew(tmp_path, monkeypatch, capfd):
    def interrupted(*_):
        yield looks_of(0)._asdict()
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "collect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train("kernel", 80, tmp_path / "a.safetensors", 0)
    assert "the same command simulates anew" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_not_its_own_is_not_gone_on_with_nor_deleted(quick, tmp_path):
    """Frames of another number of encounters, and a user's own files of like names."""
    own = {name: tmp_path / name for name in ("a.frames.h5", "a.part", ".a.safetensors.training")}
    for path in own.values():
        path.write_text("precious")
    dataset.write(tmp_path / ".a.safetensors.frames", Scenario(), 90, 3)
    with pytest.raises(UserError, match="number of encounters or fogsim: remove it"):
        train("kernel", 120, tmp_path / "a.safetensors", 3)
    (tmp_path / ".a.safetensors.frames").unlink()
    train("kernel", 120, tmp_path / "a.safetensors", 3)
    assert {path.read_text() for path in own.values()} == {"precious"}


def test_training_encounters_span_weather_and_speed_and_nobody_brakes():
    varied = [dataset.vary(Scenario(), 1, k) for k in range(200)]
    reports = np.array([s.fog.visibility for s in varied])
    speeds = np.array([s.ego.speed[0] for s in varied])
    assert reports.min() < 20.0
    assert reports.max() > 1000.0
    assert np.mean(reports > 90.0) == pytest.approx(dataset.IN_CLEAR, abs=0.1)
    assert speeds.min() < 3.5
    assert speeds.max() > 8.5
    assert {s.driver.policy for s in varied} == {"open_loop"}
    assert dataset.vary(Scenario(), 1, 7) == varied[7]


def test_pairs_are_balanced_and_spread_over_distance():
    looks = Looks(*(np.concatenate(a) for a in zip(*(looks_of(e) for e in range(40)), strict=True)))
    drawn = looks.take(training.draw_pairs(looks, np.random.default_rng(0)))
    assert len(drawn.label) == training.PAIRS
    assert drawn.label.mean() == 0.5
    assert np.ptp(np.histogram(drawn.distance, 5, (2.0, 28.0))[0]) < 30


@pytest.mark.parametrize("copies", [2, 4])
def test_tempering_undoes_copies_of_a_frame(copies):
    # exact evidence of independent frames needs no tempering; each frame told four times, a quarter
    rng = np.random.default_rng(0)
    encounters, frames = 2000, 5
    labels = rng.integers(0, 2, encounters)
    # a log-likelihood ratio of two Gaussians has the law N(±m, 2m); here m = 0.5
    log_odds = np.repeat((labels[:, None] - 0.5 + rng.normal(size=(encounters, frames))).ravel(), copies)
    evidence = np.stack([-0.5 * log_odds, 0.5 * log_odds], axis=1)[:, None]
    encounter = np.repeat(np.arange(encounters), frames * copies)
    detected = np.ones(len(encounter), int)
    sums = totals(evidence, detected, encounter)
    last = np.flatnonzero(np.diff(encounter, append=-1))
    tau = fit_tempering(sums[:, last], labels, np.ones(encounters), np.log([0.5, 0.5]))
    assert tau[1] == pytest.approx(1.0 / copies, rel=0.1)
    assert LEAST <= tau[0] <= 1.0


def test_fused_belief_is_the_running_tempered_product():
    rng = np.random.default_rng(1)
    evidence, detected, encounter = rng.normal(size=(6, 1, 2)), np.array([0, 1, 1, 0, 1, 1]), np.repeat([4, 9], 3)
    tau, prior = np.array([0.2, 0.7]), np.log([0.3, 0.7])
    log_probs = fused(tau, totals(evidence, detected, encounter), prior)
    for start in (0, 3):
        total = prior
        for k in range(start, start + 3):
            total = total + tau[detected[k]] * evidence[k, 0]
            np.testing.assert_allclose(log_probs[k], total - np.logaddexp(*total))
    np.testing.assert_allclose(log_loss(log_probs, np.ones(6, int)), -log_probs[:, 1])


def test_a_checkpoint_of_training_is_served(quick, tmp_path):
    from filters import kernel_bayes

    train("kernel", 80, tmp_path / "a.safetensors", 3)
    tensors, _ = load(tmp_path / "a.safetensors", "kernel_bayes", kernel_bayes.SHAPES)
    assert len(tensors["labels"]) == 120
