"""What the particle filter spends on a look: more where it decides, less where there is no doubt."""

import numpy as np
import pytest

from filters.particle import CLOSELY, SURE, ParticleFilter
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Measurement, Prior, Status
from filters.streams import stream
from filters.waste_free import Tempered
from fogsim.followers import model_of
from tests.encounters import REST, ball, encounter, sweep

FILTER = ParticleFilter(model_of(encounter()), particles=20, followers=10)
PRIOR = Prior(np.log([0.5, 0.5]), Gaussian(np.array([12.0, -0.6]), np.diag([1.0, 0.36])), 40.0, 0.3)
SEEN = Measurement(0.0, "scan", sweep(ball(12.0, -0.6), 40.0))
STEP = EgoMotion(np.zeros(3), np.diag([1e-3, 1e-3, 1e-4]) ** 2, REST)
JUST = -np.log(1.0 / SURE - 1.0)  # nats between two classes of which one is all but sure


@pytest.fixture
def told(monkeypatch):
    """The classes and numbers of stories that clouds were tempered with; `told.evidence` is what each then says."""

    class Told(list[tuple[int, int]]):
        evidence: dict[tuple[int, int], float] = {}  # noqa: RUF012
        status = Status.OK

    calls = Told()

    def temper(now, target, n, rng):
        calls.append((target.stories.klass, n))
        after = now._replace(past=np.column_stack([now.past, np.zeros(len(now.past))]))
        return Tempered(after, calls.evidence.get(calls[-1], 0.0), 1.0, False, calls.status)

    monkeypatch.setattr("filters.particle.temper", temper)
    return calls


def looked(state=None, filter_=FILTER):
    """The filter's state after a scan, and what it tells."""
    rng = stream(1, "effort")
    return filter_.update(filter_.init(PRIOR, rng) if state is None else state, SEEN, rng)


@pytest.mark.parametrize("best", [BAG, BARRIER])
def test_a_look_that_decides_is_told_again_to_the_class_it_speaks_against(told, best):
    other = 1 - best
    told.evidence = {(best, 20): JUST + 0.1, (other, 20 * CLOSELY): 3.0}
    state, info = looked()
    assert told == [(BAG, 20), (BARRIER, 20), (other, 20 * CLOSELY)]
    assert info.log_evidence[best] - info.log_evidence[other] == pytest.approx(JUST - 2.9)
    assert state.log_probs[best] - state.log_probs[other] == pytest.approx(JUST - 2.9)
    assert len(state.looks) == 1


def test_one_that_does_not_is_not(told):
    told.evidence = {(BAG, 20): JUST - 0.1}
    state, _ = looked()
    assert told == [(BAG, 20), (BARRIER, 20)]
    del told[:]
    looked(state._replace(scores=np.array([JUST + 0.1, 0.0])))  # was sure of the bag before
    assert told == [(BAG, 20), (BARRIER, 20)]


def test_what_depletes_leaves_everything_as_it_was(told):
    told.status = Status.DEPLETED
    state, info = looked()
    assert info.status == Status.DEPLETED
    assert not info.log_evidence.any()
    assert (len(state.looks), state.scores.tolist()) == (0, PRIOR.log_probs.tolist())


def test_without_doubt_one_class_is_followed(told):
    state, _ = looked()
    state = state._replace(scores=np.array([0.0, 100.0]))
    del told[:]
    for _ in range(2):
        state = FILTER.predict(state, STEP, 0.1, stream(2, "effort"))
        state, info = looked(state)
        assert not info.log_evidence.any()
    assert told == [(BARRIER, 10)] * 2
