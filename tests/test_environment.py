"""The Gymnasium environment: its own checker, our runs, our score, and no truth in what is observed."""

import dataclasses
import os

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import fogsim.environment
from filters.spec import BARRIER, FEATURES
from fogsim.campaigns import record
from fogsim.environment import BELIEF, EncounterEnv
from fogsim.errors import UserError
from fogsim.frame import ACTIONS
from fogsim.log import Replay
from fogsim.runner import run
from fogsim.scenario import Driver, Scenario
from fogsim.scoring.encounters import encounter

NAME = "fogsim/Encounter-v0"
QUICK = Scenario(filters=("kalman",))
PROCEED, SLOW, CHANGE_LANE, BRAKE = range(len(ACTIONS))


def drive(env, seed, action):
    """Observations, rewards, flags and infos of an episode in which `action(info)` is done."""
    observed, info = env.reset(seed=seed)
    steps, done = [(observed, 0.0, False, False, info)], False
    while not done:
        steps.append(env.step(action(steps[-1][-1])))
        done = steps[-1][2] or steps[-1][3]
    return steps


@pytest.mark.parametrize("observation", ["beliefs", "features", "scan"])
def test_gymnasiums_own_check(observation):
    scenario = dataclasses.replace(QUICK, duration=0.5)
    env = gymnasium.make(NAME, scenario=scenario, observation=observation, render_mode="rgb_array")
    check_env(env.unwrapped)


def test_our_driver_in_it_costs_what_the_score_says(tmp_path):
    """Its actions, sent back, make the same encounter, and the rewards add up to minus its realised cost."""
    for seed in range(4):
        path = tmp_path / f"{seed}.h5"
        record(QUICK, seed, path, "beliefs")
        with Replay(path) as log:
            actions, wanted = log.column("action"), encounter(log)
            poses = log.column("ego_pose")
        moves = iter(actions)
        steps = drive(gymnasium.make(NAME, scenario=QUICK).unwrapped, seed, lambda _, moves=moves: next(moves))
        assert sum(s[1] for s in steps) == pytest.approx(-wanted.realised_cost, rel=1e-12)
        assert len(steps) == len(actions) + 1
        assert steps[-1][-1]["collided"] == wanted.collided
        assert steps[-1][-1]["distance_left"] == pytest.approx(wanted.distance_left)
        assert len(poses) == len(actions)


def test_who_only_proceeds_hits_barriers_and_who_brakes_does_not():
    env = EncounterEnv(QUICK)
    for seed in range(6):
        blind, careful = (drive(env, seed, lambda info, a=a: a if info["open"] else PROCEED) for a in (PROCEED, BRAKE))
        if careful[0][-1]["truth_class"] == "barrier" and blind[-1][-1]["collided"]:
            assert blind[-1][1] < careful[-1][1] < 0.0
            assert not careful[-1][-1]["collided"]
            break
    else:
        raise AssertionError("no barrier was met")


def test_until_the_choice_is_open_to_brake_is_to_slow():
    env = EncounterEnv(QUICK)
    early = [drive(env, 3, lambda info, a=a: PROCEED if info["open"] else a) for a in (SLOW, BRAKE, CHANGE_LANE)]
    for other in early[1:]:
        np.testing.assert_array_equal([s[0] for s in other], [s[0] for s in early[0]])
    proceeding = drive(env, 3, lambda info: PROCEED)
    assert len(proceeding) != len(early[0])


def test_it_sees_what_filters_see():
    """Beliefs, features and scans of the run of the same seed, and nothing that only truth knows."""
    plain = dataclasses.replace(QUICK, driver=Driver(policy="open_loop"))
    frames = list(run(plain, 5))
    seen = {o: drive(EncounterEnv(QUICK, o), 5, lambda info: PROCEED) for o in ("beliefs", "features", "scan")}
    for k, frame in enumerate(frames):
        beliefs, features, scan = (seen[o][k][0] for o in seen)
        rows = beliefs[:-2].reshape(-1, BELIEF)
        np.testing.assert_allclose(rows[:, 0], np.exp(frame.log_probs[:, 0, BARRIER]), rtol=1e-6)
        ahead = np.hypot(*(frame.position_mean[:, 0] - frame.odometry[:2]).T)
        np.testing.assert_allclose(np.hypot(rows[:, 1], rows[:, 2]), ahead, rtol=1e-5)
        np.testing.assert_allclose(features[: len(FEATURES)], np.nan_to_num(frame.features[0]), rtol=1e-6)
        np.testing.assert_array_equal(scan[1] > 0.0, frame.power > 0)
        assert beliefs[-1] == features[-1] == seen["beliefs"][k][-1]["open"]
        assert beliefs[-2] == pytest.approx(frame.ego_speed, abs=0.5) or k == 0


def test_observations_do_not_depend_on_truth_that_is_not_seen(monkeypatch):
    """The same frames with another truth are observed alike."""
    frame = next(run(QUICK, 2))
    other = dataclasses.replace(
        frame, truth_class=1 - frame.truth_class, truth_position=frame.truth_position + 3.0,
        distance_left=frame.distance_left + 3.0, visibility=frame.visibility + 9.0, ego_pose=frame.ego_pose + 1.0,
        object_echoes=frame.object_echoes + 5, label=frame.label + 1, ego_speed=frame.ego_speed + 1.0,
    )  # fmt: skip
    for name in fogsim.environment.OBSERVATIONS:
        space = fogsim.environment.space_of(QUICK, name)
        one, two = (fogsim.environment.observed(f, name, space, 1.0, False) for f in (frame, other))
        np.testing.assert_array_equal(one, two)


def test_several_at_once():
    scenario = dataclasses.replace(QUICK, filters=("bnn",), duration=0.5)
    envs = gymnasium.make_vec(NAME, num_envs=2, vectorization_mode="sync", scenario=scenario)
    observed, _ = envs.reset(seed=[3, 4])
    one, _ = gymnasium.make(NAME, scenario=scenario).reset(seed=4)
    np.testing.assert_array_equal(observed[1], one)
    _, rewards, *_ = envs.step(np.array([PROCEED, SLOW]))
    assert rewards.shape == (2,)
    envs.close()


def test_episodes_without_a_seed_differ_and_a_seed_repeats_them():
    env = EncounterEnv(dataclasses.replace(QUICK, duration=0.2))
    env.reset(seed=1)
    first = [env.reset()[1]["seed"] for _ in range(3)]
    env.reset(seed=1)
    assert [env.reset()[1]["seed"] for _ in range(3)] == first
    assert len(set(first)) == 3


def test_pictures_and_windows(monkeypatch):
    monkeypatch.setitem(os.environ, "SDL_VIDEODRIVER", "dummy")
    scenario = dataclasses.replace(QUICK, duration=0.3)
    env = EncounterEnv(scenario, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(SLOW)
    assert before.shape == (720, 1280, 3)
    assert (before != env.render()).any()
    window = EncounterEnv(scenario, render_mode="human")
    window.reset(seed=0)
    window.step(PROCEED)
    shown = fogsim.environment.pixels(window._window)
    np.testing.assert_array_equal(shown.shape, before.shape)
    assert shown.std() > 10.0
    window.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"observation": "truth"}, "observation is 'truth', expected one of beliefs, features, scan"),
        ({"scenario": Scenario(filters=())}, "found observation 'beliefs' without filters"),
        ({"scenario": Scenario(filters=("kalmann",))}, "unknown filter 'kalmann'"),
    ],
)
def test_a_mistake_is_one_line(given, told):
    with pytest.raises(UserError, match=told):
        gymnasium.make(NAME, **given)
