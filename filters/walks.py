"""How a story walks: a symmetric move of its latents, and moves of its noise that leave N(0, 1) as it is.

Latents go along the difference of two members of the cloud. Of `GUSTS` of the stories the gusts are drawn anew from a
step on, of `NOISES` all noise moves by x' = sqrt(1 - b²) x + b N(0, 1), b being most often small.

Source: ter Braak 2006 (Stat. Comput. 16:239) for the differences.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from filters.jit import inlined, jit
from filters.spec import Array
from filters.stories import GUST

GUSTS, NOISES = 0.2, 0.4  # shares of the stories
LEAPS = 0.1  # share of strides that are all of a difference: from one mode to another
FEW = 0.25, 0.3  # share of walks along some coordinates only, and share of those


@jit
def walk(
    u: Array, start: Array, noise: Array, members: Array, may: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    """Move, in place, latents (n, d), normals of the start (n, 3) and of the steps (n, steps, 6) of those that may."""
    for i in range(len(u)):
        if may[i]:
            go_along(u[i], members, rng)
            kind = rng.random()
            if kind < GUSTS:
                draw_gusts(start[i], noise[i], rng)
            elif kind < GUSTS + NOISES:
                b = rng.random() ** 3
                autoregress(start[i], b, rng)
                for k in range(noise.shape[1]):
                    autoregress(noise[i, k], b, rng)


@inlined
def go_along(u: Array, members: Array, rng: np.random.Generator) -> None:
    """Latents (d,) along the difference of two members (m, d), most often in all coordinates."""
    a, b = int(rng.random() * len(members)), int(rng.random() * len(members))
    stride = 1.0 if rng.random() < LEAPS else 2.38 / sqrt(2.0 * len(u)) * (0.1 + 1.9 * rng.random())
    share = FEW[1] if rng.random() < FEW[0] else 1.0
    for j in range(len(u)):
        if rng.random() < share:
            u[j] += stride * (members[a, j] - members[b, j])


@inlined
def draw_gusts(start: Array, noise: Array, rng: np.random.Generator) -> None:
    """The normals that tell of gusts, of the start (3,) and the steps (steps, 6), anew from one of them on."""
    first = int(rng.random() * (len(noise) + 1))
    if first == 0:
        start[2] = rng.standard_normal()
    for k in range(max(first - 1, 0), len(noise)):
        noise[k, GUST] = rng.standard_normal()


@inlined
def autoregress(x: Array, b: float, rng: np.random.Generator) -> None:
    """Move normals (m,) by sqrt(1 - b²) x + b N(0, 1)."""
    keep = sqrt(1.0 - b * b)
    for j in range(len(x)):
        x[j] = keep * x[j] + b * rng.standard_normal()
