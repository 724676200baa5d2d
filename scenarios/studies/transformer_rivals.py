"""Who else may adapt a pre-trained decision transformer, encounter by encounter: what `transformer_shift.py` compares.

All begin at the same weights, answer by the same probit, and learn by the same misfit. `answers` come before `learn`.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
import torch
from scipy.special import log_ndtr
from torch import Tensor

from filters.posterior.decision_transformer import (
    DecisionTransformer,
    Encounter,
    Pretrained,
    answers,
    asked,
    outputs,
    standardised,
    tokens,
    top,
)
from filters.posterior.kalman_network import PROBIT
from filters.posterior.kalman_transformer import KalmanTransformer, probability
from filters.posterior.pretraining import Rows, misfit, rows_of
from filters.spec import Array

BATCH = 16  # encounters of one step of Adam
NEWTON = 4  # steps to the last layer's mode


class Learner(Protocol):
    """`floats` is how many numbers it keeps from one encounter to the next."""

    floats: int

    def answers(self, encounter: Encounter) -> Array: ...

    def learn(self, encounter: Encounter) -> None: ...


class Kalman:
    """`filters.posterior.kalman_transformer`."""

    def __init__(self, engine: KalmanTransformer, rng: np.random.Generator) -> None:
        self.engine, self.rng, self.state = engine, rng, engine.init()
        self.floats = sum(part.size for part in (*self.state.means, *self.state.covariances))

    def answers(self, encounter: Encounter) -> Array:
        looks, actions, losses, _ = encounter
        return self.engine.forecast(self.state, looks, actions, losses, self.rng).answers

    def learn(self, encounter: Encounter) -> None:
        self.state, _ = self.engine.update(self.state, encounter, self.rng)


class Frozen:
    """The pre-trained network."""

    def __init__(self, network: DecisionTransformer, pretrained: Pretrained) -> None:
        self.network, self.pretrained = network, pretrained
        self.weights = [torch.tensor(w, dtype=torch.float32, requires_grad=True) for w in pretrained.weights]
        self.floats = sum(w.numel() for w in self.weights)

    def inputs(self, encounter: Encounter) -> Tensor:
        looks = standardised(self.pretrained, encounter.looks)
        u = tokens(self.network, looks, encounter.actions, asked(encounter.losses).costs)
        return torch.as_tensor(u, dtype=torch.float32)

    def answers(self, encounter: Encounter) -> Array:
        with torch.no_grad():
            return torch.special.ndtr(PROBIT * outputs(self.weights, self.inputs(encounter))).double().numpy()

    def learn(self, encounter: Encounter) -> None: ...

    def rows(self, encounters: list[Encounter]) -> Rows:
        return rows_of(self.network, self.pretrained, encounters)


class Sgd(Frozen):
    """One step on each encounter."""

    def __init__(self, network: DecisionTransformer, pretrained: Pretrained, rate: float) -> None:
        super().__init__(network, pretrained)
        self.optimiser: torch.optim.Optimizer = torch.optim.SGD(self.weights, lr=rate)

    def learn(self, encounter: Encounter) -> None:
        self.step([encounter])

    def step(self, encounters: list[Encounter]) -> None:
        self.optimiser.zero_grad()
        misfit(self.weights, self.rows(encounters)).mean().backward()
        self.optimiser.step()


class Adam(Sgd):
    """Steps on each encounter and some that are kept, of as many as fit into `floats`."""

    def __init__(
        self,
        network: DecisionTransformer,
        pretrained: Pretrained,
        rate: float,
        steps: int,
        floats: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(network, pretrained, rate)
        self.optimiser, self.steps, self.rng = torch.optim.Adam(self.weights, lr=rate), steps, rng
        each = network.looks * network.features + network.looks - 1 + 2 * network.actions + 1
        self.kept: deque[Encounter] = deque(maxlen=(floats - 3 * self.floats) // each)  # Adam keeps two of each weight
        self.floats = floats

    def learn(self, encounter: Encounter) -> None:
        some = min(BATCH - 1, len(self.kept))
        for _ in range(self.steps):
            chosen = self.rng.choice(len(self.kept), some, replace=False) if some else []
            self.step([encounter, *(self.kept[k] for k in chosen)])
        self.kept.append(encounter)


class LastLayer(Frozen):
    """Laplace's approximation of the head alone: each output's mode by Newton's method, its whole covariance there.

    The same prior and forgetting as the Kalman transformer's: C ← λ C + (1 - λ) C_0 before each encounter.
    """

    def __init__(self, network: DecisionTransformer, pretrained: Pretrained, spread: float, keep: float) -> None:
        super().__init__(network, pretrained)
        (out, fan), self.keep = network.shapes[-1], keep
        self.prior = spread**2 / (fan - 1) * np.eye(fan)
        self.head, self.covariance = np.array(pretrained.weights[-1]), np.tile(self.prior, (out, 1, 1))
        self.floats += self.covariance.size

    def features(self, encounter: Encounter) -> Array:
        with torch.no_grad():
            z = top(self.weights, self.inputs(encounter)).double().numpy()
        return np.concatenate([z, np.ones((len(z), 1))], axis=1)

    def answers(self, encounter: Encounter) -> Array:
        z = self.features(encounter)
        return probability(z @ self.head.T, np.einsum("li,aij,lj->la", z, self.covariance, z))

    def learn(self, encounter: Encounter) -> None:
        z, questions, y = self.features(encounter), asked(encounter.losses), answers(encounter)
        self.covariance = self.keep * self.covariance + (1.0 - self.keep) * self.prior
        for a in range(len(self.head)):
            rows, weight = questions.open[:, a], 1.0 / max(questions.open.sum(), 1)
            if rows.any():
                self.head[a], self.covariance[a] = mode(
                    self.head[a], self.covariance[a], z[rows], 2.0 * y[rows, a] - 1.0, weight
                )


def mode(mean: Array, covariance: Array, z: Array, sign: Array, weight: float) -> tuple[Array, Array]:
    """Of N(mean, covariance) Π Φ(λ s_r z_r'w)^weight: where it is highest, and its inverse curvature there."""
    precision, w = np.linalg.inv(covariance), mean
    for _ in range(NEWTON):
        u = PROBIT * sign * (z @ w)
        h = np.exp(-0.5 * u**2 - log_ndtr(u)) / (2.0 * np.pi) ** 0.5
        score, curvature = weight * PROBIT * sign * h, weight * PROBIT**2 * h * (h + u)
        there = precision + (z.T * curvature) @ z
        w = w + np.linalg.solve(there, z.T @ score - precision @ (w - mean))
    return w, np.linalg.inv(there)
