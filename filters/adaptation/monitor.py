"""A divergence monitor: is a batch to the warm posterior as batches were so far? On alarm, believe less.

Two numbers are read off a batch by what is believed before it, means over its rows' weights:

    cost            -ln p(y | x), the predictive log-likelihood: whether its labels surprise
    strangeness     before any label: whether its entropy H[p(y | x)] is high, and its inputs x are far out

Cost is blind in a new world of which a network says that it does not know, as labels surprise it little there;
strangeness is to new labels of old inputs. Inputs are as far out as Σ_j -ln(share of batches whose input j is as high,
or as low if that are fewer); strangeness is -ln of the share that is as far out, plus that of the entropy, as Fisher
adds them. Only ranks count, so that no input's tail or unit does. Among n calm batches and the new one, the share that
has as much of a number is a conformal p-value u, in calm at least uniform whatever the distribution (Vovk, Gammerman &
Shafer 2005). On each is bet (Volkhonskiy et al. 2017, arXiv 1706.03415) by a beta density, the ratio of the likelihoods
of u if nearly all batches are as odd as few were before, and if not; bets make a Shiryaev-Roberts statistic

    e_t = u^(a - 1) (1 - u)^(b - 1) / B(a, b),     R_t = (1 + R_t-1) e_t

As E[e_t | past] <= 1 in calm, R_t - t cannot rise in the mean, nor can the mean of both R less t: alarms when that is
`run` come once in `run` batches at most (Shin, Ramdas & Rinaldo 2022, arXiv 2203.03532). That is exact of either R by
itself, if batches are exchangeable and all are kept; of both, each of which ranks another number, of the last `WINDOW`,
and of a posterior that goes on learning, it is nearly so.

Hysteresis: an alarm ends after so many batches in a row whose excess (`streaming`) is as in calm: labels come again as
they are expected to, however strange the inputs. In fog, cost and strangeness may stay above those in clear air for
ever; so they are then collected anew. Excesses may too: after `LONGEST` batches the alarm ends all the same, and what
is then is the calm to compare with.
Strangeness, the bet, and the way back are derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Generic, NamedTuple

import numpy as np
import torch
from scipy.special import beta
from scipy.stats import rankdata

from filters.adaptation.power_prior import power_prior
from filters.adaptation.streaming import look
from filters.adaptation.wrapped import Wrapped
from filters.posterior.spec import Data, State
from filters.spec import Array

BET = 0.5, 8.0  # a, b
AGAIN = 1.0 / 32.0  # share of calm batches with so high an excess: one below is calm again
LONGEST = 20  # batches of an alarm
WINDOW = 400  # calm batches that are compared with


class Signs(NamedTuple):
    """Of a batch: cost and entropy, nats a unit of weight, and the mean of each input."""

    cost: float
    entropy: float
    inputs: tuple[float, ...] = ()


class Watch(NamedTuple):
    """Signs and excesses of the last calm batches; R of cost and strangeness; alarm, its batches, calm ones on end."""

    signs: tuple[Signs, ...] = ()
    excesses: tuple[float, ...] = ()
    statistics: tuple[float, ...] = (0.0, 0.0)
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

    def update(self, watch: Watch, signs: Signs, excess: float) -> Watch:
        """Take in a batch; what is not finite is as odd as can be."""
        signs = Signs(finite(signs.cost), finite(signs.entropy), tuple(map(finite, signs.inputs)))
        if watch.alarm:
            return self.recovering(watch, finite(excess))
        odds = map(bet, p_values(watch.signs, signs))
        statistics = tuple((1.0 + before) * e for before, e in zip(watch.statistics, odds, strict=True))
        if fmean(statistics) >= self.run:
            return watch._replace(statistics=statistics, alarm=True, rung=1, calm=0)
        kept, excesses = (*watch.signs, signs)[-WINDOW:], (*watch.excesses, finite(excess))[-WINDOW:]
        return Watch(kept, excesses, statistics)

    def recovering(self, watch: Watch, excess: float) -> Watch:
        """During an alarm."""
        least = max(AGAIN, 1.0 / (len(watch.excesses) + 1))  # the highest of all is none, however few they are
        calm = watch.calm + 1 if tails(np.array([*watch.excesses, excess]))[-1] > least else 0
        if calm >= self.calm:
            return Watch(excesses=watch.excesses)
        return watch._replace(rung=watch.rung + 1, calm=calm) if watch.rung < LONGEST else Watch()


def finite(value: float) -> float:
    """Itself, or as high as can be."""
    return value if np.isfinite(value) else float("inf")


def tails(values: Array) -> Array:
    """Of each of n values, or of each in its column, the share that is as high or higher."""
    return np.asarray(rankdata(-values, method="max", axis=0)) / len(values)


def p_values(calm: tuple[Signs, ...], new: Signs) -> Array:
    """Of so high a cost and of so much strangeness (2,), among so many more calm batches; never too small."""
    cost, entropy, inputs = (np.array(column) for column in zip(*calm, new, strict=True))
    far_out = -np.log(np.minimum(tails(inputs), tails(-inputs))).sum(axis=1)
    strangeness = -np.log(tails(np.column_stack([entropy, far_out]))).sum(axis=1)
    return tails(np.column_stack([cost, strangeness]))[-1]


def bet(p: float) -> float:
    """e."""
    a, b = BET
    return float(p ** (a - 1.0) * (1.0 - p) ** (b - 1.0) / beta(a, b))


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
        weight = weight / weight.sum()
        cost, entropy, log_p = (float(weight @ part.double().cpu()) for part in seen)
        signs = Signs(-log_p, entropy, tuple((weight @ data.x.double()).tolist()))
        watch = self.monitor.update(state.watch, signs, cost - entropy)
        prior = power_prior(state.posterior, self.reference, self.low if watch.alarm else self.rate)
        trusted = data._replace(weight=data.weight * (self.learning if watch.alarm else 1.0))
        return Watched(self.engine.update(prior, trusted, rng), watch)
