"""Posteriors that are updated batch by batch: what they learn, and how little a bad batch can do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import e, log, pi
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.adaptation import streaming
from filters.adaptation.streaming import Flag, Streaming, encounter, finite, look, online
from filters.posterior.descent import Schedule
from filters.posterior.ivon import Ivon
from filters.posterior.kalman_network import KalmanNetwork, KnownNoise, Neurons
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.pyro_svi import PyroSvi
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data
from tests.moons import batch, two_moons

torch.set_num_threads(1)
LEARN = Schedule(epochs=150, batch=200, rate=0.02)
ENGINES: dict[str, Callable[..., Any]] = {
    "reparameterised": lambda *a: Reparameterised(*a, schedule=LEARN),
    "pyro": lambda *a: PyroSvi(*a, schedule=LEARN),
    "low rank": lambda *a: PyroSvi(*a, rank=2, schedule=LEARN),
    "ivon": lambda *a: Ivon(*a, schedule=Schedule(epochs=150, batch=200, rate=0.1)),
    "kalman": KalmanNetwork,
}
each = pytest.mark.parametrize("name", ENGINES)
COUNT = 8  # rows of a batch
LIMIT = max(streaming.BOUND, COUNT * log(2.0))  # nats that any batch of two classes can teach


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def learnt(name: str) -> tuple[Any, Any]:
    """The engine for small updates, and what it learnt of 200 rows."""
    engine = ENGINES[name](Mlp((2, 8, 1)), Bernoulli())
    rng = generator()
    return online(engine), engine.update(engine.init(rng), batch(200, np.random.default_rng(0)), rng)


def loss(engine: Any, state: Any) -> float:
    fresh = batch(400, np.random.default_rng(99))
    return -float(look(engine, state, fresh, generator(5)).log_predictive.mean())


@each
def test_a_stream_of_batches_teaches(name):
    engine, q = learnt(name)
    learner, rng, data = Streaming(engine, 20.0), generator(1), np.random.default_rng(1)
    state, teaching = learner.init(q), []
    for _ in range(25):
        before = state.posterior
        state, info = learner.update(state, batch(20, data), rng)
        teaching.append(engine.kl(state.posterior, before))
        assert 0.5 < info.weight <= 1.0
        assert info.flags == 0
    assert loss(engine, state.posterior) < loss(engine, q) - 0.005
    assert 0.0 < np.mean(teaching) < 3.0


def wrong(data: np.random.Generator, k: int) -> Data:
    x, y = two_moons(COUNT, data)
    return Data.of(x, 1.0 - y)


def constant(data: np.random.Generator, k: int) -> Data:
    return Data.of(np.tile([0.3, -0.2], (COUNT, 1)), data.integers(2, size=COUNT).astype(float))


def duplicated(data: np.random.Generator, k: int) -> Data:
    return batch(COUNT, np.random.default_rng(7))


def broken(data: np.random.Generator, k: int) -> Data:
    x, y = two_moons(COUNT, data)
    x[k % COUNT, 0], x[(k + 1) % COUNT, 1], y[(k + 2) % COUNT] = np.nan, np.inf, 7.0
    return Data(*(torch.tensor(part, dtype=torch.float32) for part in (x, y, np.ones(COUNT))))


def nothing(data: np.random.Generator, k: int) -> Data:
    return Data(torch.full((COUNT, 2), float("nan")), torch.zeros(COUNT), torch.ones(COUNT))


def enormous(data: np.random.Generator, k: int) -> Data:
    x, y = two_moons(COUNT, data)
    return Data.of(1e9 * x, y)


BAD = {
    wrong: Flag.ANOMALOUS,
    constant: Flag.CONSTANT,
    duplicated: Flag.DUPLICATE,
    broken: Flag.INCOMPLETE,
    nothing: Flag.INCOMPLETE | Flag.EMPTY,
    enormous: Flag(0),
}


@each
@pytest.mark.parametrize("stream", BAD, ids=lambda stream: stream.__name__)
def test_a_bad_stream_is_flagged_and_bounded(name, stream):
    engine, q = learnt(name)
    learner, rng, data = Streaming(engine), generator(1), np.random.default_rng(2)
    state, flags = learner.init(q), []
    for k in range(6):
        before = state.posterior
        state, info = learner.update(state, stream(data, k), rng)
        flags.append(info.flags)
        assert 0.0 <= info.weight <= 1.0
        assert finite(state.posterior)
        taught = engine.kl(state.posterior, before)
        assert taught <= 1.1 * (streaming.BOUND if stream is constant else LIMIT)
        if info.flags & (Flag.DUPLICATE | Flag.EMPTY | Flag.DIVERGED):
            assert state.posterior is before
            assert info.weight == 0.0
    assert sum(BAD[stream] in flag for flag in flags) >= 5
    assert np.isfinite(loss(engine, state.posterior))
    if stream in (duplicated, broken, nothing):
        assert loss(engine, state.posterior) < loss(engine, q) + 0.1


class Exact:
    """One linear layer and known noise, where the update is exact."""

    def __init__(self, seed: int, width: float, noise: float, rows: int, worth: float) -> None:
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(3, 3))
        covariance = width**2 * (root @ root.T + 0.1 * np.eye(3))
        self.prior = Neurons((torch.tensor(rng.normal(size=(1, 3))),), (torch.tensor(covariance)[None],))
        self.engine = KalmanNetwork(Mlp((2, 1)), KnownNoise(noise))
        self.x, self.weight = rng.normal(size=(rows, 2)), worth * rng.random(rows) + 0.01
        self.error, self.noise = rng.normal(size=rows), noise

    def taught(self, size: float, bound: float) -> tuple[float, float, float]:
        """KL of an update by errors of that size, its limit by H - G*, and the weight."""
        mean, variance = self.engine.moments(self.prior, torch.tensor(self.x).float())
        data = Data.of(self.x, mean.numpy() + size * self.error, self.weight)
        learner = Streaming(self.engine, bound)
        after, info = learner.update(learner.init(self.prior), data, generator())
        above = data.weight.double() @ (0.5 * torch.log(e * (1.0 + variance / self.noise)))
        return self.engine.kl(after.posterior, self.prior), max(bound, float(above)), info.weight


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    width=st.floats(0.01, 30.0),
    noise=st.floats(0.01, 10.0),
    rows=st.integers(1, 6),
    worth=st.floats(0.1, 5.0),
    size=st.floats(0.0, 1e4),
    bound=st.floats(0.1, 50.0),
)
def test_no_batch_teaches_more_than_its_bound(seed, width, noise, rows, worth, size, bound):
    taught, limit, weight = Exact(seed, width, noise, rows, worth).taught(size, bound)
    assert taught <= limit * (1.0 + 1e-6)
    assert 0.0 < weight <= 1.0


def test_the_bound_is_what_holds_it():
    """Without it, as with one that never counts, the same errors teach hundreds of nats."""
    case = Exact(3, 1.0, 0.1, 4, 1.0)
    taught, limit, _ = case.taught(100.0, 2.0)
    assert taught < limit < 12.0
    assert case.taught(100.0, 1e12)[0] > 500.0


def test_the_further_off_the_less_it_moves():
    """The influence of an outlier falls back to nothing, as of the inverse multiquadratic weight."""
    case = Exact(5, 1.0, 0.5, 1, 1.0)
    sizes, moved = (0.5, 2.0, 8.0, 1e3, 1e5), []
    for size in sizes:
        mean = case.engine.moments(case.prior, torch.tensor(case.x).float())[0].numpy()
        data = Data.of(case.x, mean + size * np.sign(case.error))
        learner = Streaming(case.engine)
        after, _ = learner.update(learner.init(case.prior), data, generator())
        moved.append(float((after.posterior.means[0] - case.prior.means[0]).norm()))
    assert moved[1] > moved[0]
    assert moved[3] < 0.05 * max(moved)
    assert moved[4] < 0.01 * moved[3] * 1.1


def test_what_surprises_nobody_is_learnt_as_the_engine_does():
    case = Exact(1, 0.01, 1.0, 5, 1.0)
    mean = case.engine.moments(case.prior, torch.tensor(case.x).float())[0].numpy()
    data = Data.of(case.x, mean, case.weight)
    learner = Streaming(case.engine)
    after, info = learner.update(learner.init(case.prior), data, generator())
    expected = case.engine.update(case.prior, data, generator())
    assert info.weight == 1.0
    torch.testing.assert_close(after.posterior, expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("noise", [0.1, 2.0])
def test_closed_form_and_draws_tell_the_same(noise):
    case = Exact(2, 0.5, noise, 4, 1.0)
    near = case.engine.moments(case.prior, torch.tensor(case.x).float())[0].numpy()
    data = Data.of(case.x, near + 0.5 * noise**0.5 * case.error, case.weight)
    exact = look(case.engine, case.prior, data, generator())
    f = case.engine.outputs(case.prior, data.x, generator(), 100_000).double()
    each_draw = case.engine.likelihood.log_prob(f, data.y)
    torch.testing.assert_close(exact.cost, -each_draw.mean(dim=0), rtol=0.03, atol=0.02)
    mixed = torch.logsumexp(each_draw, dim=0) - log(len(f))
    torch.testing.assert_close(exact.log_predictive, mixed, rtol=0.03, atol=0.02)
    _, variance = case.engine.moments(case.prior, data.x)
    torch.testing.assert_close(exact.entropy, 0.5 * torch.log(2.0 * pi * e * (variance + noise)))


def test_an_encounter_is_worth_a_few_rows_and_frames_of_it_their_metres():
    data = encounter(np.zeros((3, 2)), np.ones(3), np.array([0.0, 2.0, 6.0]))
    assert data.weight.sum() == pytest.approx(streaming.WORTH)
    assert data.weight.tolist() == pytest.approx([0.0, 0.25 * streaming.WORTH, 0.75 * streaming.WORTH])
    assert encounter(np.zeros((4, 2)), np.ones(4)).weight.tolist() == [streaming.WORTH / 4] * 4


@dataclass(frozen=True)
class Failing(KalmanNetwork):
    """An engine whose update fails, or ends in what is not finite."""

    raises: bool = True

    def update(self, state: Neurons, data: Data, rng: torch.Generator) -> Neurons:
        if self.raises:
            raise FloatingPointError("diverged in epoch 1")
        return state._replace(means=tuple(mean * float("nan") for mean in state.means))


@pytest.mark.parametrize("raises", [True, False])
def test_an_update_that_fails_leaves_the_posterior_as_it_was(raises):
    engine = Failing(Mlp((2, 4, 1)), Bernoulli(), raises=raises)
    learner, prior = Streaming(engine), engine.init(generator())
    state, info = learner.update(learner.init(prior), batch(COUNT, np.random.default_rng(0)), generator())
    assert state.posterior is prior
    assert info.flags == Flag.DIVERGED
    assert info.weight == 0.0


@each
@pytest.mark.parametrize("size", [1e30, 1e38])
def test_what_cannot_even_be_weighed_teaches_nothing(name, size):
    """Finite inputs by which the network's outputs overflow."""
    engine, q = learnt(name)
    x, y = two_moons(COUNT, np.random.default_rng(3))
    state, info = Streaming(engine).update(Streaming(engine).init(q), Data.of(size * x, 1.0 - y), generator())
    assert finite(state.posterior)
    if info.weight == 0.0:
        assert state.posterior is q
        assert info.flags & (Flag.ANOMALOUS | Flag.DIVERGED)
    assert engine.kl(state.posterior, q) <= 1.1 * LIMIT


@dataclass(frozen=True)
class Counting(KalmanNetwork):
    """An engine that learns nothing and keeps what weights it was given."""

    given: list[torch.Tensor] = field(default_factory=list)

    def update(self, state: Neurons, data: Data, rng: torch.Generator) -> Neurons:
        self.given.append(data.weight)
        return state


def test_rows_that_are_all_alike_count_as_one():
    engine = Counting(Mlp((2, 4, 1)), Bernoulli())
    learner = Streaming(engine, 1e9)
    state, _ = learner.update(
        learner.init(engine.init(generator())), constant(np.random.default_rng(0), 0), generator()
    )
    learner.update(state, batch(COUNT, np.random.default_rng(0)), generator())
    assert [float(weight.sum()) for weight in engine.given] == pytest.approx([1.0, COUNT], rel=1e-5)


def test_a_copy_is_known_for_as_many_batches_as_are_remembered_and_no_longer():
    engine = Counting(Mlp((2, 4, 1)), Bernoulli())
    learner, data = Streaming(engine, 1e9), [batch(2, np.random.default_rng(k)) for k in range(streaming.MEMORY + 1)]
    state = learner.init(engine.init(generator()))
    for each_batch in data[:-1]:
        state, info = learner.update(state, each_batch, generator())
        assert info.flags == 0
    assert learner.update(state, data[0], generator())[1].flags == Flag.DUPLICATE
    state, _ = learner.update(state, data[-1], generator())
    assert learner.update(state, data[0], generator())[1].flags == 0
    assert len(state.recent) == streaming.MEMORY


def test_weights_that_are_none_leave_their_rows_out():
    engine, data = Counting(Mlp((2, 4, 1)), Bernoulli()), batch(4, np.random.default_rng(0))
    data = data._replace(weight=torch.tensor([1.0, -2.0, float("nan"), 3.0]))
    _, info = Streaming(engine, 1e9).update(Streaming(engine).init(engine.init(generator())), data, generator())
    assert (info.left_out, info.flags) == (2, Flag.INCOMPLETE)
    assert engine.given[0].tolist() == pytest.approx([1.0, 3.0], rel=1e-5)
    shared = encounter(np.zeros((3, 2)), np.ones(3), np.array([1.0, -0.999, 1.0]))
    assert shared.weight[[0, 2]].tolist() == pytest.approx([streaming.WORTH / 2] * 2)


def test_mistakes_are_told_in_one_line():
    engine, q = learnt("kalman")
    with pytest.raises(ValueError, match="found inputs of shape"):
        Streaming(engine).update(Streaming(engine).init(q), Data.of(np.zeros((3, 5)), np.zeros(3)), generator())
    for bound in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="found a bound of"):
            Streaming(engine, bound)
