"""A cloud whose scale for the fog moves: what it says of the fog and of a class is what it would have said there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.special import ndtri

from filters.belief import log_sum_exp
from filters.looks import NO_ECHOES, FogLook
from filters.models.object_echo import Echoes
from filters.models.visibility import Visibility
from filters.resampling import ess
from filters.stories import Stories, Told
from filters.streams import stream
from filters.target import Target, Weighted
from filters.waste_free import moved_along, refresh
from tests.exact_stories import RIGID, Array, look_at

N = 4000
LOOK = look_at(0, 12.0, 0.0, 1.0)  # any
BEFORE = Visibility(3.3, 0.4), Visibility(3.0, 0.3)  # the stories' scale and what the beams say of the fog
MOVES = pytest.mark.parametrize(
    "now", [Visibility(3.0, 0.3), Visibility(2.8, 0.15), Visibility(2.2, 0.02), Visibility(4.5, 0.02)], ids=str
)


def gaussian(scale: Visibility, said: Visibility) -> FogLook:
    """What the beams say of the fog is Gaussian."""
    nodes = said.mean + said.deviation * np.linspace(-6.0, 6.0, 33)
    return FogLook(scale, said, CubicSpline(nodes, -0.5 * ((nodes - said.mean) / said.deviation) ** 2))


def two_modes(v: Array) -> Array:
    """A density of v, up to a constant."""
    return np.exp(-0.5 * ((v - 2.3) / 0.04) ** 2) + 0.5 * np.exp(-0.5 * ((v - 2.42) / 0.03) ** 2)


def cloud_of(look: FogLook, v: Array, log_weights: Array) -> Weighted:
    """Stories of fog v, weighted."""
    cloud = RIGID.draw(len(v), stream(1, "cloud"))
    cloud.u[:, -1] = (v - look.fog.mean) / look.fog.deviation
    past = look.log_likelihood(RIGID, cloud.u, RIGID.tell(cloud, ()))
    return Weighted(cloud, log_weights - log_sum_exp(log_weights), past[:, None])


def evenly(fog: Visibility) -> Array:
    """Draw v (N,) from a Gaussian, as even as can be."""
    return fog.mean + fog.deviation * ndtri((np.arange(N) + 0.5) / N)


class FogThere(NamedTuple):
    """ln N(v; c, s²), in whatever scale a story tells v."""

    fog: Visibility
    c: float
    s: float
    steps: int = 0
    echoes: Echoes = NO_ECHOES

    def log_likelihood(self, stories: Stories, u: Array, told: Told) -> Array:
        v = self.fog.mean + self.fog.deviation * u[:, -1]
        return -0.5 * ((v - self.c) / self.s) ** 2


@MOVES
def test_a_gaussian_that_moves_and_narrows_takes_its_stories_along(now):
    """Old and new up to many widths apart: all stories are as likely as before, and N(0, 1) in the new scale."""
    old, new = gaussian(*BEFORE), gaussian(now, now)
    cloud = cloud_of(old, evenly(old.moments), np.zeros(N))
    after, _ = refresh(moved_along(cloud, old), Target(RIGID, (), (new,), LOOK, 12), [0])
    assert np.ptp(after.log_weights) < 1e-6
    np.testing.assert_allclose(after.cloud.u[:, -1], ndtri((np.arange(N) + 0.5) / N), atol=1e-9)
    np.testing.assert_array_equal(after.cloud.u[:, :-1], cloud.cloud.u[:, :-1])
    np.testing.assert_array_equal(after.cloud.place, cloud.cloud.place)
    told = RIGID.tell(cloud.cloud, ())
    left = gaussian(BEFORE[0], now).log_likelihood(RIGID, cloud.cloud.u, told) - cloud.past[:, 0]
    assert ess(left) < 0.7 * N or now == BEFORE[1]


@pytest.mark.parametrize("said", [Visibility(2.335, 0.075), Visibility(2.36, 0.06)], ids=str)
def test_weighted_fog_is_what_the_beams_say_now(said):
    """Stories drawn evenly over another density, by weights; the new one has two modes and moments about its own."""
    old, nodes = gaussian(*BEFORE), np.linspace(1.95, 2.75, 81)
    v = BEFORE[1].mean + BEFORE[1].deviation * np.linspace(-4.0, 4.0, N)
    cloud = cloud_of(old, v, old.log_density(v))
    new = FogLook(said, said, CubicSpline(nodes, np.log(two_modes(nodes))))
    after, _ = refresh(moved_along(cloud, old), Target(RIGID, (), (new,), LOOK, 12), [0])
    weights, told = np.exp(after.log_weights), said.mean + said.deviation * after.cloud.u[:, -1]
    fine = np.linspace(1.95, 2.75, 4001)
    exact = two_modes(fine) / two_modes(fine).sum()
    for power in range(1, 5):
        assert weights @ (told - 2.3) ** power == pytest.approx(exact @ (fine - 2.3) ** power, rel=0.02)
    assert weights[told > 2.37].sum() == pytest.approx(exact[fine > 2.37].sum(), abs=0.01)


def test_what_classes_say_of_the_fog_moves_along():
    """Evidences of two, each having seen fog at another place, are by the new density what they were by the old."""
    old, now = gaussian(*BEFORE), Visibility(2.6, 0.1)
    new, v = gaussian(now, now), evenly(BEFORE[1])
    gains = []
    for c in (2.5, 3.0):
        heard = -0.5 * ((v - c) / 0.3) ** 2
        cloud = cloud_of(old, v, heard)
        cloud = cloud._replace(past=np.column_stack([cloud.past, heard]))
        target = Target(RIGID, (), (new, FogThere(now, c, 0.3)), LOOK, 12)
        _, shift = refresh(moved_along(cloud, old), target, [0, 1])
        exact = [
            -0.5 * np.log(1.0 + (f.deviation / 0.3) ** 2) - 0.5 * (f.mean - c) ** 2 / (f.deviation**2 + 0.3**2)
            for f in (BEFORE[1], now)
        ]
        gains.append(shift - (exact[1] - exact[0]))
    assert gains[0] == pytest.approx(gains[1], abs=1e-3)
