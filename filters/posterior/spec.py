"""What every engine of a Bayesian neural network does: `init`, `update`, `outputs`, `predict`, `sample`, `kl`.

    prior p(w)  --update(x, y)-->  q(w) ∝~ p(y | x, w) p(w)  --update-->  ...

The posterior of one update is the prior of the next. States are NamedTuples of tensors and are never changed in place;
an engine is a frozen dataclass of all its configuration. A state is on its engine's device, and data and inputs are
brought there from wherever they are. Random numbers come from a `torch.Generator` of the CPU, on every device the same
(`noise`), so that a GPU's results are the CPU's but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from filters.posterior.likelihoods import Bernoulli, Categorical, Likelihood, Prediction
from filters.posterior.mlp import Mlp
from filters.streams import stream

State = TypeVar("State")
Parts = TypeVar("Parts", bound=tuple[Tensor, ...])
DRAWS = 100  # of the weights, by which is predicted
OUT_OF_MEMORY = "found no memory left on the GPU; use a smaller batch, fewer draws, or device 'cpu'"


class Data(NamedTuple):
    """Inputs (n, F), targets (n,), and how many independent rows each row is worth (n,)."""

    x: Tensor
    y: Tensor
    weight: Tensor

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Self:
        """From arrays, as float32 on the CPU.

        Raises
        ------
        ValueError
            In one line, if there are no rows, their numbers differ, or a value is not finite or a weight negative.
        """
        weight = np.ones(np.shape(y)) if weight is None else weight
        if np.ndim(x) != 2 or not np.shape(x)[:1] == np.shape(y) == np.shape(weight) or not len(x):
            found = f"{np.shape(x)}, {np.shape(y)}, {np.shape(weight)}"
            raise ValueError(f"found inputs, targets, weights of shapes {found}, expected (n, F), (n,), (n,), n > 0")
        parts = [torch.as_tensor(np.asarray(part), dtype=torch.float32) for part in (x, y, weight)]
        for name, part in zip(("inputs", "targets", "weights"), parts, strict=True):
            if not torch.isfinite(part).all():
                raise ValueError(f"found {name} that are not finite; leave out such rows")
        if np.min(weight) < 0.0:
            raise ValueError(f"found a weight of {np.min(weight):g}, expected 0 or more")
        return cls(*parts)


class Engine(Protocol[State]):
    """A way to a posterior over the weights of a network."""

    @property
    def network(self) -> Mlp:
        """The function whose weights are unknown."""

    @property
    def likelihood(self) -> Likelihood:
        """p(y | its outputs)."""

    def init(self, rng: torch.Generator) -> State:
        """The prior."""

    def update(self, state: State, data: Data, rng: torch.Generator) -> State:
        """The posterior of `state` as the prior."""

    def outputs(self, state: State, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        """Draws of the network's outputs (draws, n, O) at x (n, F); of one draw all rows share their weights."""

    def sample(self, state: State, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        """Draws of the weights (draws, P)."""

    def kl(self, state: State, other: State) -> float:
        """KL(state ‖ other), nats; of engines whose posterior is a set of draws, between Gaussians of their moments."""


def device_of(name: str) -> str:
    """Where an engine's tensors are to be: "cpu", "cuda", or by "auto" on a GPU where there is one.

    Raises
    ------
    ValueError
        In one line, if it is none of these, or there is no GPU for "cuda".
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"found device {name!r}, expected 'auto', 'cpu' or 'cuda'")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ValueError("found no CUDA device, expected one for device 'cuda'; use 'auto' or 'cpu'")
    return "cuda" if there and name != "cpu" else "cpu"


def beside(parts: Parts, like: Tensor) -> Parts:
    """The tensors of a NamedTuple, on the device of `like`."""
    with in_memory():
        return type(parts)(*(part.to(like.device) for part in parts))


@contextmanager
def in_memory() -> Iterator[None]:
    """Refuse in one line what a GPU has not the memory for."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise MemoryError(OUT_OF_MEMORY) from None


def check(engine: Engine, data: Data, like: Tensor) -> Data:
    """The data, on the device of `like`; refused are others than this engine's, and parts of it that do not fit.

    Raises
    ------
    ValueError
        In one line, if the network has other outputs than the likelihood, inputs another width, or a class no number.
    """
    fits(engine)
    engine.network.check(data.x)
    if isinstance(engine.likelihood, Bernoulli | Categorical):
        classes = max(2, engine.likelihood.outputs)
        if not torch.isin(data.y, torch.arange(classes).to(data.y)).all():
            raise ValueError(f"found targets that are no classes, expected whole numbers from 0 to {classes - 1}")
    return beside(data, like)


def fits(engine: Engine) -> None:
    """Refuse a network that has other outputs than its likelihood."""
    found, expected = engine.network.sizes[-1], engine.likelihood.outputs
    if found != expected:
        raise ValueError(f"found a network of {found} outputs, expected {expected} for {engine.likelihood}")


def predict(engine: Engine[State], state: State, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Prediction:
    """What the targets at x (n, F) will be, and why that is not certain; told where x is."""
    with torch.no_grad(), in_memory():
        return beside(engine.likelihood.predict(engine.outputs(state, x, rng, draws)), x)


def log_predictive(engine: Engine[State], state: State, data: Data, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
    """ln p(y | x, all data so far) (n,): ln mean_s p(y | x, w_s); told where x is."""
    with torch.no_grad(), in_memory():
        f = engine.outputs(state, data.x, rng, draws)
        each = engine.likelihood.log_prob(f, data.y.to(f.device))
        return (torch.logsumexp(each, dim=0) - np.log(len(each))).to(data.x.device)


def noise(shape: tuple[int, ...], rng: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers of that shape, of the kind and on the device of `like`."""
    return torch.randn(shape, generator=rng, dtype=like.dtype).to(like.device)


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A stream of random numbers by name, as `filters.streams.stream` is."""
    return torch.Generator().manual_seed(int(stream(seed, *names).integers(2**62)))


@contextmanager
def seeded(rng: torch.Generator) -> Iterator[None]:
    """The CPU's global random numbers, which libraries draw from, by `rng`; afterwards as they were before."""
    seed = int(torch.randint(2**62, (1,), generator=rng))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
