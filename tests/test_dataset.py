"""Labelled frames: those of the runs they are drawn from, and what PyTorch makes of them."""

import pickle

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from filters.spec import CLASSES, FEATURES
from filters.streams import stream
from fogsim import cli, dataset
from fogsim.dataset import Dataset
from fogsim.errors import UserError
from fogsim.frame import POWER_UNIT, RANGE_UNIT
from fogsim.runner import run
from fogsim.scenario import Scenario

COUNT, SEED = 6, 3


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "frames.h5"
    dataset.write(path, Scenario(), COUNT, SEED, scans=True)
    return path


def test_frames_are_those_of_the_runs_they_are_drawn_from(frames):
    data = Dataset(frames)
    looks = data.looks
    assert sorted(set(looks.encounter)) == list(range(COUNT))
    assert set(looks.label) == {0, 1}
    encounter, seed = 4, int(stream(SEED, "training run", 4).integers(2**31))
    drawn = [f for f in run(dataset.vary(Scenario(), SEED, encounter), seed) if dataset.usable(f)]
    mine = np.flatnonzero(looks.encounter == encounter)
    assert len(mine) == len(drawn)
    for i, frame in zip(mine, drawn, strict=True):
        item = data[i]
        assert item["label"] == frame.truth_class[0] == looks.label[i]
        np.testing.assert_array_equal(item["features"], frame.features[0])
        np.testing.assert_allclose(item["range"], frame.range * RANGE_UNIT, rtol=1e-6)
        np.testing.assert_allclose(item["power"], frame.power * POWER_UNIT, rtol=1e-6)
        assert (item["distance"], item["visibility"]) == (frame.distance_left[0], frame.visibility)
    left = looks.distance[mine]
    assert looks.weight[mine].sum() == pytest.approx(left.max() - left.min())


def test_any_number_of_processes_writes_the_same(frames, tmp_path):
    dataset.write(tmp_path / "two.h5", Scenario(), COUNT, SEED, scans=True, processes=2)
    with h5py.File(frames) as one, h5py.File(tmp_path / "two.h5") as two:
        assert set(one) == set(two) == set(dataset.FIELDS)
        for name in one:
            np.testing.assert_array_equal(one[name][:], two[name][:])
            assert one[name].attrs["description"]
        assert dict(one.attrs) == dict(two.attrs)


@pytest.mark.parametrize("start", [None, "spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_pytorch_loads_batches(frames, start):
    data = Dataset(frames)
    data[0]  # opens the file, which no worker may share
    loader = DataLoader(data, batch_size=16, num_workers=start is not None, multiprocessing_context=start)
    batches = list(loader)  # all of them: a worker that is stopped while it sends ahead may abort within torch
    batch = batches[0]
    assert batch["features"].shape == (16, len(FEATURES))
    assert batch["range"].shape == batch["power"].shape == (16, *data[0]["range"].shape)
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches]), data.looks.label)
    assert set(CLASSES) == {"bag", "barrier"}


def test_whole_encounters_are_held_out(frames):
    rest, held = Dataset(frames).split(0.34, 1)
    assert len(rest) + len(held) == len(Dataset(frames))
    assert len(set(held.looks.encounter)) == 2
    assert set(rest.looks.encounter).isdisjoint(held.looks.encounter)
    assert held[0]["encounter"] == held.looks.encounter[0]
    assert len(pickle.loads(pickle.dumps(held))) == len(held)


def test_without_scans_there_are_none(tmp_path):
    with pytest.raises(SystemExit) as left:
        cli.main(["data", "scenarios/creeping_fog.py", "--encounters", "1", "--out", str(tmp_path / "few.h5")])
    assert left.value.code == 0
    assert set(Dataset(tmp_path / "few.h5")[0]) == set(dataset.FIELDS) - set(dataset.SCANS)


def test_an_encounter_without_a_frame_adds_none(frames, tmp_path):
    with h5py.File(frames) as given, h5py.File(tmp_path / "copy.h5", "w") as file:
        fields = {name: given[name][:3] for name in dataset.FIELDS}
        for part in (fields, {name: values[:0] for name, values in fields.items()}, fields):
            dataset.append(file, part)
        for name, values in fields.items():
            np.testing.assert_array_equal(file[name][:], np.concatenate([values, values]))


def test_mistakes_are_told_and_nothing_is_lost(frames, tmp_path):
    before = frames.read_bytes()
    with pytest.raises(UserError, match="exists and is never overwritten"):
        dataset.write(frames, Scenario(), 1, 0)
    assert frames.read_bytes() == before
    with pytest.raises(UserError, match="found 0 encounters"):
        dataset.write(tmp_path / "a.h5", Scenario(), 0, 0)
    with pytest.raises(UserError, match="cannot write"):
        dataset.write(tmp_path / "none" / "a.h5", Scenario(), 1, 0)
    with pytest.raises(UserError, match="cannot be read"):
        Dataset(tmp_path / "a.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["label"] = [1]
    with pytest.raises(UserError, match="has schema None, expected 2"):
        Dataset(tmp_path / "other.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.h5"]
