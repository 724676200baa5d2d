"""A divergence monitor: is a batch as likely by the warm posterior as batches were so far? On alarm, believe less.

The cost of a batch is -Σ weight ln p(y | x) / Σ weight by what is believed before it. Its rank among the n costs of
calm batches gives a conformal p-value u = (1 + #{costs >= its own}) / (n + 1), in calm at least uniform whatever the
costs' distribution (Vovk, Gammerman & Shafer 2005), on which is bet (Volkhonskiy et al. 2017, arXiv 1706.03415)

    e_t = what diverged batches have of the band that u lies in / the band's width,     S_t = max(S_t-1, 0) + ln e_t

the ratio of the likelihoods of u if the posterior has diverged, when nearly all batches cost as much as few did before,
and if not; the bands are `BANDS`. S is Page's cumulative sum; as E[e_t] <= 1 in calm, alarms at S >= ln run come once
in `run` batches at most in the mean (Shin, Ramdas & Rinaldo 2022, arXiv 2203.03532): if costs are exchangeable, which
of a warm posterior that goes on learning is true up to what it learns.

Hysteresis: an alarm ends after so many batches in a row whose excess (`streaming`) is as in calm: the posterior knows
again what it does not know. In fog, costs may stay above those in clear air for ever; so they are then collected anew.
Excesses may too: after `LONGEST` batches the alarm ends all the same, and what is then is the calm to compare with.
The bet, and the way back, are derived here. It is surprise that is watched: where a network says in a new world that it
does not know, labels surprise it little, and the alarm is late.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Generic, NamedTuple

import numpy as np
import torch

from filters.adaptation.power_prior import power_prior
from filters.adaptation.streaming import look
from filters.adaptation.wrapped import Wrapped
from filters.posterior.spec import Data, State

BANDS = ((0.02, 0.3), (0.2, 0.65), (1.0, 0.05))  # upper ends of u, and the diverged batches' shares
AGAIN = 1.0 / 32.0  # share of calm batches with so high an excess: one below is calm again
LONGEST = 20  # batches of an alarm
WINDOW = 400  # calm batches that are compared with


class Watch(NamedTuple):
    """Costs and excesses of the last calm batches, nats a unit of weight; S; alarm, its batches, calm ones in a row."""

    costs: tuple[float, ...] = ()
    excesses: tuple[float, ...] = ()
    statistic: float = 0.0
    alarm: bool = False
    rung: int = 0
    calm: int = 0


@dataclass(frozen=True)
class Monitor:
    """The watch; a false alarm in `run` calm batches at most, in the mean, and back after `calm` calm ones in a row."""

    run: float = 1000.0
    calm: int = 3

    def __post_init__(self) -> None:
        if not self.run > 1.0 or self.calm < 1:
            raise ValueError(f"found {self}, expected a run of more than 1 batch, and 1 calm one or more to come back")

    def update(self, watch: Watch, cost: float, excess: float) -> Watch:
        """Take in a batch; one whose cost is not finite is as unlikely as can be."""
        cost, excess = (value if np.isfinite(value) else float("inf") for value in (cost, excess))
        if watch.alarm:
            return self.recovering(watch, excess)
        statistic = max(watch.statistic, 0.0) + bet(p_value(watch.costs, cost))
        if statistic >= log(self.run):
            return watch._replace(statistic=statistic, alarm=True, rung=1, calm=0)
        costs, excesses = (*watch.costs, cost)[-WINDOW:], (*watch.excesses, excess)[-WINDOW:]
        return Watch(costs, excesses, statistic)

    def recovering(self, watch: Watch, excess: float) -> Watch:
        """During an alarm."""
        calm = watch.calm + 1 if p_value(watch.excesses, excess) > AGAIN else 0
        if calm >= self.calm:
            return Watch(excesses=watch.excesses)
        return watch._replace(rung=watch.rung + 1, calm=calm) if watch.rung < LONGEST else Watch()


def p_value(calm: tuple[float, ...], value: float) -> float:
    """Of a value as high as this among so many more calm ones; never too small."""
    return (1 + sum(other >= value for other in calm)) / (len(calm) + 1)


def bet(p: float) -> float:
    """ln e."""
    low = 0.0
    for high, share in BANDS:
        if p <= high:
            return log(share / (high - low))
        low = high
    raise ValueError(f"found {p:g}, expected a probability")


class Watched(NamedTuple, Generic[State]):
    """The posterior and its watch."""

    posterior: State
    watch: Watch


@dataclass(frozen=True)
class Monitored(Wrapped[State, Watched[State]]):
    """An engine that on alarm forgets and learns less: at each batch λ = `low` towards the reference, then a likelihood
    to the power `learning`, its learning rate (Grünwald & van Ommen 2017, arXiv 1412.3730); in calm λ = `rate`, and 1.
    """

    reference: State
    monitor: Monitor = Monitor()
    rate: float = 1.0
    low: float = 0.97
    learning: float = 0.5

    def __post_init__(self) -> None:
        for rate in (self.rate, self.low):
            power_prior(self.reference, self.reference, rate)
        if not 0.0 < self.learning <= 1.0:
            raise ValueError(f"found a learning rate of {self.learning:g}, expected one above 0, and up to 1")

    def inner(self, state: Watched[State]) -> State:
        return state.posterior

    def init(self, rng: torch.Generator) -> Watched[State]:
        return self.start(self.reference)

    def start(self, posterior: State) -> Watched[State]:
        """From what was learnt before, in calm."""
        return Watched(posterior, Watch())

    def update(self, state: Watched[State], data: Data, rng: torch.Generator) -> Watched[State]:
        """A batch that rings the alarm is already learnt with less weight, from a wider prior."""
        seen, weight = look(self.engine, state.posterior, data, rng), data.weight.double()
        cost, entropy, log_p = (float(weight @ part.double().cpu() / weight.sum()) for part in seen)
        watch = self.monitor.update(state.watch, -log_p, cost - entropy)
        prior = power_prior(state.posterior, self.reference, self.low if watch.alarm else self.rate)
        trusted = data._replace(weight=data.weight * (self.learning if watch.alarm else 1.0))
        return Watched(self.engine.update(prior, trusted, rng), watch)
