"""Kalman Bayesian transformer: a pre-trained decision transformer that learns from every encounter, in closed form.

A reconstruction: of Jing, Wright, Moura & Nakahira (arXiv 2509.10695) only abstract and introduction could be read.
Theirs are pre-trained weights as the prior, moments through the network, and Kalman updates; the rest is derived here.

The weights of each neuron a are a Gaussian N(μ_a, C_a), first about the pre-trained ones. `filters.posterior.moments`
brings means and variances through the network, to outputs f_r of every return asked and action, r for row. What is
seen of them, once ego has passed, is whether that action would have returned that much: which it would follows from
the loss table and from what stood there. All those rows are told by one event, so each weighs w_r = 1 / their number.

With g_r, c_r the first two derivatives of ln p(answer) in the mean of f_r (`filters.posterior.kalman_network`), a row
is a number seen with noise of the precision W_r = w_r c_r / (1 - c_r Var f_r). By the network's slopes each neuron has
a row vector H_ra = Cov(f_r, w_a)' C_a^-1, summed over the tokens that go through it; P is what is known together:

    S_rs = Σ_a H_ra C_a H_sa',  P = W (1 + S W)^-1,  α = P (g / c) = (1 + W S)^-1 (w g / (1 - c Var f))
    μ_a += C_a H_a' α,  C_a -= C_a H_a' P H_a C_a

For one linear layer and known noise that is Kalman's filter exactly. Before each update covariances go the way
C ← λ C + (1 - λ) C_0, so that the world may move and no covariance exceeds the prior's.

Memory does not grow. Forgotten is how neurons depend on one another, and what was seen but for the moments left of it.

An output has two variances here: Var f, brought forward, by which is predicted and g, c are taken, and S_rr, of slopes,
by which is gained. In one linear layer they are the same. Features are taken as independent from one another, so that
neither is that of drawn networks. Of twenty encounters, 6,000 networks each: least, median and most of all open rows:

    prior about     spread   Var f / drawn        S_rr / Var f         E f less drawn, drawn deviations
    random weights  .1       .52, 1.12, 2.36      .36, .83, 1.91       -.13 to .08
                    .5       .86, .92, 1.58       .25, .55, .74        -.07 to .07
    trained ones    .1       .17, .56, 2.80       .24, .95, 11.2       -.27 to .33
                    .5       .47, .54, 2.08       .19, 1.23, 2.32      -.19 to .23

At the spread of .4 that learns best on encounters, scores are so uncertain that nearly all softmaxes are drawn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr, ndtr

from filters.posterior.decision_transformer import (
    Asked,
    DecisionTransformer,
    Encounter,
    Pretrained,
    answers,
    asked,
    expected_costs,
    standardised,
    tokens,
)
from filters.posterior.kalman_network import FLOOR, PROBIT, KnownNoise, evidence
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.transformer_pass import forward, gradients
from filters.spec import Array

SURPRISE = 2.0  # nats: an event of less than one in seven weighs less, by what it surprises beyond
LEAST = 1e-300  # where nothing is uncertain
MEMORY = 64  # encounters back that a copy is known by
RECENT, STRAIN = 0.1, 0.35  # the share that an encounter has in the mean, and nats beyond which that is no chance


class Flag(IntEnum):
    """How an update went. Whatever it was, the belief is finite."""

    OK = 0
    ASTRAY = 1  # the last labels cost more nats than the belief itself expected: they are wrong, or the world moved
    SURPRISED = 2  # the event was believed to be rarer than exp(-SURPRISE), and weighed less
    FILLED = 3  # a look held no number somewhere: taken for the mean of all looks
    REPEATED = 4  # the looks are those of one of the last `MEMORY` learnt from: the belief is as it was
    REFUSED = 5  # losses or outcome were no such, or the result not finite: the update was not applied


class Belief(NamedTuple):
    """Means (out, in + 1) and covariances (out, in + 1, in + 1) by `LAYERS`; digests of the looks learnt from last,
    newest last; by how many nats the last ones cost more than expected, a mean that forgets as `RECENT` says.
    """

    means: tuple[Array, ...]
    covariances: tuple[Array, ...]
    recent: tuple[bytes, ...]
    strain: float


class Info(NamedTuple):
    """Of an update: nats lost on the event by the belief before, its weight, share of softmaxes drawn, how it went."""

    nats: float
    weight: float
    drawn: float
    flag: Flag


class Forecast(NamedTuple):
    """Expected cost of each action (A,); answers p (L, A), those of the table's own included."""

    costs: Array
    answers: Array


@dataclass(frozen=True, eq=False)
class KalmanTransformer:
    """The engine.

    Parameters
    ----------
    network : DecisionTransformer
    pretrained : Pretrained
        The prior's means.
    spread : float
        Of the prior: deviation spread / √fan-in of every weight about the pre-trained one.
    keep : float
        λ, of an encounter; 1 forgets nothing.
    """

    network: DecisionTransformer
    pretrained: Pretrained
    spread: float = 0.4
    keep: float = 0.99

    def variances(self) -> list[float]:
        """Of the prior of each layer's weights."""
        return [self.spread**2 / (fan - 1) for _, fan in self.network.shapes]

    def init(self) -> Belief:
        """The pre-trained weights, by the prior's covariances."""
        shapes = zip(self.network.shapes, self.variances(), strict=True)
        covariances = tuple(np.tile(v * np.eye(fan), (out, 1, 1)) for (out, fan), v in shapes)
        return Belief(tuple(self.pretrained.weights), covariances, (), 0.0)

    def forecast(
        self, state: Belief, looks: Array, actions: np.ndarray, losses: Array, rng: np.random.Generator
    ) -> Forecast:
        """What each action would cost after these looks (T, F) and actions (T - 1,), by a loss table (A, 2).

        Raises
        ------
        ValueError
            In one line, if looks, actions or losses are not of the network's sizes.
        """
        questions, u = self.read(looks, actions, losses)
        f = forward(state.means, state.covariances, u, rng).f
        p = probability(f.mean[:, 0], f.variance[:, 0])
        return Forecast(expected_costs(p, questions), np.where(questions.open, p, questions.known))

    def update(self, state: Belief, encounter: Encounter, rng: np.random.Generator) -> tuple[Belief, Info]:
        """The posterior after an encounter whose outcome is known.

        Raises
        ------
        ValueError
            As `forecast` does.
        """
        questions, u = self.read(*encounter[:3])
        if not (np.isfinite(encounter.losses).all() and encounter.outcome in (0, 1)):
            return state, Info(np.nan, 0.0, 0.0, Flag.REFUSED)
        later, rows = self.relaxed(state), np.nonzero(questions.open)
        at = forward(later.means, later.covariances, u, rng)
        mean, variance, y = at.f.mean[:, 0][rows], at.f.variance[:, 0][rows], answers(encounter)[rows]
        nats, expected = lost(mean, variance, y)
        drawn, digest = float(at.attention.weights.drawn.mean()), digest_of(encounter.looks)
        if digest in state.recent:
            return state, Info(nats, 0.0, drawn, Flag.REPEATED)
        later = later._replace(strain=state.strain + RECENT * (nats - expected - state.strain))
        told = Info(nats, min(1.0, SURPRISE / max(nats, SURPRISE)), drawn, flag_of(encounter.looks, nats, later.strain))
        if not len(y):
            return later, told
        W, pull = precisions(Bernoulli(), mean, variance, y, told.weight / len(y))
        learnt = learn(later, gradients(later.means, at, rows), W, pull)
        if learnt is None:
            return state, told._replace(weight=0.0, flag=Flag.REFUSED)
        return learnt._replace(recent=(*state.recent, digest)[-MEMORY:]), told

    def read(self, looks: Array, actions: np.ndarray, losses: Array) -> tuple[Asked, Array]:
        """What is asked, and the tokens."""
        if losses.shape != (self.network.actions, 2):
            raise ValueError(f"found a loss table {losses.shape}, expected {(self.network.actions, 2)}")
        questions = asked(losses)
        return questions, tokens(self.network, standardised(self.pretrained, looks), actions, questions.costs)

    def relaxed(self, state: Belief) -> Belief:
        """One encounter later: C ← λ C + (1 - λ) C_0."""
        parts = zip(state.covariances, self.variances(), strict=True)
        grown = ((1.0 - self.keep) * v * np.eye(C.shape[-1]) + self.keep * C for C, v in parts)
        return state._replace(covariances=tuple(grown))


def flag_of(looks: Array, nats: float, strain: float) -> Flag:
    """What to say of an encounter that is learnt."""
    if not np.isfinite(looks).all():
        return Flag.FILLED
    if nats > SURPRISE:
        return Flag.SURPRISED
    return Flag.ASTRAY if strain > STRAIN else Flag.OK


def digest_of(looks: Array) -> bytes:
    """What a copy of them is known by."""
    return hashlib.blake2b(np.asarray(looks, float).tobytes(), digest_size=16).digest()


def lost(mean: Array, variance: Array, y: Array) -> tuple[float, float]:
    """Nats lost on answers y (R,), a mean, and what the belief expected it to be."""
    if not len(y):
        return 0.0, 0.0
    u = scaled(mean, variance)
    yes, no = log_ndtr(u), log_ndtr(-u)
    expected = np.exp(yes) * yes + np.exp(no) * no
    return -float(np.where(y > 0.5, yes, no).mean()), -float(expected.mean())


def scaled(mean: Array, variance: Array) -> Array:
    """λ E f / √(1 + λ² Var f)."""
    return PROBIT * mean / np.sqrt(1.0 + PROBIT**2 * variance)


def probability(mean: Array, variance: Array) -> Array:
    """E Φ(λ f)."""
    return ndtr(scaled(mean, variance))


def precisions(p: Bernoulli | KnownNoise, mean: Array, variance: Array, y: Array, weight: float) -> tuple[Array, Array]:
    """W, and w g / (1 - c Var f), of rows (R,)."""
    pairs = [evidence(p, m, v, one) for m, v, one in zip(mean[:, None], variance[:, None], y, strict=True)]
    g, c = np.array(pairs)[:, :, 0].T
    left = weight / np.maximum(1.0 - c * variance, FLOOR)
    return left * c, left * g


def learn(state: Belief, H: list[Array], W: Array, pull: Array) -> Belief | None:
    """Means and covariances by rows seen with precisions W (R,) and pulls W (y - E f) (R,); None if no finite ones."""
    gains = [h @ C for h, C in zip(H, state.covariances, strict=True)]
    S = sum(np.einsum("ari,asi->rs", b, h, optimize=True) for b, h in zip(gains, H, strict=True))
    W = np.minimum(W, 1.0 / (FLOOR * np.diag(S) + LEAST))  # no row becomes better known than float64 can tell
    root, one = np.sqrt(W), np.eye(len(W))
    try:
        alpha = np.linalg.solve(one + W[:, None] * S, pull)
        inner = np.linalg.cholesky(one + root[:, None] * S * root)
        parts = [np.linalg.solve(inner, root[:, None] * b) for b in gains]
    except np.linalg.LinAlgError:
        return None
    means = tuple(m + np.einsum("ari,r->ai", b, alpha) for m, b in zip(state.means, gains, strict=True))
    covariances = tuple(C - t.swapaxes(1, 2) @ t for C, t in zip(state.covariances, parts, strict=True))
    finite = all(np.isfinite(part).all() for part in (*means, *covariances))
    return state._replace(means=means, covariances=covariances) if finite else None
