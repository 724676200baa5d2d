"""Encounters as the decision transformer reads them: simulated, logged and driven alike."""

import dataclasses

import numpy as np
import pytest

from filters.posterior.decision_transformer import DecisionTransformer, Pretrained
from filters.posterior.kalman_transformer import KalmanTransformer
from filters.posterior.spec import generator
from filters.streams import stream
from fogsim.campaigns import record
from fogsim.environment import EncounterEnv
from fogsim.frame import ACTIONS
from fogsim.log import Replay
from fogsim.scenario import Driver, Ego, Fog, Scenario
from fogsim.scoring.encounters import encounter
from fogsim.transformer_driver import LOOKS, STRIDE, WIDTH, Approach, drive, logged, simulated

NEAR = Scenario(filters=(), ego=Ego(speed=(5.0, 5.0)), fog=Fog(visibility=40.0))
NETWORK = DecisionTransformer(WIDTH, LOOKS)


def engine() -> KalmanTransformer:
    weights = tuple(w.double().numpy() for w in NETWORK.start(generator(0, "weights")))
    return KalmanTransformer(NETWORK, Pretrained(weights, np.zeros(WIDTH), np.full(WIDTH, 10.0)))


def test_looks_end_now_and_lie_a_stride_apart():
    ticks = [np.array([float(k)]) for k in range(30)]
    looks, actions = Approach(ticks, list(range(29))).looks()
    wanted = 29 - STRIDE * np.arange(LOOKS)[::-1]
    np.testing.assert_array_equal(looks[:, 0], wanted)
    np.testing.assert_array_equal(actions, wanted[:-1])
    looks, actions = Approach(ticks[:2], [0]).looks()
    assert (looks.tolist(), actions.tolist()) == ([[1.0]], [])


@pytest.mark.parametrize("seed", [3, 4])
def test_a_log_tells_what_the_environment_showed(seed, tmp_path):
    """The log of a car that only proceeds, and the environment in which it is driven so."""
    scenario = dataclasses.replace(NEAR, filters=("bnn",), driver=Driver(policy="open_loop"))
    record(scenario, seed, tmp_path / "log.h5", "beliefs")
    with Replay(tmp_path / "log.h5") as log:
        found, score = logged(log, scenario.dt, scenario.ego.width), encounter(log)
    env = EncounterEnv(NEAR, "features")
    look, info = env.reset(seed=seed)
    approach = Approach([look], [])
    while not info["open"]:
        look, *_, info = env.step(ACTIONS.index("proceed"))
        approach.observations.append(look)
        approach.actions.append(0)
    looks, actions = approach.looks()
    np.testing.assert_allclose(found.looks, looks, rtol=1e-6)
    np.testing.assert_array_equal(found.actions, actions)
    np.testing.assert_array_equal(found.losses, score.loss)
    assert found.outcome == score.in_path


def test_simulated_encounters_are_those_of_their_seeds_and_some_cars_slow():
    made = [simulated(NEAR, seed, stream(seed, "slow")) for seed in range(4)]
    again = simulated(NEAR, 2, stream(2, "slow"))
    np.testing.assert_array_equal(made[2].looks, again.looks)
    assert {e.looks.shape for e in made} == {(LOOKS, WIDTH)}
    assert any(e.actions.any() for e in made)
    assert all(e.looks[-1, -1] == 1.0 and e.looks[0, -1] == 0.0 for e in made)


def test_an_encounter_without_a_decision_point_is_none():
    assert simulated(dataclasses.replace(NEAR, duration=0.3), 0, stream(0, "slow")) is None


def test_it_drives_and_what_it_met_can_be_learnt():
    """It proceeds until the choice is open, then does what it expects to cost least; cost and outcome are as scored."""
    env, made, rng = EncounterEnv(NEAR, "features"), engine(), stream(0, "scores")
    state = made.init()
    for seed in (3, 4):
        found, cost = drive(env, made, state, seed, rng)
        driven = env._course.column("action")
        first = int(np.flatnonzero(env._course.column("at_decision_point"))[0])
        best = made.forecast(state, found.looks, found.actions, found.losses, rng).costs.argmin()
        assert (driven[:first] == 0).all()
        assert (driven[first:] == best).all()
        score = encounter(env._course)
        assert (cost, found.outcome) == (score.realised_cost, score.in_path)
        state, info = made.update(state, found, rng)
        assert info.weight > 0.0
