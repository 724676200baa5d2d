"""A decision transformer's training on logged encounters.

Least misfit: -ln p of each encounter's open answers, their mean, as one event tells them all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
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
)
from filters.posterior.kalman_network import PROBIT

EPOCHS, BATCH, RATE, DECAY = 25, 64, 3e-3, 1e-2


class Rows(NamedTuple):
    """Encounters (N, ...) as what a network is trained on: tokens, answers and their weights, which add up to 1."""

    tokens: Tensor
    answers: Tensor
    weight: Tensor


def rows_of(network: DecisionTransformer, pretrained: Pretrained, encounters: list[Encounter]) -> Rows:
    """Of encounters with equally many looks."""
    questions = [asked(e.losses) for e in encounters]
    u = [
        tokens(network, standardised(pretrained, e.looks), e.actions, q.costs)
        for e, q in zip(encounters, questions, strict=True)
    ]
    weight = [q.open / max(q.open.sum(), 1) for q in questions]
    parts = (u, [answers(e) for e in encounters], weight)
    return Rows(*(torch.as_tensor(np.array(part), dtype=torch.float32) for part in parts))


def misfit(weights: list[Tensor], rows: Rows) -> Tensor:
    """-ln p of each encounter's answers (N,), nats: the mean over the open ones, which are told by one event."""
    sign = 2.0 * rows.answers - 1.0
    return -(rows.weight * torch.special.log_ndtr(PROBIT * sign * outputs(weights, rows.tokens))).sum(dim=(-1, -2))


def pretrain(
    network: DecisionTransformer, encounters: list[Encounter], rng: torch.Generator, epochs: int = EPOCHS
) -> Pretrained:
    """Weights of least misfit, by AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), its rate falling to 0."""
    looks = np.concatenate([e.looks for e in encounters])
    like = Pretrained((), looks.mean(axis=0), looks.std(axis=0) + 1e-3)
    rows = rows_of(network, like, encounters)
    weights = [w.requires_grad_() for w in network.start(rng)]
    steps = epochs * -(-len(encounters) // BATCH)
    adam = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    fall = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 1.0 / steps, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(encounters), generator=rng).split(BATCH):
            adam.zero_grad()
            misfit(weights, Rows(*(part[batch] for part in rows))).mean().backward()
            adam.step()
            fall.step()
    return like._replace(weights=tuple(w.detach().double().numpy() for w in weights))
