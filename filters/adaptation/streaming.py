"""Streaming update of a posterior over weights, batch by batch, with bounded influence of each batch.

    q⁺ = argmin_q  w E_q[-Σ_i weight_i ln p(y_i | x_i, θ)] + KL(q ‖ q⁻)
    w = c / (c + e),  e = max(0, G - H),  G = -Σ_i weight_i E_q⁻[ln p(y_i | x_i, θ)],  H = Σ_i weight_i H[p(y | x_i)]

q⁻ is the posterior of all batches before, G what the labels cost by it and H the entropy of its predictions: what they
were expected to cost. An excess e in nats takes the place of r²/2 in the inverse multiquadratic weight 1 / (1 + r²/c²)
of the weighted-observation likelihood filter (Duran-Martin et al. 2024, arXiv 2405.05646, section 3). The power w of a
likelihood is a generalised posterior's learning rate (Bissiri, Holmes & Walker 2016, arXiv 1306.6430).

The bound is derived here. q⁻ itself reaches w G in that minimum, and no q costs less than w G*, G* the least that any
weights can: so KL(q⁺ ‖ q⁻) <= w (G - G*), which is a mean of c and H - G* where e > 0, and at most H - G* where not:

    KL(q⁺ ‖ q⁻) <= max(c, H - G*)

No label can raise it; for K classes G* = 0 and H <= ln K Σ weight, and no input can. It holds for the minimum itself,
among any q that q⁻ is one of: exactly for one linear layer of the Kalman network, up to the descent's error for others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntFlag
from math import e as euler
from math import pi
from typing import Any, Generic, NamedTuple

import numpy as np
import torch
from torch import Tensor

from filters.posterior.descent import Schedule
from filters.posterior.ivon import Ivon
from filters.posterior.kalman_network import KalmanNetwork, KnownNoise
from filters.posterior.likelihoods import Bernoulli, Categorical
from filters.posterior.spec import DRAWS, Data, Engine, State, in_memory

BOUND = 2.0  # c, nats
WORTH = 3.0  # independent rows, of all frames of an encounter: they share one object, one fog and one label
MEMORY = 64  # batches back that a copy is known by
ONLINE = Schedule(epochs=10, batch=2048, rate=0.001, warm=0.0)  # of an encounter, from what was learnt before


class Flag(IntFlag):
    """What is to be said of a batch; 0 if nothing."""

    ANOMALOUS = 1  # so surprising that it counts less than half
    DUPLICATE = 2  # the same as one of the last `MEMORY`: not learnt again
    CONSTANT = 4  # several rows of the same inputs: together they count as one
    INCOMPLETE = 8  # rows with values that are not finite, or with labels that are no class, were left out
    EMPTY = 16  # no row was left
    DIVERGED = 32  # the update failed, and the posterior is as it was


class Info(NamedTuple):
    """Of one update: the power w of the batch's likelihood, its excess e and ln p(y | x) (nats), rows left out."""

    weight: float
    excess: float
    log_predictive: float
    left_out: int
    flags: Flag


class Look(NamedTuple):
    """Of each row (n,), nats: E_q[-ln p(y | x, θ)], H[p(y | x)], and ln p(y | x)."""

    cost: Tensor
    entropy: Tensor
    log_predictive: Tensor


class Stream(NamedTuple, Generic[State]):
    """The posterior of all batches so far, and digests of the last ones, newest last."""

    posterior: State
    recent: tuple[bytes, ...]


@dataclass(frozen=True)
class Streaming(Generic[State]):
    """Any engine fed one labelled encounter at a time; `bound` is c, the nats that surprise alone can teach."""

    engine: Engine[State]
    bound: float = BOUND

    def __post_init__(self) -> None:
        if not 0.0 < self.bound < float("inf"):
            raise ValueError(f"found a bound of {self.bound:g} nats, expected more than 0 and finite")

    def init(self, posterior: State) -> Stream[State]:
        """Before the first batch, from what was learnt of other data, or a prior."""
        return Stream(posterior, ())

    def update(self, state: Stream[State], data: Data, rng: torch.Generator) -> tuple[Stream[State], Info]:
        """The posterior with one more batch, e.g. all frames of an encounter once its label is known.

        Whatever the batch holds, the state stays finite; what was amiss is told by the flags.

        Raises
        ------
        ValueError
            In one line, if the inputs have another width than the network's.
        """
        self.engine.network.check(data.x)
        usable = finite_rows(self.engine, data)
        left_out = int((~usable).sum())
        flags = Flag.INCOMPLETE if left_out else Flag(0)
        data = Data(*(part[usable] for part in data))
        if not len(data.y) or not data.weight.any():
            return state, Info(0.0, 0.0, 0.0, left_out, flags | Flag.EMPTY)
        digest = digest_of(data)
        if len(data.y) > 1 and (data.x == data.x[:1]).all():
            data, flags = data._replace(weight=data.weight / len(data.y)), flags | Flag.CONSTANT
        weight, excess, log_predictive = self.weigh(state.posterior, data, rng)
        if digest in state.recent:
            return state, Info(0.0, excess, log_predictive, left_out, flags | Flag.DUPLICATE)
        flags |= Flag.ANOMALOUS if weight < 0.5 else Flag(0)
        if not weight:
            return state, Info(0.0, excess, log_predictive, left_out, flags)
        after = updated(self.engine, state.posterior, data._replace(weight=weight * data.weight), rng)
        if after is None:
            return state, Info(0.0, excess, log_predictive, left_out, flags | Flag.DIVERGED)
        recent = (*state.recent, digest)[-MEMORY:]
        return Stream(after, recent), Info(weight, excess, log_predictive, left_out, flags)

    def weigh(self, prior: State, data: Data, rng: torch.Generator) -> tuple[float, float, float]:
        """w, e and Σ weight ln p(y | x), by what is believed before the labels are learnt."""
        seen = look(self.engine, prior, data, rng)
        weight = data.weight.double()
        cost, entropy, log_p = (float(weight @ part.double().cpu()) for part in seen)
        excess = max(0.0, cost - entropy) if np.isfinite(cost - entropy) else float("inf")
        return self.bound / (self.bound + excess), excess, log_p


def encounter(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, worth: float = WORTH) -> Data:
    """All frames of one, its label known: their weights, e.g. metres driven, scaled to `worth`; nothing is checked.

    Learnt one after the other as if its frames were independent, each encounter is believed too much, and what was
    known before is lost.
    """
    data = Data(*(torch.as_tensor(np.asarray(part), dtype=torch.float32) for part in (x, y, np.ones(len(y)))))
    share = data.weight if weight is None else torch.as_tensor(np.asarray(weight), dtype=torch.float32)
    return data._replace(weight=worth * share / share[torch.isfinite(share) & (share > 0.0)].sum().clamp_min(1e-12))


def online(engine: Any, schedule: Schedule = ONLINE) -> Any:
    """The engine with a schedule for small updates of what was learnt; in closed form it needs none."""
    if not hasattr(engine, "schedule"):
        return engine
    if isinstance(engine, Ivon):
        schedule = replace(schedule, rate=0.1)  # of Newton's steps, which have the right length by themselves
    return replace(engine, schedule=schedule)


def look(engine: Any, state: Any, data: Data, rng: torch.Generator, draws: int = DRAWS) -> Look:
    """What the rows cost by what is believed; in closed form where an engine has one, else by draws."""
    if hasattr(engine, "look"):
        return engine.look(state, data, rng, draws)
    if isinstance(engine, KalmanNetwork) and isinstance(engine.likelihood, KnownNoise):
        mean, variance = engine.moments(state, data.x)
        return of_normal(data.y.double() - mean, variance, engine.likelihood.variance)
    with torch.no_grad(), in_memory():
        f = engine.outputs(state, data.x, rng, draws)
        each = engine.likelihood.log_prob(f, data.y.to(f.device))
        mixed = torch.logsumexp(each, dim=0) - np.log(len(each))
        return Look(-each.mean(dim=0), engine.likelihood.predict(f).entropy, mixed)


def of_normal(error: Tensor, variance: Tensor, noise: float) -> Look:
    """Of y ~ N(f, noise), f known to a variance; `error` is y - E f."""
    whole = variance + noise
    cost = 0.5 * ((error**2 + variance) / noise + np.log(2.0 * pi * noise))
    entropy = 0.5 * torch.log(2.0 * pi * euler * whole)
    return Look(cost, entropy, -0.5 * (error**2 / whole + torch.log(2.0 * pi * whole)))


def finite_rows(engine: Any, data: Data) -> Tensor:
    """Which rows (n,) can be learnt from."""
    usable = torch.isfinite(data.x).all(dim=1) & torch.isfinite(data.y)
    usable &= torch.isfinite(data.weight) & (data.weight >= 0.0)
    if isinstance(engine.likelihood, Bernoulli | Categorical):
        classes = max(2, engine.likelihood.outputs)
        usable &= torch.isin(data.y, torch.arange(classes).to(data.y))
    return usable


def digest_of(data: Data) -> bytes:
    """What a copy of the batch is known by."""
    digest = hashlib.blake2b(digest_size=16)
    for part in data:
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


def updated(engine: Engine[State], prior: State, data: Data, rng: torch.Generator) -> State | None:
    """The engine's posterior; None if it has none that is finite, of weight or of what it says."""
    try:
        after = engine.update(prior, data, rng)
    except (FloatingPointError, np.linalg.LinAlgError, torch.linalg.LinAlgError):
        return None
    return after if finite(after) else None


def finite(state: Any) -> bool:
    """Whether all tensors of a state are, however deep they lie."""
    if isinstance(state, Tensor):
        return bool(torch.isfinite(state).all())
    return all(finite(part) for part in state) if isinstance(state, tuple) else True
