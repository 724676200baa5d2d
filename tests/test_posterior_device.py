"""Engines on a GPU: they work there as on the CPU, wherever data and inputs are; without one it is refused in a line.

Where there is none, a device that is pretended finds what was left on the CPU, though not what a GPU rounds otherwise.
"""

from dataclasses import replace

import pytest
import torch

from filters.posterior import checkpoint
from filters.posterior.checkpoint import assembled, leaves
from filters.posterior.convnet import ConvNet
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.spec import OUT_OF_MEMORY, Data, device_of, log_predictive, predict
from tests.pretended import FAR, KNOWN, Pretended
from tests.test_posterior import ENGINES, MOONS, generator

torch.set_num_threads(1)
FEW = Data(*(part[:200] for part in MOONS))
SHORT = {"nuts": {"warmup": 6, "draws": 4, "depth": 3}, "kalman": {}}  # rounding grows from step to step
OF_PICTURES = " of pictures"  # added to an engine's name: its network is convolutional
ALSO = [name + OF_PICTURES for name in ("pyro, diagonal", "pyro, low rank", "anchored", "ivon")]
each = pytest.mark.parametrize("name", ENGINES)
each_network = pytest.mark.parametrize("name", [*ENGINES, *ALSO])


@pytest.fixture(autouse=True)
def no_gpu():
    """There may be one, unlike in all other tests."""


@pytest.fixture(params=["cuda", FAR])
def elsewhere(request, monkeypatch):
    """A device's name, while tensors can be there."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("found no GPU to test on")
        yield "cuda"
        return
    if not KNOWN:
        pytest.skip(f"torch {torch.__version__} knows no devices that are written in Python")
    for module in ("normal", "anchored", "dropout", "laplace", "nuts"):
        monkeypatch.setattr(f"filters.posterior.{module}.device_of", lambda name: name)
    with Pretended():
        yield FAR


def pictures(n: int = 100) -> Data:
    """Of 5 x 9 places with two numbers beside each, and whether its middle is bright."""
    x = torch.randn(n, 47, generator=generator(6))
    return Data(x, (x[:, 20:25].sum(dim=1) > 0.0).float(), torch.ones(n))


def few(name: str) -> Data:
    return pictures() if name.endswith(OF_PICTURES) else FEW


def made(name: str, device: str):
    """An engine there; the Kalman network's is always the CPU."""
    network = ConvNet((1, 5, 9), 2, (4, 4), 8) if name.endswith(OF_PICTURES) else Mlp((2, 16, 16, 1))
    engine = ENGINES[name.removesuffix(OF_PICTURES)](network, Bernoulli())
    if name in SHORT:
        return replace(engine, **SHORT[name] | ({"device": device} if name == "nuts" else {}))
    return replace(engine, schedule=replace(engine.schedule, epochs=8), device=device)


def at(data: Data, device: str) -> Data:
    return Data(*(part.to(device) for part in data))


def kinds(state) -> set[str]:
    return {part.device.type for _, part in leaves(state)}


def close(a, b, atol: float) -> None:
    torch.testing.assert_close(a.cpu(), b.cpu(), atol=atol, rtol=0.0)


@each_network
def test_it_learns_there_what_it_learns_here(name, elsewhere):
    here, there, data = made(name, "cpu"), made(name, elsewhere), few(name)
    expected = here.update(here.init(generator()), data, generator(1))
    found = there.update(there.init(generator()), data, generator(1))
    also = there.update(there.init(generator()), at(data, elsewhere), generator(1))
    assert kinds(found) == kinds(also) == {"cpu" if name == "kalman" else elsewhere}
    for state in (found, also):
        close(
            predict(there, state, data.x, generator(2)).mean, predict(here, expected, data.x, generator(2)).mean, 0.02
        )
    again = there.update(found, data, generator(3))
    assert kinds(again) == kinds(found)
    back = here.update(expected, at(data, elsewhere), generator(3))
    assert kinds(back) == {"cpu"}
    close(predict(there, again, data.x, generator(2)).mean, predict(here, back, data.x, generator(2)).mean, 0.05)


@each_network
def test_of_one_state_it_says_the_same_there(name, elsewhere):
    here, there, near = made(name, "cpu"), made(name, elsewhere), few(name)
    state = here.update(here.init(generator()), near, generator(1))
    other = assembled(there.init(generator()), iter([part for _, part in leaves(state)]))
    away = at(near, elsewhere)
    for engine, known in ((here, state), (there, other)):
        for data in (near, away):
            told, expected = (predict(*of, generator(2)) for of in ((engine, known, data.x), (here, state, near.x)))
            assert {part.device.type for part in told} == {data.x.device.type}
            for part, same in zip(told, expected, strict=True):
                close(part, same, 1e-4)
            fit = log_predictive(engine, known, data, generator(2))
            assert fit.device == data.x.device
            close(fit, log_predictive(here, state, near, generator(2)), 1e-3)
            close(engine.outputs(known, data.x, generator(4), 5), here.outputs(state, near.x, generator(4), 5), 1e-3)
        close(engine.sample(known, generator(5), 6), here.sample(state, generator(5), 6), 1e-4)
    prior = here.init(generator())
    for one, two in ((state, prior), (other, prior), (state, there.init(generator()))):
        assert here.kl(one, two) == pytest.approx(here.kl(state, prior), rel=1e-3)


@each
def test_what_was_saved_there_is_loaded_here(name, elsewhere, tmp_path, monkeypatch):
    there = made(name, elsewhere)
    state = there.update(there.init(generator()), FEW, generator(1))
    checkpoint.save(tmp_path / "a.safetensors", there, state, {})
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engine, loaded, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert kinds(loaded) == {"cpu"}
    assert getattr(engine, "device", "auto") == "auto"
    for (_, saved), (_, part) in zip(leaves(state), leaves(loaded), strict=True):
        close(saved, part, 0.0)
    close(predict(engine, loaded, FEW.x, generator(2)).mean, predict(there, state, FEW.x, generator(2)).mean, 1e-4)


@pytest.mark.parametrize("name", [*sorted(ENGINES.keys() - {"kalman", "nuts"}), *ALSO])
def test_a_descent_goes_on_on_another_device(name, elsewhere):
    """As that of a file does, which is read to the CPU."""
    engine, data = made(name, elsewhere), few(name)
    prior = engine.init(generator())
    steps = list(engine.steps(prior, data, generator(1), engine.begin(prior, data, generator(1))))
    parts = (steps[3].parameters.cpu(), tuple(part.cpu() for part in steps[3].moments))
    kept = steps[3]._replace(parameters=parts[0], moments=parts[1])
    *_, last = engine.steps(prior, data, generator(2), kept)
    close(last.parameters, steps[-1].parameters, 1e-4)
    end = last._replace(parameters=last.parameters.cpu(), moments=tuple(part.cpu() for part in last.moments))
    assert kinds(engine.reached(prior, data, end)) == {elsewhere}


# Without one


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(there, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device_of("auto") == expected
    assert device_of("cpu") == "cpu"


@pytest.mark.parametrize("name", sorted(ENGINES.keys() - {"kalman"}))
def test_a_gpu_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^found no CUDA device, expected one for [^\n]*; use 'auto' or 'cpu'$"):
        made(name, "cuda").init(generator())
    with pytest.raises(ValueError, match=r"^found device 'vulkan', expected 'auto', 'cpu' or 'cuda'$"):
        made(name, "vulkan").init(generator())
    assert kinds(made(name, "auto").init(generator())) == {"cpu"}


def full(*_: object) -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")


@pytest.mark.parametrize("name", sorted(ENGINES.keys() - {"kalman"}))
def test_too_little_memory_is_one_line_that_says_what_to_do(name, monkeypatch):
    engine = made(name, "cpu")
    state = engine.init(generator())
    started = engine.begin(state, FEW, generator()) if name != "nuts" else None
    monkeypatch.setattr(Mlp, "split", full)
    ways = [
        lambda: engine.update(state, FEW, generator()),
        lambda: predict(engine, state, FEW.x, generator()),
        lambda: log_predictive(engine, state, FEW, generator()),
    ]
    ways += [lambda: list(engine.steps(state, FEW, generator(), started))] * (name != "nuts")
    for way in ways:
        with pytest.raises(MemoryError) as caught:
            way()
        assert str(caught.value) == OUT_OF_MEMORY
    assert "\n" not in OUT_OF_MEMORY
