"""What a GPU gains for Bayesian networks, against one thread of the CPU, and what memory they take.

python tests/bench/posterior_gpu.py

100,000 vectors of 16 features are learnt by a 16-24-24-1 network (local reparameterisation) in 60 epochs: in batches of
1024, as `fogsim train` has them, and of 8192, which leave a GPU less to wait for, in an eighth of the steps. Then 100
draws of the weights predict 65,536 rows, which start and end on the CPU in either case, and what one state predicts on
both is compared. Last, what each engine's state takes, in units of its network's weights (float32); those that keep the
data keep 72 bytes a row more. Without a GPU there are the CPU's rows only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from resource import RUSAGE_SELF, getrusage
from time import perf_counter
from typing import Any

import numpy as np
import torch

from filters.posterior.anchored import Anchored
from filters.posterior.checkpoint import leaves
from filters.posterior.descent import Schedule
from filters.posterior.dropout import Dropout
from filters.posterior.ivon import Ivon
from filters.posterior.kalman_network import KalmanNetwork
from filters.posterior.laplace import Laplace
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.nuts import Nuts
from filters.posterior.pyro_svi import PyroSvi
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data, beside, generator, predict

NETWORK, FEATURES = Mlp((16, 24, 24, 1)), 16
ROWS, EPOCHS, BATCHES, RATE = 100_000, 60, (1024, 8192), 0.01
DRAWS, ASKED, TURNS = 100, 65_536, 3
ENGINES: dict[str, Callable[..., Any]] = {
    "Reparameterised": Reparameterised,
    "PyroSvi": PyroSvi,
    "PyroSvi, rank 8": lambda *a, **k: PyroSvi(*a, rank=8, **k),
    "Ivon": Ivon,
    "Laplace": Laplace,
    "Laplace, last layer": lambda *a, **k: Laplace(*a, which="last", **k),
    "Dropout, and the data": Dropout,
    "Anchored, 20 members, and the data": Anchored,
    "Nuts, 1000 draws, and the data": Nuts,
    "KalmanNetwork": lambda network, likelihood, **_: KalmanNetwork(network, likelihood),
}


def rows() -> Data:
    """Whether the first two features differ by much."""
    x = np.random.default_rng(0).normal(size=(ROWS, FEATURES))
    return Data.of(x, (np.abs(x[:, 0] - x[:, 1]) > 1.0).astype(float))


def trained(data: Data, batch: int, device: str) -> tuple[Any, Any, float]:
    """The engine, its state, and the seconds that the training took."""
    engine = Reparameterised(NETWORK, Bernoulli(), Schedule(EPOCHS, batch, RATE), device=device)
    short = replace(engine, schedule=replace(engine.schedule, epochs=1))
    short.update(short.init(generator(0)), data, generator(0))  # a GPU's first steps load its kernels
    clock = perf_counter()
    state = engine.update(engine.init(generator(0)), data, generator(0))
    state.mean.cpu()  # once all is done
    return engine, state, perf_counter() - clock


def trainings(devices: list[str]) -> tuple[Any, Any]:
    """Their times and memory; the last of them."""
    data = rows()
    for batch in BATCHES:
        seconds = {}
        for device in devices:
            engine, state, seconds[device] = trained(data, batch, device)
        print(line(f"training, batches of {batch}, s", seconds))
    resident = getrusage(RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of the process after training {resident:.2f} GB (at most 2)")
    if "cuda" in devices:
        print(f"peak memory on the GPU {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")
    return engine, state


def predictions(engine: Any, state: Any, devices: list[str]) -> None:
    """Median times, and how far the devices are apart."""
    x = torch.randn(ASKED, FEATURES, generator=generator(1))
    told, ms = {}, {}
    for device in devices:
        there = beside(state, torch.empty(0, device=device))
        told[device] = predict(engine, there, x, generator(2), DRAWS)
        times = []
        for _ in range(TURNS):
            clock = perf_counter()
            predict(engine, there, x, generator(2), DRAWS)
            times.append(1e3 * (perf_counter() - clock))
        ms[device] = float(np.median(times))
    print(line(f"{DRAWS} draws at {ASKED} rows, ms", ms))
    if "cuda" in devices:
        apart = max(float((a - b).abs().max()) for a, b in zip(told["cuda"], told["cpu"], strict=True))
        print(f"largest difference of the two's predictions {apart:.1e} (at most 1e-4)")


def states() -> None:
    """Bytes of what has learnt one row, as a multiple of the weights'."""
    print("\nstate in units of the network's weights")
    one = Data.of(np.ones((1, FEATURES)), np.ones(1))
    for name, make in ENGINES.items():
        engine = make(NETWORK, Bernoulli(), device="cpu")
        state = engine.init(generator(0))
        if hasattr(engine, "schedule"):  # of the others it stays as large
            state = replace(engine, schedule=Schedule(1)).update(state, one, generator(0))
        size = sum(part.nbytes for _, part in leaves(state))
        print(f"{name:44}{size / (4 * NETWORK.parameters):9.1f} x")


def line(name: str, figures: dict[str, float]) -> str:
    """CPU, GPU and their ratio, as far as there are."""
    ratio = f"{figures['cpu'] / figures['cuda']:9.1f} x" if "cuda" in figures else ""
    return f"{name:44}" + "".join(f"{figure:9.2f}" for figure in figures.values()) + ratio


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    what = torch.cuda.get_device_name(0) if len(found) > 1 else "found no GPU: the CPU's rows only"
    print(f"{NETWORK.sizes}, {NETWORK.parameters} weights, torch {torch.__version__}, one thread; {what}")
    print(f"{'':44}" + "".join(f"{device:>9}" for device in found))
    predictions(*trainings(found), found)
    states()
