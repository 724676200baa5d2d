"""Resampling: (weights, uniforms) -> ancestors, and the effective sample size that triggers it.

Points (j + u_j) / n, j = 0 .. n-1, fall on the cumulated weights: systematic resampling has one u for all, stratified
one for each (Kitagawa 1996, J. Comput. Graph. Stat. 5:1). Weights of either precision need not be normalised; their
sums are double, so that both precisions of the same weights have the same ancestors. Weights with no positive finite
sum count as equal.

The kernels have no search: each particle's number of points below its edge says where the next one's copies begin, and
the largest beginner up to a place is who stands there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from filters.jit import jit
from filters.spec import Array

Indices = NDArray[np.uint32]


def systematic(weights: NDArray[np.floating], uniform: float, n: int | None = None) -> NDArray[np.int64]:
    """Ancestors (n,) by one uniform in [0, 1): particle i is drawn floor or ceil of n w_i times.

    n is the number of weights unless given.
    """
    n = len(weights) if n is None else n
    edges, begins = edges_of(weights, n), np.empty(len(weights), np.uint32)
    systematic_begins(edges, float(uniform), begins)
    return spread(begins, n).astype(np.int64)


def stratified(weights: NDArray[np.floating], uniforms: Array) -> NDArray[np.int64]:
    """Ancestors, one for each of the uniforms (n,) in [0, 1): particle i is drawn n w_i times but for less than 2."""
    n = len(uniforms)
    edges, begins = edges_of(weights, n), np.empty(len(weights), np.uint32)
    stratified_begins(edges, np.asarray(uniforms, float), begins)
    return spread(begins, n).astype(np.int64)


def ess(log_weights: Array) -> float:
    """Effective sample size (Σ w)² / Σ w² of unnormalised log-weights; 0 if none is finite."""
    top = log_weights.max()
    if not np.isfinite(top):
        return 0.0
    w = np.exp(log_weights - top)
    return float(w.sum() ** 2 / (w @ w))


def edges_of(weights: NDArray[np.floating], n: int) -> Array:
    """Cumulated weights (m,), the last of them n."""
    edges = np.empty(len(weights))
    cumulate(np.ascontiguousarray(weights), 0.0, edges)
    scale_edges(edges, n)
    return edges


@jit
def cumulate(weights: NDArray[np.floating], before: float, edges: Array) -> float:
    """Write before + w_0 + ... + w_i; returns the last. By fours, as each addition waits for the one before it."""
    whole = weights.size - weights.size % 4
    for i in range(0, whole, 4):
        a = np.float64(weights[i])
        b = a + weights[i + 1]
        c = b + weights[i + 2]
        edges[i], edges[i + 1], edges[i + 2] = before + a, before + b, before + c
        before += c + weights[i + 3]
        edges[i + 3] = before
    for i in range(whole, weights.size):
        before += weights[i]
        edges[i] = before
    return before


@jit
def scale_edges(edges: Array, n: int) -> None:
    """Bring the last edge to n, and all others into [0, n]."""
    last, m = edges[-1], edges.size
    usable = 0.0 < last < np.inf
    scale = n / last * (1.0 + 1e-15)  # a whisker more, so that no point is above the last edge
    for i in range(m):
        edges[i] = min(max(edges[i] * scale, 0.0), float(n))
    if not usable:
        for i in range(m):
            edges[i] = (i + 1) * (n / m)
        edges[-1] = n


@jit
def systematic_begins(edges: Array, uniform: float, begins: Indices) -> None:
    """How many of the points j + u are below each edge: one of each whole stratum, and perhaps that of the last."""
    for i in range(edges.size):
        whole = np.int32(edges[i])
        begins[i] = whole + np.int32(uniform < edges[i] - whole)


@jit
def stratified_begins(edges: Array, uniforms: Array, begins: Indices) -> None:
    """How many of the points j + u_j are below each edge."""
    for i in range(edges.size):
        whole = np.int32(edges[i])
        begins[i] = whole + np.int32(uniforms[min(int(whole), uniforms.size - 1)] < edges[i] - whole)


@jit
def spread(begins: Indices, n: int) -> Indices:
    """Ancestors (n,) from where each particle's successor begins; by fours, as in `cumulate`."""
    ancestors = np.zeros(n + 4, np.uint32)
    for i in range(begins.size - 1):
        ancestors[begins[i]] = i + 1  # who has no copies is written over by the next
    top = ancestors[0]
    for j in range(0, n, 4):
        a = ancestors[j]
        b = max(a, ancestors[j + 1])
        c = max(b, ancestors[j + 2])
        ancestors[j], ancestors[j + 1], ancestors[j + 2] = max(top, a), max(top, b), max(top, c)
        top = max(top, max(c, ancestors[j + 3]))
        ancestors[j + 3] = top
    return ancestors[:n]
