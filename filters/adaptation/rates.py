"""How fast to forget, learnt by prediction: rates and fresh starts mixed by predictive likelihood with a fixed share.

Hypothesis k is a posterior q_k that fades at the rate λ_k. Of each batch B its weight learns by Bayes' rule, then gives
a share α to newcomers (Herbster & Warmuth 1998, Machine Learning 32:151, their fixed share; J of them):

    w_k ∝ w_k p_k(B),  ln p_k(B) = Σ_i weight_i ln ∫ p(y_i | x_i, θ) q_k(dθ),  w_k ← (1 - α) w_k,  newcomers α / J each

Newcomers are the likeliest posterior, from now on at each of the other rates, and each reference, to be learnt from
anew at the slowest rate. Those of one rate and origin become one, with the heavier's posterior: a slow rate need not
forget first, it takes over from the fast one, or starts again. The `most` heaviest stay. That newcomers join so is
derived here. Exact special case: one rate 1, one reference, nothing dropped is Bayesian online change-point detection
with hazard α (`changepoint`). Rows count by what is said of each alone, as they are scored: not by what they say of one
another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, log1p
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from filters.adaptation.power_prior import power_prior
from filters.adaptation.streaming import Look, look
from filters.adaptation.wrapped import Wrapped
from filters.posterior.spec import DRAWS, Data, State

RATES = (1.0, 0.9)
SHARE = 1e-3
MOST = 6


class Hypothesis(NamedTuple, Generic[State]):
    """What is believed of the next batch, the rate λ at which it fades, and where it comes from.

    That is a reference's number if above 0; 0 is what was there at first, -t a start from the first reference then.
    """

    posterior: State
    rate: float
    origin: int


class Mixed(NamedTuple, Generic[State]):
    """ln w (K,), float64, and the hypotheses, heaviest first; the references, and after which batch each was last kept;

    how many batches on end one origin has led, and how many there were.
    """

    log_weights: Tensor
    hypotheses: tuple[Hypothesis[State], ...]
    references: tuple[State, ...]
    kept: tuple[int, ...]
    led: int = 0
    age: int = 0

    @property
    def leader(self) -> Hypothesis[State]:
        """The likeliest."""
        return self.hypotheses[0]


@dataclass(frozen=True)
class Rates(Wrapped[State, Mixed[State]]):
    """An engine that mixes rates, slowest first, and fresh starts from the references; posteriors fade to the first.

    It costs up to `most` updates of the engine a batch.
    """

    references: tuple[State, ...]
    rates: tuple[float, ...] = RATES
    share: float = SHARE
    most: int = MOST

    def __post_init__(self) -> None:
        ordered = self.rates == tuple(sorted(self.rates, reverse=True))
        if not self.rates or not ordered or not 0.0 <= self.rates[-1] <= self.rates[0] <= 1.0:
            raise ValueError(f"found rates {self.rates}, expected some from 1 (nothing is forgotten) down to 0")
        if not self.references or not 0.0 < self.share < 1.0 or self.most < 2:
            found = f"{len(self.references)} references, a share of {self.share:g}, {self.most} hypotheses"
            raise ValueError(f"found {found}, expected at least 1, between 0 and 1, at least 2")

    def inner(self, state: Mixed[State]) -> State:
        """The likeliest."""
        return state.leader.posterior

    def init(self, rng: torch.Generator) -> Mixed[State]:
        return self.start(self.references[0])

    def start(self, posterior: State) -> Mixed[State]:
        """From what was learnt before."""
        only = Hypothesis(posterior, self.rates[0], 0)
        none = torch.zeros(1, dtype=torch.float64)
        return Mixed(none, (only,), self.references, (0,) * len(self.references))

    def update(self, state: Mixed[State], data: Data, rng: torch.Generator) -> Mixed[State]:
        seeds = int(torch.randint(2**62, (1,), generator=rng))

        def alike() -> torch.Generator:  # the same draws for all, whose differences alone count
            return torch.Generator().manual_seed(seeds)

        weight = data.weight.double().cpu()
        looks = [look(self.engine, h.posterior, data, alike()) for h in state.hypotheses]
        said = torch.stack([weight @ each.log_predictive.double().cpu() for each in looks])
        weights = torch.log_softmax(state.log_weights + said, dim=0)
        learnt = [h._replace(posterior=self.engine.update(h.posterior, data, alike())) for h in state.hypotheses]
        return self.branched(state, weights, learnt)

    def branched(self, state: Mixed[State], log_weights: Tensor, learnt: list[Hypothesis[State]]) -> Mixed[State]:
        """With newcomers, and faded; the heaviest first."""
        leader, age = learnt[int(log_weights.argmax())], state.age + 1
        fresh = [leader._replace(rate=rate) for rate in self.rates if rate != leader.rate]
        faded = [h._replace(posterior=power_prior(h.posterior, state.references[0], h.rate)) for h in (*learnt, *fresh)]
        faded += [Hypothesis(r, self.rates[0], number or -age) for number, r in enumerate(state.references)]
        newcomers = len(faded) - len(learnt)
        shared = torch.full((newcomers,), log(self.share / newcomers), dtype=torch.float64)
        faded, after = merged(faded, torch.cat([log_weights + log1p(-self.share), shared]))
        order = after.argsort(descending=True, stable=True)[: self.most]
        kept = tuple(faded[k] for k in order)
        led = state.led + 1 if kept[0].origin == state.leader.origin else 1
        log_weights = torch.log_softmax(after[order], dim=0)
        return state._replace(log_weights=log_weights, hypotheses=kept, led=led, age=age)

    def look(self, state: Mixed[State], data: Data, rng: torch.Generator, draws: int = DRAWS) -> Look:
        """Of the mixture; its entropy is the hypotheses' mean, which is no more than its own."""
        each = [look(self.engine, h.posterior, data, rng, draws) for h in state.hypotheses]
        cost, entropy, log_p = (torch.stack(parts).double() for parts in zip(*each, strict=True))
        w = state.log_weights.exp().to(cost)
        return Look(w @ cost, w @ entropy, torch.logsumexp(state.log_weights[:, None].to(cost) + log_p, dim=0))

    def outputs(self, state: Mixed[State], x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.drawn(state, draws, lambda q, count: self.engine.outputs(q, x, rng, count))

    def sample(self, state: Mixed[State], rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.drawn(state, draws, lambda q, count: self.engine.sample(q, rng, count))

    def drawn(self, state: Mixed[State], draws: int, ask: Callable[[State, int], Tensor]) -> Tensor:
        """So many draws, as many of each hypothesis as its weight asks for, to the nearest."""
        edges = (draws * state.log_weights.exp().cumsum(dim=0) / state.log_weights.exp().sum()).round().long().tolist()
        counts = [b - a for a, b in zip([0, *edges], edges, strict=False)]
        pairs = zip(state.hypotheses, counts, strict=True)
        return torch.cat([ask(h.posterior, count) for h, count in pairs if count])


def merged(hypotheses: list[Hypothesis[State]], log_weights: Tensor) -> tuple[list[Hypothesis[State]], Tensor]:
    """Of each rate and origin one, the heaviest, with the weight of all: many that differ little crowd others out."""
    kept: dict[tuple[float, int], Hypothesis[State]] = {}
    weights: dict[tuple[float, int], Tensor] = {}
    for k in log_weights.argsort(descending=True, stable=True).tolist():
        key, weight = (hypotheses[k].rate, hypotheses[k].origin), log_weights[k]
        kept.setdefault(key, hypotheses[k])
        weights[key] = torch.logaddexp(weights[key], weight) if key in weights else weight
    return list(kept.values()), torch.stack(list(weights.values()))
