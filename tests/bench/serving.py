"""What serving a Bayesian network costs: 100 draws of 32-64-64-2 units, one thread, each way in turns in this process.

python tests/bench/serving.py

Pyro's Predictive has the same draws at hand, and its outputs are made the same five numbers of; it is shown as it
comes, draw by draw, and with `parallel=True`. Then `fogsim serve` in a process of its own is asked by four clients at
once, and by one alone, in binary tensors over connections that stay open. "Busy" rows are of batch 1 while every core
has a process that never rests. Last what eight bits save and cost, in the probabilities of 4096 inputs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import Predictive
from torch import Tensor

from filters.posterior import checkpoint, served
from filters.posterior.descent import Schedule
from filters.posterior.ensemble import Ensemble
from filters.posterior.likelihoods import Categorical
from filters.posterior.mlp import Mlp
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data

NETWORK, DRAWS = Mlp((32, 64, 64, 2)), 100
BATCHES = (1, 64)
TURNS, CALLS, QUESTIONS, CLIENTS = 10, 20, 300, 4


def trained(path: Path) -> None:
    """A checkpoint of a network that has learnt something: whether the first two inputs differ by much."""
    x = np.random.default_rng(0).normal(size=(2048, 32))
    engine = Reparameterised(NETWORK, Categorical(2), Schedule(60, 256, 0.01))
    rng = torch.Generator().manual_seed(0)
    state = engine.update(engine.init(rng), Data.of(x, (np.abs(x[:, 0] - x[:, 1]) > 1.0).astype(float)), rng)
    checkpoint.save(path, engine, state, {})


def in_pyro(ensemble: Ensemble, parallel: bool) -> Callable[[Tensor], Any]:
    """The same prediction by Pyro, of the same draws."""
    layers = zip(ensemble.weights, ensemble.biases, strict=True)
    draws = {f"w{layer}": torch.cat(parts, dim=1) for layer, parts in enumerate(layers)}

    def model(x: Tensor) -> Tensor:
        hidden = x
        for layer, shape in enumerate(NETWORK.shapes):
            w = pyro.sample(f"w{layer}", pyro.distributions.Normal(0.0, 1.0).expand(shape).to_event(2))
            hidden = (NETWORK.activate(hidden) if layer else hidden) @ w[..., :-1, :] + w[..., -1:, :]
        return hidden

    predictive = Predictive(model, posterior_samples=draws, return_sites=("_RETURN",), parallel=parallel)
    return lambda x: ensemble.likelihood.predict(predictive(x)["_RETURN"])


def predictions(ensemble: Ensemble) -> None:
    """Ours beside Pyro's."""
    ways = {"Ensemble.predict": ensemble.predict, "in 8 bits": ensemble.compact().predict}
    ways |= {"Pyro, parallel": in_pyro(ensemble, True), "Pyro": in_pyro(ensemble, False)}
    for batch in BATCHES:
        x = torch.randn(batch, 32, generator=torch.Generator().manual_seed(batch))
        for name in ("Pyro, parallel", "Pyro"):
            torch.testing.assert_close(ways[name](x).mean, ensemble.predict(x).mean, atol=1e-5, rtol=0.0)
        times = in_turns({name: lambda way=way, x=x: way(x) for name, way in ways.items()})
        for name, ms in times.items():
            ratio = f"{np.median(ms) / np.median(times['Ensemble.predict']):8.1f} x"
            print(line(f"{name}, batch {batch}", ms) + ratio)
    with busy():
        x = torch.randn(1, 32, generator=torch.Generator().manual_seed(1))
        print(line("Ensemble.predict, batch 1, busy", in_turns({"": lambda: ensemble.predict(x)}, 10 * TURNS)[""]))


@contextmanager
def busy() -> Iterator[None]:
    """All cores loaded, by one process each."""
    loads = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        sleep(1.0)  # until they are under way
        yield
    finally:
        for load in loads:
            load.kill()
            load.wait()


def in_turns(ways: dict[str, Callable[[], object]], turns: int = TURNS) -> dict[str, list[float]]:
    """Wall times, ms; in turns of so many calls, so that a busy machine slows all, and none finds the others' cache."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            for call in range(CALLS + 3):
                clock = perf_counter()
                way()
                times[name] += [1e3 * (perf_counter() - clock)] * (call >= 3)
    return times


def over_http(path: Path) -> None:
    """The real command, asked from here."""
    command = [sys.executable, "-m", "fogsim.cli", "serve", str(path), "--port", "0", "--draws", str(DRAWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        place = process.stdout.readline().split("/")[2]
        for batch in BATCHES:
            for clients in (CLIENTS, 1):
                clock = perf_counter()
                with ThreadPoolExecutor(clients) as pool:
                    ms = np.concatenate(list(pool.map(lambda _, b=batch: asked(place, path.stem, b), range(clients))))
                rate = len(ms) / (perf_counter() - clock)
                who = f"{clients} clients" if clients > 1 else "1 client"
                print(line(f"HTTP, {who}, batch {batch}", ms) + f"{rate:8.0f} answers/s")
        with busy():
            print(line("HTTP, 1 client, batch 1, busy", asked(place, path.stem, 1)))
        process.send_signal(signal.SIGINT)


def asked(place: str, name: str, batch: int) -> list[float]:
    """Wall times of one client's questions, ms."""
    size = {"binary_data_size": batch * 32 * 4}
    tensor = {"name": "INPUT", "datatype": "FP32", "shape": [batch, 32], "parameters": size}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body = text + np.random.default_rng(batch).normal(size=(batch, 32)).astype("<f4").tobytes()
    connection, times = HTTPConnection(place), []
    for _ in range(QUESTIONS):
        clock = perf_counter()
        length = {"Inference-Header-Content-Length": str(len(text))}
        connection.request("POST", f"/v2/models/{name}/infer", body, length)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200
        times.append(1e3 * (perf_counter() - clock))
    connection.close()
    return times


def eight_bits(ensemble: Ensemble) -> None:
    """Memory and probabilities."""
    x, compact = torch.randn(4096, 32, generator=torch.Generator().manual_seed(0)), ensemble.compact()
    apart = (compact.predict(x).mean - ensemble.predict(x).mean).abs().max()
    kilobytes = f"{compact.bytes / 1e3:.0f} of {ensemble.bytes / 1e3:.0f} kB"
    print(f"in 8 bits {kilobytes}, {ensemble.bytes / compact.bytes:.2f} times less; largest |Δp| {float(apart):.4f}")


def line(name: str, ms: list[float] | np.ndarray) -> str:
    """Name and percentiles."""
    return f"{name:36}" + "".join(f"{q:9.3f}" for q in np.quantile(ms, (0.5, 0.95)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(
        f"serving {DRAWS} draws of {NETWORK.sizes}, ms; torch {torch.__version__}, Pyro {pyro.__version__}, one thread"
    )
    print(f"{'':36}{'p50':>9}{'p95':>9}")
    with TemporaryDirectory() as folder:
        trained(Path(folder) / "net.safetensors")
        ensemble = served.load(Path(folder) / "net.safetensors", DRAWS).ensemble
        predictions(ensemble)
        over_http(Path(folder) / "net.safetensors")
    eight_bits(ensemble)
