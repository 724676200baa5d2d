"""The oracle against the exact posterior by importance sampling. By quadrature: `test_oracle_quadrature.py`."""

from dataclasses import replace

import numpy as np
import pytest

from filters.models.model import Model
from filters.models.motion import BagMotion
from filters.oracle import Oracle, differ, disagreement
from filters.spec import BAG, BARRIER, EgoMotion, Gaussian, Measurement, Pose, Prior, Scan, Status
from filters.standing import background_at, posterior, standing, whole
from filters.streams import stream
from fogsim.followers import model_of
from fogsim.scenario import Scenario
from fogsim.sensors.lidar import Lidar
from tests.encounters import NOTHING_THERE, ball, box, sweep

SMALL = Lidar(rings=8, lowest_deg=-7.0, highest_deg=0.0, columns=60, azimuth_deg=40.0)
PRIOR = Prior(np.log([0.5, 0.5]), Gaussian(np.array([12.0, -0.3]), np.diag([0.25, 0.09])), 20.0, 0.3)
STILL = BagMotion(wander=0.0, gust_rate=0.0)
MODEL = replace(model_of(Scenario(lidar=SMALL)), motion=STILL)


def scans_of(things, visibility, ahead=(0.0, 1.0, 2.0)):
    """Sweeps from known poses."""
    poses = [Pose(x, 0.0, 0.9, 0.0) for x in ahead]
    return [sweep(things, visibility, seed, SMALL, pose) for seed, pose in enumerate(poses)]


def exactly(delta, pose):
    """Odometry without error."""
    return EgoMotion(np.array([delta, 0.0, 0.0]), np.zeros((3, 3)), pose)


def follow(oracle: Oracle, scans: list[Scan], rng):
    """The oracle's state after all scans."""
    state = oracle.init(PRIOR, rng)
    for k, scan in enumerate(scans):
        if k:
            state = oracle.predict(state, exactly(scan.pose.x - scans[k - 1].pose.x, scan.pose), 0.1, rng)
        state, info = oracle.update(state, Measurement(0.1 * k, "scan", scan), rng)
        assert info.status == Status.OK
    return state


@pytest.mark.parametrize(
    ("things", "visibility"),
    [(NOTHING_THERE, 20.0), (box(12.2, -0.4, 0.6, 0.4), 12.0), (ball(12.3, -0.2, 0.25), 12.0)],
    ids=["nothing", "barrier", "bag"],
)
def test_of_a_standing_object_it_is_the_exact_posterior(things, visibility):
    scans = scans_of(things, visibility)
    exact = posterior(standing(MODEL, PRIOR, scans), 400.0, stream(1, "exact"))
    state = follow(Oracle(MODEL, 2500), scans, stream(2, "oracle"))
    found, wanted = (p[BARRIER] - p[BAG] for p in (state.log_probs, exact.log_probs))
    assert found == pytest.approx(wanted, abs=0.2)
    assert disagreement(state) < 0.4


def test_its_fog_is_what_all_beams_say():
    """Two modes here, 8.6 and 12 m: few beams in dense fog. The stories' fog is beyond those moments."""
    scans = scans_of(ball(12.3, -0.2, 0.25), 12.0)
    v = np.linspace(1.6, 3.0, 1401)
    values = -0.5 * ((v - np.log(20.0)) / 0.3) ** 2
    values = values + sum(background_at(MODEL, whole(scan), v).sum(axis=(0, 1)) for scan in scans)
    weights = np.exp(values - np.logaddexp.reduce(values))
    mean, low = weights @ v, weights[v < 2.3].sum()
    deviation = np.sqrt(weights @ (v - mean) ** 2)
    state = follow(Oracle(MODEL, 1500), scans, stream(3, "fog"))
    assert state.fog.moments == pytest.approx((mean, deviation), abs=2e-3)
    assert 0.05 < low < 0.2
    told = [(np.exp(c.log_weights), c.cloud.u[:, -1]) for run in state.runs for c in run]
    found = [w[state.fog.fog.mean + state.fog.fog.deviation * u < 2.3].sum() for w, u in told]
    assert np.mean(found) == pytest.approx(low, abs=0.05)


def test_its_scale_for_the_fog_moves_with_what_scans_say():
    """Where they say something else than it, by its width: then what they said before comes along with the look."""
    oracle, moves = Oracle(MODEL, 20), []
    state = oracle.init(PRIOR, stream(4, "scale"))
    for scan in scans_of(NOTHING_THERE, 12.0, (0.0, 1.0, 2.0, 3.0)):
        now, look, before = oracle.tabulate(state, scan)
        moves.append(differ(now.fog.moments, state.fog.fog))
        assert before is (state.fog if moves[-1] else None)
        assert now.fog.fog == (now.fog.moments if moves[-1] else state.fog.fog)
        assert {k.fog for k in (*now.looks, look)} == {now.fog.fog}
        state = now._replace(looks=(*now.looks, look))
    assert moves[0]
    assert not moves[-1]


def test_its_epistemic_part_is_the_information_between_label_and_run():
    oracle = Oracle(MODEL, 20)
    state = oracle.init(PRIOR, stream(5, "information"))
    state = state._replace(evidence=np.array([[0.0, 1.0], [-0.5, -2.0]]))
    joint = np.exp(state.scores - np.logaddexp.reduce(state.scores, axis=None))
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    assert oracle.belief(state).epistemic == pytest.approx((joint * np.log(joint / apart)).sum())
    assert disagreement(state) == pytest.approx(0.5 * 2.5)


def test_once_there_is_no_doubt_it_looks_no_more():
    oracle, scan = Oracle(MODEL, 20), scans_of(NOTHING_THERE, 20.0)[0]
    rng = stream(6, "settled")
    state = oracle.init(PRIOR, rng)
    for sure, same in (((21.0, 24.0), True), ((21.0, -24.0), False), ((21.0, 19.0), False)):
        doubted = state._replace(evidence=np.array([[0.0, sure[0]], [0.0, sure[1]]]))
        assert doubted.settled == same
        after, _ = oracle.update(doubted, Measurement(0.0, "scan", scan), rng)
        assert (after is doubted) == same


def test_fog_that_drifts_is_refused():
    with pytest.raises(ValueError, match="expected even fog"):
        Oracle(replace(Model(), fog_drift=0.1))
