"""Learning debt: what it costs to go on with a deployed posterior q_0, and when to deploy the streaming q_t instead.

The name is of Katz 2026 (arXiv 2603.25480, retraining as approximate Bayesian inference), of which only the abstract
could be read: every equation here is derived. One step is one encounter, whose label y is told after it. Both
posteriors say p(barrier) at its decision, p_t of q_(t-1) and p_0 of q_0. Of a false alarm that costs C_fa and a miss
C_miss it is right to brake from τ = C_fa / (C_fa + C_miss) on, and

    information debt   KL(q_t ‖ q_0)
    decision debt      D_t = Σ r_t,   r_t = (C_fa + C_miss) |p_t - τ| 1[p_0 and p_t lie on different sides of τ]
    evidence           L_t = Σ ln p_t(y_t) / p_0(y_t)

r_t is what acting by q_0 is expected to cost more where q_t is believed. To retrain costs K in the same units. Whoever
does so when D_t >= K is within rounding of the best period T = √(2K/δ) where r_t grows as δt, and where it jumps at
some time pays at most 2 K and the rest of a step, where one who knew would pay K. But debt is only as good as q_t: the
labels must agree. With the prior odds that q_0 is stale they make its probability σ(logit π_0 + L_t), and to retrain
gains R a step over the horizon H that a new deployment serves, so that it pays from

    L_t >= logit(K / RH) - logit π_0,   never if K >= RH,

    R = (D_t - max r) / t

being the rate at which debt has come up since the deployment, less the largest: of N equal ones at random times, the
last of which makes retraining due, (N - 1) / t is unbiased, and one alone tells of no rate. Where r_t grows with t, R
is half of the present rate. Where q_0 is right, exp L_t is a martingale of mean 1 that is never negative, as p_t knows
no y_t yet: by Ville's inequality L_t >= ln 1/α ever comes about with probability α at most. So L must have reached
ln 1/α, now or before, and be as high as pays now.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, log
from typing import Any, NamedTuple

CLIP = 1e-6  # probabilities nearer to 0 or 1 are taken to be so far off: one label is no proof


@dataclass(frozen=True)
class Stakes:
    """C_fa and C_miss: what it costs to brake for a bag, and not to brake for a barrier, more than the right action."""

    false_alarm: float
    miss: float

    def __post_init__(self) -> None:
        if not (0.0 < self.false_alarm < inf and 0.0 < self.miss < inf):
            raise ValueError(f"found {self}, expected finite costs above 0")

    @property
    def threshold(self) -> float:
        """τ, from which it is right to brake."""
        return self.false_alarm / (self.false_alarm + self.miss)

    def regret(self, believed: float, deployed: float) -> float:
        """r of acting by the deployed p where another is believed."""
        apart = (believed >= self.threshold) != (deployed >= self.threshold)
        return (self.false_alarm + self.miss) * abs(believed - self.threshold) * apart

    def loss(self, p: float, label: int) -> float:
        """What acting by p cost where the label turned out to be so."""
        brakes = p >= self.threshold
        return self.false_alarm * (brakes and not label) + self.miss * (label and not brakes)


class State(NamedTuple):
    """Since the deployment: steps, D, L and its highest value so far, and the largest r."""

    steps: int
    debt: float
    evidence: float
    highest: float
    largest: float


class Account(NamedTuple):
    """One step's: r_t, D_t, L_t and the highest so far, R, from which L_t it pays (inf: never), whether to retrain, and
    whether the step counted.
    """

    regret: float
    debt: float
    evidence: float
    highest: float
    rate: float
    pays_from: float
    retrain: bool
    counted: bool


@dataclass(frozen=True)
class RetrainPolicy:
    """When to retrain; who does so begins with `init` again.

    Parameters
    ----------
    cost : float
        K, of retraining, in the units of the stakes.
    horizon : float
        H, steps that what is newly deployed will serve.
    prior_staleness : float
        π_0, probability that the deployed posterior is or becomes stale.
    alpha : float
        Most that a false alarm may have as its probability, for ever.
    """

    cost: float
    horizon: float
    prior_staleness: float = 0.5
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not (0.0 < self.cost < inf and self.horizon > 0.0):
            raise ValueError(f"found cost {self.cost:g} and horizon {self.horizon:g}, expected both above 0")
        for name in ("prior_staleness", "alpha"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"found {name} {getattr(self, name):g}, expected a probability between 0 and 1")

    def init(self) -> State:
        """Of a fresh deployment."""
        return State(0, 0.0, 0.0, 0.0, 0.0)

    def update(
        self,
        state: State,
        stakes: Stakes,
        believed: float,
        deployed: float,
        label: int,
    ) -> tuple[State, Account]:
        """One step.

        Parameters
        ----------
        state : State
            Of the steps before.
        stakes : Stakes
            Of this step's decision.
        believed, deployed : float
            p_t and p_0 of a barrier, both said before the label was known: else `alpha` promises nothing.
        label : int
            1 a barrier. A step of which any of the three is no number in range counts as none and is flagged.
        """
        if not (label in (0, 1) and all(0.0 <= p <= 1.0 for p in (believed, deployed))):
            return state, self.account(state, 0.0, False)
        p, p0 = (min(max(float(p), CLIP), 1.0 - CLIP) for p in (believed, deployed))
        regret = stakes.regret(p, p0)
        ratio = log(p / p0) if label else log((1.0 - p) / (1.0 - p0))
        debt, evidence = state.debt + regret, state.evidence + ratio
        highest, largest = max(state.highest, evidence), max(state.largest, regret)
        state = State(state.steps + 1, debt, evidence, highest, largest)
        return state, self.account(state, regret, True)

    def account(self, state: State, regret: float, counted: bool) -> Account:
        """What a state tells."""
        rate = (state.debt - state.largest) / max(state.steps, 1)
        pays_from = self.pays_from(rate)
        proven = state.highest >= self.proof
        retrain = counted and proven and state.debt >= self.cost and state.evidence >= pays_from
        return Account(regret, state.debt, state.evidence, state.highest, rate, pays_from, retrain, counted)

    @property
    def proof(self) -> float:
        """ln 1/α, nats that must have been reached."""
        return -log(self.alpha)

    def pays_from(self, rate: float) -> float:
        """The L from which it pays where debt comes up at such a rate R."""
        share = self.cost / (rate * self.horizon) if rate > 0.0 else inf
        return log_odds(share) - log_odds(self.prior_staleness) if share < 1.0 else inf


def log_odds(p: float) -> float:
    """ln p / (1 - p), p below 1."""
    return log(p / (1.0 - p)) if p > 0.0 else -inf


def record(policy: RetrainPolicy, account: Account, information: float, models: tuple[str, str]) -> dict[str, Any]:
    """A firing for the audit, ready for JSON: debts, evidence, their thresholds, and hashes of both models.

    The information debt KL(q_t ‖ q_0) is in nats; what is not finite is told as null. The models are the one that was
    deployed and the one that is from now on.
    """
    return {
        "decision_debt": account.debt,
        "debt_threshold": policy.cost,
        "information_debt": information if isfinite(information) else None,
        "evidence": account.evidence,
        "evidence_pays_from": account.pays_from if isfinite(account.pays_from) else None,
        "highest_evidence": account.highest,
        "evidence_threshold": policy.proof,
        "rate": account.rate,
        "horizon": policy.horizon if isfinite(policy.horizon) else None,
        "prior_staleness": policy.prior_staleness,
        "alpha": policy.alpha,
        "deployed_model": models[0],
        "new_model": models[1],
    }
