"""A cloud of weighted stories, and what it is weighed by: the looks that are remembered and the newest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from filters.belief import moments
from filters.looks import FogLook, Look
from filters.packed_looks import LidarLooks, packed
from filters.spec import Array
from filters.stories import Cloud, Step, Stories

FOUND = 0.08  # m: a cloud narrower than this has found its object


class Weighted(NamedTuple):
    """Stories, their log-weights (n,), and ln L of every past look, given each (n, looks)."""

    cloud: Cloud
    log_weights: Array
    past: Array

    @property
    def found(self) -> bool:
        """Whether the places agree to `FOUND`."""
        P = moments(self.cloud.place, np.exp(self.log_weights)).covariance
        return float(np.linalg.det(P)) < FOUND**4


@dataclass(frozen=True, eq=False)
class Target:
    """What was seen until now: how the stories go, their steps, the past looks and the newest.

    `length` is that of the chains.
    """

    stories: Stories
    steps: tuple[Step, ...]
    past: tuple[Look | FogLook, ...]
    look: Look
    length: int

    @cached_property
    def asked(self) -> tuple[Look | FogLook | LidarLooks, ...]:
        """The past looks, as many as can be at once."""
        return packed(self.past)


def newest_of(cloud: Cloud, target: Target) -> Array:
    """ln L (n,) of the newest look, at the stories' last place."""
    told = target.stories.last(cloud, target.look.steps)
    return target.look.log_likelihood(target.stories, cloud.u, told)
