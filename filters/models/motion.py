"""How a candidate moves in the odometry frame: barriers stand, bags rest or are blown.

A bag is calm (its position wanders) or in a gust (an Ornstein-Uhlenbeck velocity v about 0):

    calm   p' = p + N(0, q² dt)                  v' = 0
    gust   v' = a v + sqrt(1 - a²) N(0, s²)      p' = p + v' dt      a = exp(-dt / T)

and switches between the two at given rates. Errors of odometry shift the whole frame under both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.spec import Array, EgoMotion


@dataclass(frozen=True)
class BagMotion:
    """Rates and sizes of a bag's motion.

    Parameters
    ----------
    wander : float
        q of the calm random walk, m/sqrt(s).
    gust_speed : float
        s, standard deviation of each velocity component in a gust, m/s.
    gust_time : float
        T, correlation time of the velocity, s.
    gust_rate, calm_rate : float
        Rates of entering and leaving a gust, 1/s.
    """

    wander: float = 0.03
    gust_speed: float = 0.5
    gust_time: float = 0.8
    gust_rate: float = 0.15
    calm_rate: float = 0.6

    def switch(self, dt: float) -> Array:
        """Transition matrix (2, 2) over (calm, gust) for a step of dt."""
        enter, leave = 1.0 - np.exp(-self.gust_rate * dt), 1.0 - np.exp(-self.calm_rate * dt)
        return np.array([[1.0 - enter, enter], [leave, 1.0 - leave]])

    @property
    def gust_share(self) -> float:
        """Stationary probability of a gust."""
        return self.gust_rate / (self.gust_rate + self.calm_rate)

    def persistence(self, dt: float) -> float:
        """a = exp(-dt / T)."""
        return float(np.exp(-dt / self.gust_time))

    def start(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw velocity (n, 2) and gust flag (n,): a gust under way blows at its full strength."""
        gust = (rng.random(n) < self.gust_share).astype(float)
        return rng.normal(0.0, self.gust_speed, (n, 2)) * gust[:, None], gust

    def step(
        self, position: Array, velocity: Array, gust: Array, dt: float, rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """Draw the next position (n, 2), velocity (n, 2) and gust flag (n,).

        The world uses this one; `filters.stories.follow` is the same by given normals (a test compares them).
        """
        gust = self.gusts(gust, rng.random(len(position)), dt)
        position, velocity = self.moved(position, velocity, gust, rng.normal(size=(len(position), 2)), dt)
        return position, velocity, gust

    def gusts(self, gust: Array, uniform: Array, dt: float) -> Array:
        """Gust flags (n,) a step later, by uniforms (n,)."""
        switch = self.switch(dt)
        return np.asarray(uniform < np.where(gust > 0.0, switch[1, 1], switch[0, 1])).astype(float)

    def moved(self, position: Array, velocity: Array, gust: Array, noise: Array, dt: float) -> tuple[Array, Array]:
        """Position and velocity (n, 2) after a step in which flags are `gust` (n,), by standard normals (n, 2)."""
        keep = self.persistence(dt)
        blown = keep * velocity + np.sqrt(1.0 - keep * keep) * self.gust_speed * noise
        velocity = blown * gust[:, None]
        wander = self.wander * np.sqrt(dt) * noise * (1.0 - gust)[:, None]
        return position + velocity * dt + wander, velocity


def frame_jacobian(motion: EgoMotion, position: Array) -> Array:
    """How odometry's error (dx, dy, dyaw) shifts standing objects at `position` (..., 2): (..., 2, 3).

    With an object at lever arm (lx, ly) from ego: J = [R(yaw) | (-ly, lx)'].
    """
    yaw, lever = motion.pose.yaw, position - np.array([motion.pose.x, motion.pose.y])
    jacobian = np.empty((*lever.shape, 3))
    jacobian[..., :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    jacobian[..., 0, 2], jacobian[..., 1, 2] = -lever[..., 1], lever[..., 0]
    return jacobian


def frame_drift(motion: EgoMotion, position: Array) -> Array:
    """Covariance (2, 2), J Σ J', by which odometry's error moves a standing object in the odometry frame."""
    jacobian = frame_jacobian(motion, position)
    return np.asarray(jacobian @ motion.covariance @ jacobian.T)
