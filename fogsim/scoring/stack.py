"""One belief's encounters as arrays: what its scores are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.scoring.encounters import MOMENTS, Encounter


class Stack(NamedTuple):
    """Of n encounters whose object beliefs have a class for; NaN where a log did not reach a moment or has no value.

    `p`, `nees`, `nis`, `nis_dof` (n, moments); `crps` (n, moments, 2), m; `seed`, `truth`, `decided_at` s,
    `decided_left` m, `said`, `flips` (n,) as in `Course`; `duration` s and `distance_left` m (n,) of the log's end.
    """

    seed: np.ndarray
    truth: np.ndarray
    p: Array
    nees: Array
    crps: Array
    nis: Array
    nis_dof: Array
    decided_at: Array
    decided_left: Array
    said: Array
    flips: np.ndarray
    duration: Array
    distance_left: Array


def stack(encounters: Sequence[Encounter], belief: str) -> Stack:
    """The encounters that hold the belief."""
    held = [(e, e.beliefs.index(belief)) for e in encounters if belief in e.beliefs and e.classed]

    def each(name: str, *shape: int) -> Array:
        return np.array([getattr(e, name)[:, b] for e, b in held], float).reshape(len(held), len(MOMENTS), *shape)

    def on_the_way(name: str) -> Array:
        return np.array([getattr(e.course, name)[b] for e, b in held], float)

    def ends(name: str) -> np.ndarray:
        return np.array([getattr(e, name) for e, _ in held])

    return Stack(
        seed=ends("seed").astype(int),
        truth=ends("truth").astype(int),
        p=each("p_barrier"),
        nees=each("nees"),
        crps=each("crps", 2),
        nis=each("nis"),
        nis_dof=each("nis_dof"),
        **{name: on_the_way(name) for name in ("decided_at", "decided_left", "said", "flips")},
        duration=ends("duration").astype(float),
        distance_left=ends("distance_left").astype(float),
    )
