"""The study of uncertainty away from the data holds what is asked of it; five seeds, on the table that stands in."""

import numpy as np
import pytest

from tests.studies import study_of

SEEDS = range(5)
LOCAL, GUIDE = "reparameterised", "Pyro"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the study finds, by way and measure: (seeds,)."""
    study, out = study_of("heteroscedastic_bnn"), tmp_path_factory.mktemp("recipe")
    table, ways = study.inputs(None), study.ways()
    names = [LOCAL, GUIDE, "naive Pyro", "Pyro, twice the first scale", f"{LOCAL}, 5 % off", "Student-t, 5 % off"]
    rows = {name: [study.judged(name, ways[name], table, seed, out) for seed in SEEDS] for name in names}
    return {name: {key: np.array([row[key] for row in some]) for key in some[0]} for name, some in rows.items()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_local_reparameterisation_is_sure_inside_and_unsure_outside(found):
    local = found[LOCAL]
    assert local["nats above"].mean() < 0.03
    assert local["RMSE"].mean() < 0.10
    assert 0.93 < local["in band"].mean() < 0.97
    assert local["inside"].mean() < 0.12
    assert local["at -5"].mean() > 0.5
    assert local["at 5"].mean() > 0.5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_so_is_pyros_guide_whatever_scale_it_starts_from(found):
    assert found[GUIDE]["nats above"].mean() < 0.06
    assert found[GUIDE]["RMSE"].mean() < 0.15
    for measure in ("inside", "at -5", "at 5"):
        assert 0.8 < np.mean(found["Pyro, twice the first scale"][measure] / found[GUIDE][measure]) < 1.2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_naive_way_fails_and_student_t_does_not_mind_what_is_off(found):
    naive = found["naive Pyro"]
    assert naive["nats above"].mean() > 0.1
    assert naive["at 5"].mean() < 1.5 * naive["inside"].mean()
    assert np.mean(found["Student-t, 5 % off"]["RMSE"] / found[f"{LOCAL}, 5 % off"]["RMSE"]) < 0.8
