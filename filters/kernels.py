"""Parts of kernel methods: bandwidths, the low-rank factor of a Gram matrix, how much a regression is smoothed.

The kernel is k(a, b) = exp(-scale |a - b|²), scale = 1 / 2 h².
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.jit import jit
from filters.spec import Array

EPSILONS = np.geomspace(1e-7, 1e-1, 25)  # that the leave-one-out tries


class LowRank(NamedTuple):
    """A Gram matrix of n points as V V' and the coordinates of any other point in it.

    `factor` V (n, r); `pivots` (r, d), the points it is built on; `inverse` (r, r), so that
    v(y) = inverse k(pivots, y) gives k(points, y) ≈ V v(y), exactly so for V V' and at the pivots.
    """

    factor: Array
    pivots: Array
    inverse: Array
    scale: float


def squares(points: Array) -> Array:
    """Squared distances (n, n) between points (n, d)."""
    norm = (points**2).sum(axis=1)
    return np.maximum(norm[:, None] + norm - 2.0 * points @ points.T, 0.0)


def median_square(points: Array) -> float:
    """Median over pairs of squared distances between points (n, d), 1 if that is nothing: a bandwidth must not be."""
    if len(points) < 2:
        return 1.0
    median = float(np.median(squares(points)[np.triu_indices(len(points), 1)]))
    return median if median > 1e-12 else 1.0


def incomplete_cholesky(points: Array, scale: float, tolerance: float, rank: int) -> tuple[Array, np.ndarray]:
    """Pivoted V (n, r) with V V' = G but for a remainder whose diagonal is below the tolerance, and the pivots (r,).

    Only the pivots' columns of G are ever made: O(n r (r + d)). Source: Fine and Scheinberg 2001, JMLR 2:243, Fig. 2.
    """
    rest = np.ones(len(points))
    factor = np.zeros((len(points), min(rank, len(points))))
    pivots: list[int] = []
    for k in range(factor.shape[1]):
        j = int(np.argmax(rest))
        if rest[j] < tolerance:
            break
        column = np.exp(-scale * ((points - points[j]) ** 2).sum(axis=1))
        factor[:, k] = (column - factor[:, :k] @ factor[j, :k]) / np.sqrt(rest[j])
        rest = rest - factor[:, k] ** 2
        rest[[*pivots, j]] = 0.0
        pivots.append(j)
    return np.ascontiguousarray(factor[:, : len(pivots)]), np.array(pivots)


def low_rank(points: Array, scale: float, tolerance: float, rank: int) -> LowRank:
    """The low-rank form of the Gram matrix of points (n, d): O(n r²)."""
    factor, pivots = incomplete_cholesky(points, scale, tolerance, rank)
    return LowRank(factor, points[pivots], np.linalg.inv(factor[pivots]), scale)


@jit
def coordinates(kernel: LowRank, y: Array) -> Array:
    """v(y) (r,) of a point (d,)."""
    likeness = np.empty(len(kernel.pivots))
    for k in range(len(likeness)):
        likeness[k] = np.exp(-kernel.scale * ((kernel.pivots[k] - y) ** 2).sum())
    return np.dot(kernel.inverse, likeness)


def leave_one_out(inputs: Array, targets: Array) -> float:
    """The epsilon of `EPSILONS` that predicts each pair best from the others.

    The embedding of a target given its input, φ'(x) = Σ_i β_i φ'_i with β = (G + n eps I)⁻¹ k(x), left without pair i
    misses it by e_i = (φ'_i - (H φ')_i) / (1 - H_ii), H = G (G + n eps I)⁻¹; minimised is Σ |e_i|² in the targets'
    feature space. With G = U U' and U'U = Q diag(λ) Q', H_ii = Σ_k (U Q)_ik² / (λ_k + n eps).

    Parameters
    ----------
    inputs, targets : Array
        Factors U (n, r) of the Gram matrix of inputs and (n, q) of that of targets.
    """
    eigenvalues, vectors = np.linalg.eigh(inputs.T @ inputs)
    turned = inputs @ vectors
    aligned = turned.T @ targets

    def loss(epsilon: float) -> float:
        shrink = 1.0 / (np.maximum(eigenvalues, 0.0) + len(inputs) * epsilon)
        residual = targets - turned @ (shrink[:, None] * aligned)
        return float(((residual**2).sum(axis=1) / (1.0 - turned**2 @ shrink) ** 2).sum())

    return float(min(EPSILONS, key=loss))
