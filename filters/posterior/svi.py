"""Mean-field variational inference for the network of `filters.bnn`, by Pyro, which is imported only when it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from filters.bnn import HIDDEN, normalised
from filters.spec import FEATURES, Array

SAMPLES = 32  # weight draws to serve
BATCH = 1024
RATE = 0.01  # of Adam; it decays to a fiftieth
SCALE = 0.02  # initial deviation of q


def fit(features: Array, labels: Array, weights: Array, seed: int, steps: int = 2000) -> dict[str, Array]:
    """Fit q(w) to frames by stochastic variational inference; the tensors of `Network` but tau.

    Maximises Σ_i weight_i E_q[ln p(label_i | y_i, w)] - KL(q ‖ p) with a diagonal normal q and priors
    N(0, 1.5² / fan_in) (Pyro's AutoDiagonalNormal), Adam with a decaying rate. Draws come in antithetic pairs.

    Parameters
    ----------
    features : (n, F)
        Of one frame each, in the order of `FEATURES`.
    labels : (n,)
        0 or 1.
    weights : (n,)
        How many independent looks a frame is worth; frames of one encounter are worth less than 1.
    seed : int
        The same seed gives the same network on the same machine.
    steps : int
        Of batches of `BATCH` frames.
    """
    import pyro
    import torch
    from pyro.infer import SVI, Trace_ELBO
    from pyro.infer.autoguide import AutoDiagonalNormal, init_to_value

    torch.set_num_threads(1)
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
    x = torch.as_tensor(normalised(features, mean, deviation), dtype=torch.float32)
    y = torch.as_tensor(labels, dtype=torch.float32)
    w = torch.as_tensor(weights, dtype=torch.float32)
    sites = _sites()
    start = {name: torch.randn(shape) * (2.0 / fan) ** 0.5 * (fan > 1) for name, (shape, fan) in sites.items()}
    guide = AutoDiagonalNormal(_model(sites), init_loc_fn=init_to_value(values=start), init_scale=SCALE)
    optimiser = pyro.optim.ClippedAdam({"lr": RATE, "lrd": 0.02 ** (1.0 / steps)})
    svi = SVI(_model(sites), guide, optimiser, Trace_ELBO())
    batches = np.random.default_rng(seed)
    for _ in range(steps):
        batch = torch.as_tensor(batches.choice(len(x), min(BATCH, len(x)), replace=False))
        svi.step(x[batch], y[batch], w[batch] * (len(x) / len(batch)))
    share = np.average(labels, weights=weights)
    fitted = {"mean": mean, "deviation": deviation, "prior": np.log([1.0 - share, share])}
    return fitted | _draws(guide, sites)


def _sites() -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape and fan-in of each weight and bias; biases count as fan-in 1."""
    f, h = len(FEATURES), HIDDEN
    return {
        "w1": ((f, h), f),
        "b1": ((h,), 1),
        "w2": ((h, h), h),
        "b2": ((h,), 1),
        "w3": ((h,), h),
        "b3": ((), 1),
    }


def _model(sites: dict[str, tuple[tuple[int, ...], int]]) -> Any:
    """The Pyro model of weighted frames (x, y, weight)."""
    import pyro
    import torch
    from pyro import distributions as dist

    def model(x: Any, y: Any, weight: Any) -> None:
        w = {
            name: pyro.sample(name, dist.Normal(0.0, 1.5 / fan**0.5).expand(shape).to_event(len(shape)))
            for name, (shape, fan) in sites.items()
        }
        hidden = torch.relu(x @ w["w1"] + w["b1"])
        hidden = torch.relu(hidden @ w["w2"] + w["b2"])
        with pyro.plate("frames", len(x)), pyro.poutine.scale(scale=weight):
            pyro.sample("y", dist.Bernoulli(logits=hidden @ w["w3"] + w["b3"]), obs=y)

    return model


def _draws(guide: Any, sites: dict[str, tuple[tuple[int, ...], int]]) -> dict[str, Array]:
    """`SAMPLES` draws of the fitted q(w) in antithetic pairs: loc ± scale eps."""
    import torch

    posterior = guide.get_posterior()
    offset = posterior.base_dist.scale * torch.randn(SAMPLES // 2, posterior.base_dist.loc.numel())
    flat = (posterior.base_dist.loc + torch.cat([offset, -offset])).detach().double().numpy()
    sizes = [int(np.prod(shape)) for shape, _ in sites.values()]
    parts = np.split(flat, np.cumsum(sizes)[:-1], axis=1)
    return {name: part.reshape(SAMPLES, *shape) for (name, (shape, _)), part in zip(sites.items(), parts, strict=True)}
