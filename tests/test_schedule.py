"""Every shot is delivered once, at the first tick it can be, and taken of the world as it stood."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.spec import Pose
from fogsim.scenario import Hazard, Scenario
from fogsim.sensors.schedule import Moment, delivered, moment_at
from fogsim.world import ego as car
from fogsim.world import world as worlds
from fogsim.world.ego import PROCEED

SCENARIO = Scenario(hazards=(Hazard(kind="bag"),))


@given(rate=st.floats(0.2, 60.0), latency=st.floats(0.0, 0.7), dt=st.floats(0.02, 1.0))
def test_every_shot_is_delivered_once_at_the_first_tick_it_can(rate, latency, dt):
    times = np.cumsum([0.0] + [dt] * 40)
    shots = [(k, n) for n in range(1, len(times)) for k in delivered(rate, latency, times[n - 1], times[n])]
    assert [k for k, _ in shots] == list(range(1, len(shots) + 1))
    for k, n in shots:
        assert k / rate + latency <= times[n] + 1e-6
        assert k / rate + latency > times[n - 1] - 1e-6
    assert (len(shots) + 1) / rate + latency > times[-1] - 1e-6


def test_a_sensor_in_step_with_the_ticks_shoots_once_in_each():
    """Ticks are sums of dt and so a little off: no shot is lost or doubled by that."""
    times = np.cumsum([0.0] + [0.1] * 60)
    for n in range(1, 60):
        assert list(delivered(10.0, 0.0, times[n - 1], times[n])) == [n]


def past(n=6):
    """Moments of a car that drives on, its estimate running ahead by 1 %."""
    world, moments = worlds.start(SCENARIO, 3), []
    for tick in range(n):
        pose = car.front(SCENARIO.ego, world.ego)
        moments.append(Moment(world, pose, Pose(1.01 * pose[0], pose[1], 0.0, pose[2])))
        world = worlds.step(world, PROCEED, SCENARIO, np.random.default_rng(tick))
    return moments


def test_between_ticks_all_moves_evenly():
    moments = past()
    a, b = moments[2], moments[3]
    motion = moment_at(moments, a.world.time + 0.03)
    found = motion.moment
    assert found.world.time == pytest.approx(a.world.time + 0.03)
    assert found.pose == pytest.approx(0.7 * a.pose + 0.3 * b.pose)
    assert found.estimate.x == pytest.approx(1.01 * found.pose[0])
    assert motion.velocity[0] == pytest.approx((b.pose[0] - a.pose[0]) / 0.1)
    assert motion.estimated_velocity == pytest.approx(1.01 * motion.velocity)
    bag = found.world.things[0].position
    assert bag == pytest.approx(0.7 * a.world.things[0].position + 0.3 * b.world.things[0].position)
    assert found.world.things[0].velocity is b.world.things[0].velocity


def test_a_tick_is_its_own_moment():
    moments = past()
    for k in range(1, 6):
        motion = moment_at(moments, moments[k].world.time)
        assert motion.moment.pose == pytest.approx(moments[k].pose)
        assert motion.velocity == pytest.approx((moments[k].pose - moments[k - 1].pose)[:2] / 0.1)


@pytest.mark.parametrize("time", [0.0, -0.1, 0.51])
def test_no_moment_is_made_up(time):
    with pytest.raises(ValueError, match="expected one after the first of 6 ticks and up to the last"):
        moment_at(past(), time)
