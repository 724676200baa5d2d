"""Parts of kernel methods: distances, the median heuristic, the low-rank factor of a Gram matrix."""

from __future__ import annotations

import numpy as np

from filters.spec import Array


def squares(points: Array) -> Array:
    """Squared distances (n, n) between points (n, d)."""
    norm = (points**2).sum(axis=1)
    return np.maximum(norm[:, None] + norm - 2.0 * points @ points.T, 0.0)


def median_square(points: Array) -> float:
    """Median over pairs of squared distances between points (n, d), 1 if that is nothing: a bandwidth must not be."""
    median = float(np.median(squares(points)[np.triu_indices(len(points), 1)]))
    return median if median > 1e-12 else 1.0


def incomplete_cholesky(gram: Array, tolerance: float, rank: int) -> tuple[Array, np.ndarray]:
    """Pivoted V (n, r) with V V' = gram but for a remainder whose diagonal is below the tolerance, and the pivots (r,).

    V V' agrees with gram in the pivots' rows and columns, so v(y) = V[pivots]⁻¹ k(pivots, y) is exact for V V'.
    """
    rest = np.diag(gram).copy()
    factor = np.zeros((len(gram), rank))
    pivots: list[int] = []
    for k in range(min(rank, len(gram))):
        j = int(np.argmax(rest))
        if rest[j] < tolerance:
            break
        factor[:, k] = (gram[:, j] - factor[:, :k] @ factor[j, :k]) / np.sqrt(rest[j])
        rest = rest - factor[:, k] ** 2
        rest[j] = 0.0
        pivots.append(j)
    return factor[:, : len(pivots)], np.array(pivots)
