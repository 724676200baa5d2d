"""A posterior that was saved is the one that is loaded; anything else is refused in one line."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from filters.posterior import checkpoint
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.mlp import Mlp
from filters.posterior.reparameterised import Reparameterised
from filters.posterior.spec import Data, predict
from tests.test_posterior import ENGINES, MOONS, generator, short

each = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)


@each
def test_what_was_saved_predicts_the_same(engine, tmp_path):
    made = short(engine(Mlp((2, 8, 1)), Bernoulli()))
    state = made.update(made.init(generator()), Data(*(part[:40] for part in MOONS)), generator())
    checkpoint.save(tmp_path / "a.safetensors", made, state, {"seed": 3})
    again, loaded, header = checkpoint.load(tmp_path / "a.safetensors")
    assert again == made
    assert header["seed"] == 3
    for (name, a), (other, b) in zip(checkpoint.leaves(state), checkpoint.leaves(loaded), strict=True):
        assert name == other
        assert torch.equal(a, b)
    ways = (made, state), (again, loaded)
    first, second = (predict(e, s, MOONS.x[:9], generator(1)) for e, s in ways)
    assert torch.equal(first.mean, second.mean)


@pytest.fixture
def saved(tmp_path):
    made = Reparameterised(Mlp((2, 8, 1)), Bernoulli())
    checkpoint.save(tmp_path / "a.safetensors", made, made.init(generator()), {})
    return tmp_path / "a.safetensors"


def header_of(path) -> dict:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["header"])


def write(path, tensors, header) -> None:
    save_file(tensors, path, metadata={"header": json.dumps(header)})


def rehashed(tensors, header) -> dict:
    rest = {key: value for key, value in header.items() if key != "hash"}
    return rest | {"hash": checkpoint.fingerprint(tensors, rest)}


def a_pickle(path):
    path.write_bytes(pickle.dumps({"mean": [1.0]}))


def a_torch_file(path):
    torch.save({"mean": torch.zeros(3)}, path)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-40])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:20])


def another_value(path):
    tensors, header = load_file(path), header_of(path)
    tensors["mean"][0] += 1.0
    write(path, tensors, header)


def another_shape(path):
    tensors, header = load_file(path), header_of(path)
    tensors["mean"] = tensors["mean"][:-1].clone()
    write(path, tensors, rehashed(tensors, header))


def another_tensor(path):
    tensors, header = load_file(path), header_of(path)
    tensors["extra"] = tensors["mean"].clone()
    write(path, tensors, rehashed(tensors, header))


def not_finite(path):
    tensors, header = load_file(path), header_of(path)
    tensors["mean"][0] = torch.nan
    write(path, tensors, rehashed(tensors, header))


def no_header(path):
    save_file(load_file(path), path)


def another_kind(path):
    tensors, header = load_file(path), header_of(path)
    header["engine"]["network"]["kind"] = "os.system"
    write(path, tensors, rehashed(tensors, header))


def another_word(path):
    tensors, header = load_file(path), header_of(path)
    header["engine"]["network"]["activation"] = "tanh"
    write(path, tensors, header)


def no_activation(path):
    tensors, header = load_file(path), header_of(path)
    header["engine"]["network"]["activation"] = "telu"
    write(path, tensors, rehashed(tensors, header))


def another_likelihood(path):
    tensors, header = load_file(path), header_of(path)
    header["engine"]["likelihood"] = {"kind": "Categorical", "outputs": 7}
    write(path, tensors, rehashed(tensors, header))


def an_engine_that_is_none(path):
    tensors, header = load_file(path), header_of(path)
    header["engine"] = [1, 2]
    write(path, tensors, rehashed(tensors, header))


def negative_scale(path):
    tensors, header = load_file(path), header_of(path)
    tensors["scale"] = -tensors["scale"]
    write(path, tensors, rehashed(tensors, header))


def another_field(path):
    tensors, header = load_file(path), header_of(path)
    header["engine"]["depth"] = 3
    write(path, tensors, rehashed(tensors, header))


DAMAGE = {
    a_pickle: "pickles are not read",
    a_torch_file: "pickles are not read",
    truncated: "not a checkpoint",
    cut_in_the_header: "not a checkpoint",
    another_value: "hash differs",
    another_shape: "mean is torch.float32",
    another_word: "hash differs",
    no_activation: "relu or tanh",
    another_likelihood: "expected 7",
    an_engine_that_is_none: "cannot be made here",
    negative_scale: "not above 0",
    another_tensor: "found tensors",
    not_finite: "not finite",
    no_header: "found no header",
    another_kind: "found 'os.system'",
    another_field: "other fields",
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.items(), ids=[d.__name__ for d in DAMAGE])
def test_anything_else_is_refused_with_the_reason(saved, damage, reason):
    damage(saved)
    with pytest.raises(ValueError, match=reason) as caught:
        checkpoint.load(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)


def test_a_state_that_is_not_finite_is_not_written(tmp_path):
    made = Reparameterised(Mlp((2, 8, 1)), Bernoulli())
    state = made.init(generator())
    with pytest.raises(ValueError, match="not finite"):
        checkpoint.save(tmp_path / "a.safetensors", made, state._replace(mean=state.mean * torch.nan), {})
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(ValueError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "a.safetensors")
