"""Standard normals by number: the i-th of a key is a function of i, so that loops over i need no state and vectorise.

Philox 4x32 of seven rounds (Salmon, Moraes, Dror, Shaw 2011, SC11, doi:10.1145/2063384.2063405, which finds seven
enough for BigCrush), then Box and Muller's transform of each pair (1958, Ann. Math. Statist. 29:610).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filters.jit import inlined, jit
from filters.single import f32, i32, ln, sin_cos

ROUNDS = 7
LOW = np.uint64(0xFFFFFFFF)
WORD = np.uint64(32)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
STEP, HALF, MINUS_2 = f32(2.0**-24), f32(0.5), f32(-2.0)
Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@inlined
def philox(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, k0: np.uint64, k1: np.uint64) -> Words:
    """Four random words of 32 bits from a counter of four and a key of two (in 64, where their products fit)."""
    for _ in range(ROUNDS):
        p, q = a * M0, c * M1
        a, b, c, d = (q >> WORD) ^ b ^ k0, q & LOW, (p >> WORD) ^ d ^ k1, p & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return a, b, c, d


@inlined
def box_muller(a: np.float32, b: np.float32) -> tuple[np.float32, np.float32]:
    """Two standard normals from two whole numbers below 2^24; none is beyond 5.9."""
    radius = np.sqrt(MINUS_2 * ln((a + HALF) * STEP))
    sin, cos = sin_cos(b * STEP - HALF)
    return radius * cos, radius * sin


@jit
def fill_normals(noise: NDArray[np.float32], first: int, key: NDArray[np.uint32], block: int) -> None:
    """Rows (4, m) of standard normals: those of numbers first, first + 1, ... and of a block of four.

    In two loops, as one alone has too many arrays for LLVM to tell apart.
    """
    words = noise.view(np.int32)
    k0, k1, zero = np.uint64(key[0]), np.uint64(key[1]), np.uint64(0)
    for i in range(noise.shape[1]):
        a, b, c, d = philox(np.uint64(first + i), np.uint64(block), zero, zero, k0, k1)
        words[0, i], words[1, i] = i32(a >> np.uint64(8)), i32(b >> np.uint64(8))
        words[2, i], words[3, i] = i32(c >> np.uint64(8)), i32(d >> np.uint64(8))
    for k in range(0, 4, 2):
        for i in range(noise.shape[1]):
            noise[k, i], noise[k + 1, i] = box_muller(f32(words[k, i]), f32(words[k + 1, i]))
