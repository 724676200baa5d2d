"""What a log tells of decisions, and logs of before it did."""

import json

import h5py
import numpy as np
import pytest

from filters.losses import PhysicalLoss
from filters.policy import REASONS
from fogsim import log, log_file
from fogsim.commands import record as drive
from fogsim.errors import UserError
from fogsim.frame import ACTIONS, SINCE
from fogsim.log_file import columns
from fogsim.scenario import Driver, Scenario
from fogsim.scoring.encounters import encounter, loss_table
from fogsim.summary import outcome, table_of
from tests.encounters import encounter as scenario_of
from tests.frames import assert_same, frames, record

NEW = [name for name, version in SINCE.items() if version == 4]


@pytest.fixture
def old(tmp_path, monkeypatch):
    """Frames, and a log of them as it was before decisions were told."""
    with monkeypatch.context() as patch:
        patch.setattr(log_file, "SCHEMA_VERSION", 3)
        patch.setattr(log_file, "columns", lambda level, version=3: columns(level, version))
        rows = frames(5)
        return rows, record(tmp_path / "old.h5", rows)


def test_what_decisions_rest_on_is_in_the_log_and_their_latency_beside_it(tmp_path):
    assert set(NEW) == {"in_path", "loss_table", "threshold", "reason", "decision_ms"}
    path = record(tmp_path / "new.h5", frames(3))
    with h5py.File(path) as file:
        assert "timing/decision_ms" in file
        assert list(file.attrs["reasons"]) == list(REASONS)
        assert file.attrs["schema_version"] == log_file.SCHEMA_VERSION


def test_a_log_of_schema_3_is_read_verified_and_told_apart(old):
    rows, path = old
    assert log.verify(path) == []
    with log.Replay(path) as replay:
        for row, back in zip(rows, replay, strict=True):
            assert_same(row, back, [c.name for c in columns("scans", 3)])
            assert int(back.reason) == -1
            for name in ("in_path", "loss_table", "threshold", "decision_ms"):
                assert getattr(back, name).shape == getattr(row, name).shape
                assert np.isnan(getattr(back, name)).all()
        with pytest.raises(UserError, match="holds an earlier schema, no 'reason': record it again"):
            replay.column("reason")


def test_a_killed_run_of_schema_3_is_recovered(old):
    rows, path = old
    path.rename(path.with_name("old.h5.part"))
    with log.Replay(log.recover(path)) as replay:
        assert len(replay) == len(rows)
        assert (replay.column("reason", or_absent=True) == -1).all()
        assert log.verify(replay.path) == []


def test_a_log_of_this_schema_must_hold_the_fields(old):
    with h5py.File(old[1], "r+") as file:
        file.attrs["schema_version"] = 4
    with pytest.raises(UserError, match="no field 'in_path'"):
        log.Replay(old[1])


class Physical:
    """A log in memory of a scenario with losses that depend on where ego is."""

    def __init__(self, tables, decision):
        self.scenario = json.loads(Scenario(loss=PhysicalLoss()).json)
        self.rows = {"loss_table": np.array(tables), "decision": decision}

    def column(self, name):
        return self.rows[name]


def test_losses_that_vary_are_those_of_the_decision_point():
    tables = np.arange(24.0).reshape(3, 4, 2)
    assert (loss_table(Physical(tables, None), 1) == tables[1]).all()
    assert (loss_table(Physical(tables, None), None) == tables[2]).all()


def test_an_encounter_under_physical_losses_is_scored_from_its_log_alone(tmp_path):
    path = tmp_path / "physical.h5"
    scenario = scenario_of("barrier", loss=PhysicalLoss())
    drive(scenario, 3, path, "beliefs")
    with log.Replay(path) as replay:
        found = encounter(replay)
        k = int(np.flatnonzero(replay.column("at_decision_point"))[0])
        assert (found.loss == replay.column("loss_table")[k]).all()
    assert found.realised_cost == pytest.approx(
        100.0 * min(1.0, (found.impact_speed / found.approach_speed) ** 2) * (found.loss[0, 1] / 100.0)
    )


def test_the_summary_tells_what_the_driver_did_under_any_policy(tmp_path):
    """Wald's driver has no shadow; what it did at the decision point is told, and of the others Bayes' rule."""
    path = tmp_path / "conformal.h5"
    drive(scenario_of("barrier", driver=Driver("kalman", "conformal")), 3, path, "beliefs")
    with log.Replay(path) as replay:
        table = table_of(replay, "")
        action, what = (next(iter(column.cells)) for column in table.columns[-2:])
        k = int(np.flatnonzero(replay.column("at_decision_point"))[0])
        assert action == ACTIONS[int(replay.column("action")[k])] == "brake"
        assert what == outcome(replay)
