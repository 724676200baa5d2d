"""Posteriors that are a set of draws (S, P), and of data that are kept: picks, moments and their KL, and more data."""

from __future__ import annotations

import torch
from torch import Tensor

from filters.posterior.normal import Normal, kl
from filters.posterior.spec import Data, beside


def pick(draws: Tensor, rng: torch.Generator, count: int) -> Tensor:
    """So many of them (count, P) in random order, each as often as any other, but for one."""
    order = torch.randperm(len(draws), generator=rng)
    return draws[order[torch.arange(count) % len(draws)].to(draws.device)]


def moments(draws: Tensor) -> Normal:
    """The normal of diagonal covariance that has their means and deviations."""
    if len(draws) < 2:
        raise ValueError(f"found {len(draws)} draw, expected 2 or more")
    return Normal(draws.mean(dim=0), draws.std(dim=0), draws.new_zeros(draws.shape[1], 0))


def kl_of_moments(draws: Tensor, others: Tensor) -> float:
    """KL(draws ‖ others), nats, as if both were normal of diagonal covariance."""
    return float(kl(moments(draws), moments(others.to(draws.device))))


def nothing(features: int, like: Tensor) -> Data:
    """No rows."""
    none = like.new_zeros(0)
    return Data(none.view(0, features), none, none)


def joined(old: Data, new: Data) -> Data:
    """The rows of both, where the old ones are."""
    return Data(*(torch.cat(parts) for parts in zip(old, beside(new, old.x), strict=True)))
