"""A decision transformer of uncertain weights, forward in moments and back in slopes.

Forward, each part's moments follow from those before it by `filters.posterior.moments`, and by
`filters.posterior.kalman_network` for the rectifier. Of output f_r and a neuron's weights w_a, H_ra = Cov(f_r, w_a)'
Cov(w_a)^-1 is Σ_j (∂f_r/∂y_ja) (z̄_j, 1) over the tokens j that go through it, by the chain rule in which each part's
slope is that of regression on what it is given: P(a > 0) of a rectifier, E[J] of the softmax, J of a normalisation.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from filters.posterior import moments
from filters.posterior.decision_transformer import LAYERS
from filters.posterior.kalman_network import relu
from filters.posterior.moments import Moments, Weights, with_one
from filters.spec import Array

Layer: TypeAlias = tuple[Array, Array]
NONE = 1e-300  # the variance of a certain unit, which the rectifier's moments divide by


class Attention(NamedTuple):
    """What the last token asks, what all tokens are asked for and answer, by what weights, and what comes of it."""

    query: Moments
    keys: Moments
    values: Moments
    weights: Weights
    context: Moments


class Pass(NamedTuple):
    """What a forward pass leaves for the way back: what each layer was given, and slopes of what is not linear.

    Given are u to the embedding, z to query, keys and values, context to the mix, middle to up, hidden to down and top
    to the head.
    """

    u: Array
    z: Moments
    slope_z: Array
    attention: Attention
    middle: Moments
    slope_middle: Array
    hidden: Moments
    slope_hidden: Array
    top: Moments
    slope_top: Array
    f: Moments


def forward(means: tuple[Array, ...], covariances: tuple[Array, ...], u: Array, rng: np.random.Generator) -> Pass:
    """Of tokens (L, n, in); `rng` draws scores that are too uncertain."""
    layer = dict(zip(LAYERS, zip(means, covariances, strict=True), strict=True))
    sequences, n, width = u.shape
    x = moments.linear(*layer["embed"], Moments(u, np.zeros((sequences, width, n, n))))
    z, slope_z = moments.norm(x)
    attention = attend(layer["query"], layer["key"], layer["value"], z, rng)
    y = moments.add(x.last(), moments.linear(*layer["mix"], attention.context))
    middle, slope_middle = moments.norm(y)
    hidden, slope_hidden = rectified(moments.linear(*layer["up"], middle))
    top, slope_top = moments.norm(moments.add(y, moments.linear(*layer["down"], hidden)))
    f = moments.linear(*layer["head"], top)
    return Pass(u, z, slope_z, attention, middle, slope_middle, hidden, slope_hidden, top, slope_top, f)


def attend(query: Layer, key: Layer, value: Layer, z: Moments, rng: np.random.Generator) -> Attention:
    """The last token to all."""
    asks, keys, values = (moments.linear(*w, x) for w, x in ((query, z.last()), (key, z), (value, z)))
    weights = moments.softmax(*moments.scores(asks, keys), rng)
    return Attention(asks, keys, values, weights, moments.context(weights, values))


def rectified(a: Moments) -> tuple[Moments, Array]:
    """One token through the rectifier, and its slopes (L, units)."""
    mean, variance, slope = relu(a.mean[:, 0], np.maximum(a.variance[:, 0], NONE))
    return Moments(mean[:, None], variance[..., None, None]), slope


def gradients(means: tuple[Array, ...], at: Pass, rows: tuple[np.ndarray, ...]) -> list[Array]:
    """H of each of `LAYERS` (out, R, in + 1), for R rows (sequence, action): by the chain rule from the top.

    A name stands for the slopes (R, ...) of f in what that layer makes, or that token.
    """
    weight = dict(zip(LAYERS, (w[:, :-1] for w in means), strict=True))
    of, action = rows
    head = np.eye(len(weight["head"]))[action]
    down = through(head @ weight["head"], at.slope_top[of, 0])
    up = (down @ weight["down"]) * at.slope_hidden[of]
    mix = down + through(up @ weight["up"], at.slope_middle[of, 0])
    query, keys, value, z = through_attention(weight, at.attention, of, mix @ weight["mix"])
    x = through(z, at.slope_z[of])
    x[:, -1] += mix
    tokens, last = with_one(at.z.mean[of]), with_one(at.z.mean[of, -1])
    shares = at.attention.weights.mean[of]
    return [
        np.einsum("rja,rji->ari", x, with_one(at.u[of]), optimize=True),
        outer(query, last),
        outer(at.attention.query.mean[of, 0], through(keys, tokens)),
        outer(value, through(shares, tokens)),
        outer(mix, with_one(at.attention.context.mean[of, 0])),
        outer(up, with_one(at.middle.mean[of, 0])),
        outer(down, with_one(at.hidden.mean[of, 0])),
        outer(head, with_one(at.top.mean[of, 0])),
    ]


def through_attention(
    weight: dict[str, Array], at: Attention, of: np.ndarray, context: Array
) -> tuple[Array, Array, Array, Array]:
    """Slopes in the query, in each key over the query (R, n), in the value that all make, and in the tokens z."""
    values, shares = at.values.mean[of], at.weights.mean[of]
    of_shares = (values @ context[..., None])[..., 0]
    keys = through(of_shares, at.weights.slope[of]) / at.keys.mean.shape[-1] ** 0.5
    query = through(keys, at.keys.mean[of])
    z = shares[..., None] * (context @ weight["value"])[:, None]
    z += keys[..., None] * (at.query.mean[of, 0] @ weight["key"])[:, None]
    z[:, -1] += query @ weight["query"]
    return query, keys, context, z


def through(h: Array, J: Array) -> Array:
    """h'J of each row: (..., in) of (..., out) and (..., out, in)."""
    return (h[..., None, :] @ J)[..., 0, :]


def outer(h: Array, z: Array) -> Array:
    """(out, R, in) of (R, out) and (R, in)."""
    return h.T[..., None] * z
