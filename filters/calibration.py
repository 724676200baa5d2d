"""Recalibration of P(barrier): a non-decreasing map of log-odds L = ln p - ln(1 - p), fitted on whole encounters.

    temperature    a L                              Guo et al. 2017, ICML
    platt          a L + b                          Platt 1999
    beta           a ln p - b ln(1 - p) + c         Kull, Silva Filho & Flach 2017, AISTATS; a, b >= 0
    isotonic       logit x̂(L)                       Zadrozny & Elkan 2002, KDD; x̂ pools adjacent violators

The likelihood is maximised under a weak prior, for separable encounters run away: parameters ~ N(the identity's, 3²);
isotonic counts one more encounter, half barrier and half bag, at either end: a block of k barriers in n there becomes
(k + ½) / (n + 1), never 0 or 1, and x̂ still rises. Between blocks x̂ is linear in L: nothing speaks for where to jump.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit, log_expit, logit

from filters.spec import BAG, BARRIER, Array

IDENTITY = {"temperature": (1.0,), "platt": (1.0, 0.0), "beta": (1.0, 1.0, 0.0)}  # slopes are 1, offsets are 0
LEAST = {"temperature": 10, "platt": 20, "beta": 30, "isotonic": 100}  # encounters: ten a parameter
FURTHEST = 700.0  # nats, near the least p that a float holds: an infinity times a slope of 0 would be NaN


@dataclass(frozen=True)
class Calibrator:
    """A recalibration; `parameters` are a, b, c as far as there are, or x̂ at the `knots` (rising L) of an isotonic."""

    kind: str
    parameters: tuple[float, ...]
    knots: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        x, n = np.array(self.parameters), len(IDENTITY.get(self.kind, self.knots))
        fits = self.kind in LEAST and len(x) == n > 0 and np.isfinite(x).all()
        if not fits or ((np.diff([x, self.knots]) if self.kind == "isotonic" else x[: max(1, n - 1)]) < 0.0).any():
            raise ValueError(f"found {self}, expected the finite parameters of a map that rises: fit it anew")

    def __call__(self, log_odds: ArrayLike) -> Array:
        """Recalibrated log-odds (...) of log-odds (...), which may be infinite; NaN stays NaN."""
        L = np.clip(np.asarray(log_odds, float), -FURTHEST, FURTHEST)
        if self.kind == "isotonic":
            return np.asarray(logit(np.interp(L, self.knots, self.parameters)))
        return np.asarray(_features(self.kind, L) @ np.array(self.parameters))

    def probability(self, p: ArrayLike) -> Array:
        """Recalibrated P(barrier) (...) of P(barrier) (...); near 1 keep to log-odds, which do not saturate."""
        return np.asarray(expit(self(logit(p))))

    def log_probs(self, log_probs: Array) -> Array:
        """Recalibrated ln P (..., 2) of ln P of (bag, barrier), as in `Belief.log_probs`."""
        L = self(log_probs[..., BARRIER] - log_probs[..., BAG])
        return np.stack([log_expit(-L), log_expit(L)], axis=-1)

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds; floats come back exactly."""
        return asdict(self)

    @classmethod
    def of_dict(cls, data: dict[str, Any]) -> Calibrator:
        """The calibrator that `to_dict` wrote."""
        return cls(data["kind"], tuple(data["parameters"]), tuple(data["knots"]))


def fit(kind: str, log_odds: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None, prior: float = 1) -> Calibrator:
    """The `kind` of map that makes the truths of these encounters likeliest.

    Parameters
    ----------
    kind : str
        "temperature", "platt", "beta" or "isotonic".
    log_odds, y : array (encounters,)
        The belief's log-odds of a barrier, one an encounter, and the truth, 1 a barrier.
    weight : array (encounters,), optional
        What each counts for, 1 where not given.
    prior : float
        How often the module's prior counts; 0 is maximum likelihood, which need not exist.

    Raises
    ------
    ValueError
        If an input is not finite, of another length or of one class, if fewer than `LEAST` count, or none is likeliest.
    """
    L, truth, w = (np.asarray(v, float) for v in (log_odds, y, np.ones(np.shape(y)) if weight is None else weight))
    _check(kind, L, truth, w)
    if kind == "isotonic":
        return _isotonic(L[w > 0], truth[w > 0], w[w > 0], prior)
    return Calibrator(kind, _logistic(_features(kind, L), truth, w, prior / 3.0**2, np.array(IDENTITY[kind])))


def _features(kind: str, L: Array) -> Array:
    """What the parameters multiply (..., parameters): all but the constant rise with L."""
    slopes = [log_expit(L), -log_expit(-L)] if kind == "beta" else [L]
    return np.stack(slopes if kind == "temperature" else [*slopes, np.ones_like(L)], axis=-1)


def _logistic(X: Array, y: Array, w: Array, ridge: float, centre: Array) -> tuple[float, ...]:
    """θ of least loss, slopes >= 0: it is convex, so that the first face to meet Kuhn & Tucker's conditions has it."""
    for face in product(*[(True, False) if c else (True,) for c in centre]):
        theta, gradient = _newton(X, y, w / w.sum(), ridge / w.sum(), centre, free := np.array(face))
        if (theta[centre > 0.0] >= 0.0).all() and (gradient[~free] >= -1e-9).all():
            return tuple(theta.tolist())
    raise ValueError(f"found no likeliest map of {len(y)} encounters, expected overlapping classes: set prior=1")


def _newton(X: Array, y: Array, w: Array, ridge: float, centre: Array, free: NDArray[np.bool_]) -> tuple[Array, Array]:
    """θ of least Σ w (-ln σ(±X θ)) + ½ ridge |θ - centre|², 0 where not free, and the gradient; NaN if it runs away."""

    def loss(theta: Array) -> float:
        return float(0.5 * ridge * np.sum((theta - centre) ** 2) - w @ log_expit((2.0 * y - 1.0) * (X @ theta)))

    theta, step = np.where(free, centre, 0.0), np.zeros(len(centre))
    for _ in range(100):  # ten or so are taken
        gradient = X.T @ (w * (expit(X @ theta) - y)) + ridge * (theta - centre)
        curvature = (X.T * (w * expit(X @ theta) * expit(-X @ theta))) @ X + ridge * np.eye(len(theta))
        step[free] = np.linalg.lstsq(curvature[np.ix_(free, free)], -gradient[free])[0]
        while loss(theta + step) > loss(theta) + 1e-13:  # but for rounding
            step *= 0.5
        theta = theta + step
        if np.abs(step).max() <= 1e-7 * (1.0 + np.abs(theta).max()):  # squared by this step
            return theta, gradient
    return np.full(len(theta), np.nan), gradient


def _isotonic(L: Array, y: Array, w: Array, prior: float) -> Calibrator:
    """Least squares of y on L that rises, equal L as one, `prior` encounters more at either end; knots end blocks."""
    knots, index = np.unique(L, return_inverse=True)
    ends = prior * np.isin(knots, knots[[0, -1]])
    total = np.bincount(index, w) + ends
    x = isotonic_regression((np.bincount(index, w * y) + 0.5 * ends) / total, weights=total).x
    kept = np.diff(x, prepend=-1.0, append=2.0) > 0.0
    kept = kept[:-1] | kept[1:]
    return Calibrator("isotonic", tuple(x[kept].tolist()), tuple(knots[kept].tolist()))


def _check(kind: str, L: Array, y: Array, w: Array) -> None:
    if kind not in LEAST:
        raise ValueError(f"found the kind {kind!r}, expected one of {list(LEAST)}: choose one")
    if L.ndim != 1 or L.shape != y.shape or L.shape != w.shape:
        raise ValueError(f"found shapes {L.shape}, {y.shape}, {w.shape}, expected one length: one row an encounter")
    if not (np.isfinite(L).all() and np.isin(y, (0.0, 1.0)).all() and np.isfinite(w).all() and (w >= 0.0).all()):
        raise ValueError("found NaN, infinity, a truth not 0 or 1 or a weight < 0, expected none: limit the log-odds")
    if (n := np.count_nonzero(w)) < LEAST[kind] or len(np.unique(y[w > 0])) < 2:
        raise ValueError(f"found {n} encounters that count, expected {LEAST[kind]} or more of both classes: drive on")
