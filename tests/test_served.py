"""What of which checkpoint is served: a filter's own network as the filter asks it, others than perceptrons not."""

import numpy as np
import pytest

from filters import bnn
from filters.network_filter import average
from filters.posterior import checkpoint, served
from filters.posterior.convnet import ConvNet
from filters.posterior.likelihoods import Bernoulli
from filters.posterior.pyro_svi import PyroSvi
from filters.spec import FEATURES
from filters.trained import shipped
from tests.test_posterior import generator

DRAWS = 40


def test_the_network_of_a_filter_is_served_as_the_filter_asks_it():
    net, _ = bnn.network(shipped("bnn"))
    x = net.mean + 9.0 * net.deviation * np.random.default_rng(0).normal(size=(50, len(FEATURES)))
    for compact, within in ((False, 1e-5), (True, 0.01)):
        made = served.load(shipped("bnn"), DRAWS, compact).predict(x)
        expected = np.exp(average(bnn.evidence(net, x) + net.prior))
        np.testing.assert_allclose(made["mean"], expected, atol=within)
    few = served.load(shipped("bnn"), 3).predict(x)["mean"]
    np.testing.assert_allclose(few, np.exp(average((bnn.evidence(net, x) + net.prior)[:, :3])), atol=1e-5)


def test_a_convolutional_network_is_kept_but_not_served(tmp_path):
    made = PyroSvi(ConvNet((1, 6, 9), 1, (2, 2), 3), Bernoulli())
    checkpoint.save(tmp_path / "a.safetensors", made, made.init(generator()), {})
    assert checkpoint.load(tmp_path / "a.safetensors")[0] == made
    with pytest.raises(ValueError, match="is of a ConvNet; served are multilayer perceptrons"):
        served.load(tmp_path / "a.safetensors", 5)


@pytest.mark.parametrize("name", ["patch", "kernel_bayes"])
def test_of_the_filters_checkpoints_only_the_classifiers_is_served(name):
    with pytest.raises(ValueError, match=f"is of the filter {name}; of what `fogsim train` writes the classifier"):
        served.load(shipped(name), DRAWS)
