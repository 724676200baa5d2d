"""What a radar adds to a filter that reads none."""

import numpy as np
import pytest

from filters import make_filter
from filters.models.model import Model
from filters.models.radar import Radar, background, sample, sources_of
from filters.spec import BAG, BARRIER, Belief, EgoMotion, Gaussian, Info, Measurement, Pose, Prior, RadarScan
from filters.with_radar import NODES, WithRadar
from fogsim.sensors.radar import reflectors
from fogsim.world.setting import Road

RADAR = Radar(on=True)
MODEL = Model(radar=RADAR)
POSE, MOVING, STILL = Pose(0.0, 0.0, 0.0, 0.0), np.array([8.0, 0.0]), np.zeros((1, 2))
PLACE = Gaussian(np.array([22.0, -0.5]), np.diag([0.2, 0.1]) ** 2)
PRIOR = Prior(np.log([0.5, 0.5]), PLACE, 25.0, 0.3)
MAPPED = reflectors(Road()).seen_from(RADAR, POSE, MOVING)
RNG = np.random.default_rng(0)


class Ignorant:
    """A filter that believes its prior and counts its updates."""

    sensors = ("features",)

    def init(self, prior, rng):
        return (prior, 0)

    def predict(self, state, motion, dt, rng):
        return state

    def update(self, state, measurement, rng):
        return (state[0], state[1] + 1), Info(np.zeros(2))

    def belief(self, state):
        return Belief(state[0].log_probs, state[0].position)


FILTER = WithRadar(Ignorant(), MODEL)


def scan(rng, klass=None, deviate=0.0):
    """A scan of the road, with an object of a class's middling shape or none."""
    here = [MAPPED]
    if klass is not None:
        shape = MODEL.barrier if klass == BARRIER else MODEL.bag
        mean, spread = RADAR.material(klass)
        solids = shape.solids(rng.multivariate_normal(*PLACE)[None], np.zeros((1, len(shape.names))))
        here.append(sources_of(RADAR, solids, np.array([mean + spread * deviate]), STILL, POSE, MOVING))
    z = sample(RADAR, type(MAPPED)(*(np.concatenate(c) for c in zip(*here, strict=True))), POSE, MOVING, rng)
    return RadarScan(POSE, MOVING, z, background(RADAR, MAPPED, POSE, MOVING, z))


def after(scans):
    state = FILTER.init(PRIOR, RNG)
    for k, one in enumerate(scans):
        state, info = FILTER.update(state, Measurement(0.1 * k, "radar", one, 0.05), RNG)
        assert np.isfinite(info.log_evidence).all()
    return state


def test_it_reads_what_the_inner_filter_reads_and_radar():
    assert FILTER.sensors == ("features", "radar")
    state, _ = FILTER.update(FILTER.init(PRIOR, RNG), Measurement(0.0, "features", None), RNG)
    assert state.inner[1] == 1
    state, _ = FILTER.update(state, Measurement(0.0, "radar", scan(RNG)), RNG)
    assert state.inner[1] == 1
    assert FILTER.predict(state, EgoMotion(np.zeros(3), np.eye(3), POSE), 0.1, RNG) == state


def test_without_a_scan_it_is_the_inner_filter():
    belief = FILTER.belief(FILTER.init(PRIOR, RNG))
    assert belief.log_probs == pytest.approx(np.log([0.5, 0.5]))
    assert belief.position is PLACE


@pytest.mark.parametrize("klass", [BAG, BARRIER])
def test_it_tells_the_classes_apart(klass):
    rng = np.random.default_rng(1)
    sure = [np.exp(FILTER.belief(after([scan(rng, klass) for _ in range(10)])).log_probs[klass]) for _ in range(20)]
    assert np.mean(np.array(sure) > 0.8) > 0.8, np.round(sure, 2)


def test_an_empty_place_is_no_barrier():
    rng = np.random.default_rng(2)
    assert FILTER.belief(after([scan(rng) for _ in range(10)])).barrier < 0.1


def test_its_odds_are_calibrated():
    """Objects drawn from the prior: of those called barrier with probability p, a share p are."""
    rng, said, were = np.random.default_rng(3), [], []
    for _ in range(300):
        klass = int(rng.integers(2))
        u = rng.standard_normal()
        said.append(FILTER.belief(after([scan(rng, klass, u) for _ in range(4)])).barrier)
        were.append(klass)
    said, were = np.array(said), np.array(were)
    score = (were - said).sum() / np.sqrt((said * (1.0 - said)).sum())
    assert abs(score) < 3.0
    surer = np.where(said > 0.5, said, 1.0 - said)
    right = (said > 0.5) == were
    assert right.mean() == pytest.approx(surer.mean(), abs=3.0 * np.sqrt((surer * (1.0 - surer)).sum()) / 300)


def test_many_scans_do_not_make_the_class_certain():
    """What its material is stays unknown: a bag of a strange one looks like a barrier however long it is heard."""
    rng = np.random.default_rng(4)
    strange = [scan(rng, BAG, 1.2) for _ in range(40)]
    halves = [FILTER.belief(after(part)).log_probs for part in (strange[:20], strange)]
    odds = [p[BARRIER] - p[BAG] for p in halves]
    assert abs(odds[1]) < 5.0
    state = after(strange)
    node = np.exp(state.log_weights[BAG]) @ NODES
    assert node == pytest.approx(1.2, abs=0.5)


def test_where_the_place_is_uncertain_a_detection_beside_it_counts():
    """A barrier may be 1.5 m from where it is announced: what is heard there speaks for one, though less than at it."""
    wide = Prior(PRIOR.log_probs, Gaussian(PLACE.mean, np.diag([1.5, 0.6]) ** 2), 25.0, 0.3)
    ahead = PLACE.mean[0] + 1.5
    z = np.array([[ahead, np.arctan2(PLACE.mean[1], ahead), -MOVING[0], -8.0]])
    beside = RadarScan(POSE, MOVING, z, background(RADAR, MAPPED, POSE, MOVING, z))
    evidence = {}
    for name, prior in {"sure": PRIOR, "wide": wide}.items():
        _, info = FILTER.update(FILTER.init(prior, RNG), Measurement(0.0, "radar", beside), RNG)
        evidence[name] = info.log_evidence[BARRIER]
    assert evidence["wide"] > 1.0
    assert evidence["sure"] < -0.3


def test_a_filter_of_the_table_can_be_given_it():
    filter_ = WithRadar(make_filter("kalman", MODEL), MODEL)
    state, info = filter_.update(filter_.init(PRIOR, RNG), Measurement(0.0, "radar", scan(RNG, BARRIER)), RNG)
    assert info.log_evidence.shape == (2,)
    assert np.exp(filter_.belief(state).log_probs).sum() == pytest.approx(1.0)
