"""Hamiltonian Monte Carlo by Pyro, without U-turns (NUTS, Hoffman & Gelman 2014, arXiv 1111.4246).

    U(w) = -Σ_i weight_i ln p(y_i | x_i, w) + ½ Σ (w / s)²

Exact but for the number of draws: what other engines are measured against, up to some 200 weights. The data stay in the
state and the next update draws anew given all of them, so that many updates are as exact as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import split_gelman_rubin
from torch import Tensor

from filters.posterior.draws import joined, kl_of_moments, nothing, pick
from filters.posterior.likelihoods import Likelihood
from filters.posterior.mlp import Mlp
from filters.posterior.spec import DRAWS, Data, check, device_of, in_memory, noise, seeded


class Chains(NamedTuple):
    """Draws of all chains (D, P) one after the other, split R-hat of each weight (P,), and all data so far."""

    draws: Tensor
    r_hat: Tensor
    x: Tensor
    y: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Nuts:
    """The engine; so many draws of each chain are kept, after so many to adapt step and masses."""

    network: Mlp
    likelihood: Likelihood
    chains: int = 4
    warmup: int = 300
    draws: int = 250
    depth: int = 10  # of the tree: at most 2^depth steps a draw
    device: str = "auto"

    def init(self, rng: torch.Generator) -> Chains:
        drawn = self.prior(rng, self.chains * self.draws).to(device_of(self.device))
        return Chains(drawn, torch.ones_like(drawn[0]), *nothing(self.network.sizes[0], drawn))

    def prior(self, rng: torch.Generator, draws: int) -> Tensor:
        """Draws of it (draws, P), on the CPU."""
        scale = self.network.deviations()
        return scale * noise((draws, len(scale)), rng, scale)

    @in_memory()
    def update(self, state: Chains, data: Data, rng: torch.Generator) -> Chains:
        """Chains start from draws of the prior, wider than any posterior, as R-hat wants it."""
        everything = joined(Data(*state[2:]), check(self, data, state.draws))
        starts = self.prior(rng, self.chains)
        with seeded(rng):
            found = torch.stack([self.chain(everything, start) for start in starts])
        return Chains(found.flatten(0, 1).to(state.draws), split_gelman_rubin(found).to(state.r_hat), *everything)

    def chain(self, data: Data, start: Tensor) -> Tensor:
        """Draws (D, P) from there on, on the CPU, whose numbers Pyro then draws; the rows' sum is where they are."""
        # In float64: a step is taken or not by differences of 1 or less between sums over all rows.
        exact = Data(*(part.double() for part in data))
        kernel = NUTS(potential_fn=lambda site: self.potential(site["w"], exact), max_tree_depth=self.depth)
        run = MCMC(kernel, self.draws, self.warmup, {"w": start.double()}, disable_progbar=True)
        run.run()
        return run.get_samples()["w"]

    def potential(self, w: Tensor, data: Data) -> Tensor:
        """U(w) of weights (P,)."""
        fit = self.likelihood.log_prob(self.network.forward(w.to(data.x.device)[None], data.x)[0], data.y)
        return 0.5 * (w / self.network.deviations().to(w)).square().sum() - (data.weight * fit).sum().to(w.device)

    def outputs(self, state: Chains, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.network.forward(self.sample(state, rng, draws), x)

    def sample(self, state: Chains, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return pick(state.draws, rng, draws)

    def kl(self, state: Chains, other: Chains) -> float:
        return kl_of_moments(state.draws, other.draws)
