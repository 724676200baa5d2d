"""A small decision transformer (Chen et al. 2021, arXiv 2106.01345) of encounters; it is trained in `pretraining.py`.

An encounter is read as the tokens R, o_1, a_1, R, o_2, a_2, ..., R, o_T: at every look the return-to-go that is asked
for, the observation, and the action in effect until the next. Nothing is paid before the end, so that one R is asked
throughout. The last token's outputs, one for each action, say how likely that action is to return at least R:

    p(cost of a <= -R | o_1 ... o_T, R) = Φ(λ f_a),  λ² = π/8

The original is asked for a high return and imitates whoever had it, by luck too, where the world is not deterministic
(Paster et al. 2022, arXiv 2205.15967). Here R does not depend on what came of it: all returns between which the loss
table leaves a choice are asked, and answers make up the expected cost, c_k the table's entries in order,

    E[cost of a] = c_0 + Σ_k (c_(k+1) - c_k) (1 - p(cost of a <= c_k)).

One block, one head, layers normalised before use; only the last token asks, so that it sees no later one:

    x_j = E u_j,  z_j = norm x_j,  s = softmax_j((Q z_n)'(K z_j) / √d),  y = x_n + O Σ_j s_j V z_j
    f = H norm(y + D relu(U norm y))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from filters.spec import Array

LAYERS = ("embed", "query", "key", "value", "mix", "up", "down", "head")  # E, Q, K, V, O, U, D, H
KINDS = 3  # of tokens: return, observation, action
LIMIT = 5.0  # standard deviations of an observation, beyond which it is taken for that
TINY = 1e-5  # added to a token's variance before its root is divided by


class Encounter(NamedTuple):
    """Looks (T, F), oldest first; actions in effect between them (T - 1,); the loss table (A, 2) and which of its
    columns came true, known once ego has passed.
    """

    looks: Array
    actions: np.ndarray
    losses: Array
    outcome: int


class Asked(NamedTuple):
    """The costs asked for (L,), in order; which answers the table leaves open (L, A) and what the others are; by how
    much each counts in the expected cost (L,).
    """

    costs: Array
    open: np.ndarray
    known: Array
    gaps: Array


@dataclass(frozen=True)
class DecisionTransformer:
    """Sizes: features of a look, looks at most, width of a token, units of the hidden layer, actions."""

    features: int
    looks: int = 5
    width: int = 16
    hidden: int = 32
    actions: int = 4

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Of each of `LAYERS`: outputs, and inputs with a last one that is 1."""
        d, token = self.width, 1 + self.features + self.actions + KINDS + self.looks
        return (d, token + 1), *[(d, d + 1)] * 4, (self.hidden, d + 1), (d, self.hidden + 1), (self.actions, d + 1)

    def start(self, rng: torch.Generator) -> list[Tensor]:
        """Weights to train from; a layer that adds to a token begins small."""
        scale = {"mix": 0.3, "down": 0.3}
        sizes = zip(LAYERS, self.shapes, strict=True)
        return [scale.get(name, 1.0) * torch.randn(s, generator=rng) / (s[1] - 1) ** 0.5 for name, s in sizes]


class Pretrained(NamedTuple):
    """Weights by `LAYERS`, and mean and deviation (F,) of the looks that they were learnt from."""

    weights: tuple[Array, ...]
    mean: Array
    deviation: Array


def asked(losses: Array) -> Asked:
    """What to ask of a loss table (A, 2)."""
    costs = np.sort(losses.ravel())
    gaps, costs = np.diff(costs), costs[:-1]
    known = (losses.max(axis=1) <= costs[:, None]).astype(float)
    is_open = (losses.min(axis=1) <= costs[:, None]) & (known == 0.0) & (gaps > 0.0)[:, None]
    return Asked(costs, is_open, known, gaps)


def expected_costs(found: Array, questions: Asked) -> Array:
    """E[cost] (A,) of answers p (L, A); what the table tells is not asked."""
    p = np.where(questions.open, found, questions.known)
    return questions.costs[0] + questions.gaps @ (1.0 - p)


def answers(encounter: Encounter) -> Array:
    """Which actions would have cost no more than was asked (L, A), in hindsight."""
    return (encounter.losses[:, int(encounter.outcome)] <= asked(encounter.losses).costs[:, None]).astype(float)


def tokens(network: DecisionTransformer, looks: Array, actions: np.ndarray, costs: Array) -> Array:
    """Inputs (L, 3 T - 1, ...) of T standardised looks, one sequence for each cost asked for; places count back.

    Raises
    ------
    ValueError
        In one line, if there are no looks, more or wider ones than the network reads, not as many actions but one, or
        some that it does not know.
    """
    steps = len(looks)
    if not 0 < steps <= network.looks or looks.shape[1] != network.features or len(actions) != steps - 1:
        found = f"looks {looks.shape} and {len(actions)} actions"
        raise ValueError(f"found {found}, expected 1 to {network.looks} looks of {network.features}, one action fewer")
    if not np.isin(actions, np.arange(network.actions)).all():
        raise ValueError(f"found actions {np.asarray(actions).tolist()}, expected 0 to {network.actions - 1}")
    u = np.zeros((len(costs), steps, KINDS, network.shapes[0][1] - 1))
    kinds = 1 + network.features + network.actions
    u[:, :, 0, 0] = 0.5 * np.log1p(np.maximum(costs, 0.0))[:, None]
    u[:, :, 1, 1 : 1 + network.features] = looks
    u[:, np.arange(steps - 1), 2, 1 + network.features + np.asarray(actions, int)] = 1.0
    u[:, :, np.arange(KINDS), kinds + np.arange(KINDS)] = 1.0
    u[:, np.arange(steps), :, kinds + KINDS + np.arange(steps)[::-1]] = 1.0
    return u.reshape(len(costs), KINDS * steps, -1)[:, :-1]


def standardised(pretrained: Pretrained, looks: Array) -> Array:
    """Standard scores, limited; 0 where a look holds no number."""
    scores = (looks - pretrained.mean) / pretrained.deviation
    return np.clip(np.nan_to_num(scores, nan=0.0, posinf=LIMIT, neginf=-LIMIT), -LIMIT, LIMIT)


def outputs(weights: list[Tensor], u: Tensor) -> Tensor:
    """f (..., A) of tokens (..., n, in) by certain weights."""
    return linear(weights[-1], top(weights, u))


def top(weights: list[Tensor], u: Tensor) -> Tensor:
    """What the head is given (..., d)."""
    embed, query, key, value, mix, up, down, _ = weights
    x = linear(embed, u)
    z = normed(x)
    scores = linear(key, z) @ linear(query, z[..., -1:, :]).mT / z.shape[-1] ** 0.5
    context = (torch.softmax(scores, dim=-2) * linear(value, z)).sum(dim=-2)
    y = x[..., -1, :] + linear(mix, context)
    return normed(y + linear(down, torch.relu(linear(up, normed(y)))))


def linear(w: Tensor, x: Tensor) -> Tensor:
    """W (x, 1)."""
    return x @ w[:, :-1].T + w[:, -1]


def normed(x: Tensor) -> Tensor:
    """Each token less its mean, by its deviation."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=TINY)
