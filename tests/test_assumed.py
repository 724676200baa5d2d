"""What filters assume may be set apart from what is true; the truth stays what it is."""

from dataclasses import replace

import numpy as np
import pytest

from filters.models.optics import echo_table
from fogsim.errors import UserError
from fogsim.followers import model_of
from fogsim.runner import run
from fogsim.scenario import Assumed, Fog, Scenario

SHORT = Scenario(duration=0.5, filters=("kalman",), fog=Fog(spread=0.1))


def test_by_default_it_is_the_truth():
    scenario = Scenario()
    assert scenario.assumed_optics == scenario.lidar.optics
    model = model_of(scenario)
    assert (model.optics, model.barrier, model.bag) == (scenario.lidar.optics, scenario.barrier, scenario.bag)


def test_each_factor_reaches_the_model():
    model = model_of(Scenario(assumed=Assumed(range_10=0.5, range_noise=2.0, lidar_ratio=3.0, reflectance=0.5)))
    truth = Scenario()
    assert model.optics.range_10 == 0.5 * truth.lidar.optics.range_10
    assert model.optics.range_noise == 2.0 * truth.lidar.optics.range_noise
    assert model.optics.lidar_ratio == 3.0 * truth.lidar.optics.lidar_ratio
    assert model.bag.reflectance == tuple(0.5 * v for v in truth.bag.reflectance)
    assert model.barrier.reflectance == tuple(0.5 * v for v in truth.barrier.reflectance)


@pytest.mark.parametrize("wrong", [Assumed(range_10=0.6), Assumed(lidar_ratio=0.3), Assumed(reflectance=0.4)])
def test_scans_are_the_same_and_perception_is_misled(wrong):
    """The fog is inferred from the clutter's and the map's brightness, so each of these bends it."""
    right, misled = (list(run(s, 4)) for s in (SHORT, replace(SHORT, assumed=wrong)))
    for a, b in zip(right, misled, strict=True):
        np.testing.assert_array_equal(a.power, b.power)
        np.testing.assert_array_equal(a.range, b.range)
    # the last feature is ln visibility
    assert abs(misled[-1].features[0, -1] - right[-1].features[0, -1]) > 0.05


def test_the_true_sensor_is_the_lidar_s_own():
    scenario = Scenario(assumed=Assumed(range_10=0.5))
    assert echo_table(scenario.lidar.optics).gain == pytest.approx(4.0 * echo_table(scenario.assumed_optics).gain)


def test_factors_are_positive():
    with pytest.raises(UserError, match=r"assumed\.range_noise is 0"):
        Assumed(range_noise=0)
