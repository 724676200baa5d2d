"""Interacting multiple models: one class's modes and how they mix, in log space (Blom and Bar-Shalom 1988).

    ln p(j) = logsumexp_i [ln p(i) + ln switch_ij],   weights of i in j: exp(ln p(i) + ln switch_ij - ln p(j))

No probability is kept from zero by a floor, and none underflows: a mode a thousand nats behind comes back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.belief import mix
from filters.spec import Array, Gaussian


class Bank(NamedTuple):
    """Modes of one class: log-probabilities (m,), means (m, d), covariances (m, d, d)."""

    log_probs: Array
    mean: Array
    covariance: Array

    @property
    def modes(self) -> list[Gaussian]:
        """Its Gaussians."""
        return [Gaussian(*g) for g in zip(self.mean, self.covariance, strict=True)]


def bank_of(log_probs: Array, modes: list[Gaussian]) -> Bank:
    """A bank of Gaussians."""
    return Bank(log_probs, np.stack([g.mean for g in modes]), np.stack([g.covariance for g in modes]))


def interact(bank: Bank, switch: Array) -> Bank:
    """IMM mixing: mode j starts from the mixture of modes i with weights p(i) switch[i, j] / p(j).

    A mode that none switches to keeps its Gaussian at ln p = -inf.
    """
    with np.errstate(divide="ignore"):
        joint = bank.log_probs[:, None] + np.log(switch)
    arriving = np.logaddexp.reduce(joint, axis=0)
    modes = bank.modes
    mixed = [
        mix(np.exp(joint[:, j] - arriving[j]), modes) if np.isfinite(arriving[j]) else modes[j]
        for j in range(len(arriving))
    ]
    return bank_of(arriving, mixed)


def moved(bank: Bank, F: Array, Q: Array) -> Bank:
    """Every mode predicted, F x and F P F' + Q; F and Q are (m, d, d), or (1, d, d) for all alike."""
    mean = np.squeeze(F @ bank.mean[:, :, None], axis=2)
    return bank._replace(mean=mean, covariance=F @ bank.covariance @ F.transpose(0, 2, 1) + Q)


def reweigh(bank: Bank, log_likelihood: Array) -> tuple[Bank, float]:
    """Bayes' rule over the modes: the bank, and ln p(z) = logsumexp (ln p(i) + ln p(z | i))."""
    joint = bank.log_probs + log_likelihood
    log_evidence = float(np.logaddexp.reduce(joint))
    if not np.isfinite(log_evidence):
        return bank, log_evidence
    return bank._replace(log_probs=joint - log_evidence), log_evidence
