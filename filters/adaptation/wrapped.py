"""An engine around another: it says what the other says by the posterior that its own state holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from filters.adaptation.streaming import Look, look
from filters.posterior.mlp import Mlp
from filters.posterior.spec import DRAWS, Data, Engine, State

Own = TypeVar("Own")


@dataclass(frozen=True)
class Wrapped(ABC, Generic[State, Own]):
    """Everything but learning; `State` is the other engine's, `Own` this one's."""

    engine: Engine[State]

    @property
    def network(self) -> Mlp:
        return self.engine.network

    @property
    def likelihood(self) -> Any:
        return self.engine.likelihood

    @abstractmethod
    def inner(self, state: Own) -> State:
        """The posterior that a state holds."""

    def look(self, state: Own, data: Data, rng: torch.Generator, draws: int = DRAWS) -> Look:
        return look(self.engine, self.inner(state), data, rng, draws)

    def outputs(self, state: Own, x: Tensor, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.engine.outputs(self.inner(state), x, rng, draws)

    def sample(self, state: Own, rng: torch.Generator, draws: int = DRAWS) -> Tensor:
        return self.engine.sample(self.inner(state), rng, draws)

    def kl(self, state: Own, other: Own) -> float:
        return self.engine.kl(self.inner(state), self.inner(other))
