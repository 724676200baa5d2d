"""Scores against hand numbers, slow twins and properties; logs against encounters worked out by hand."""

import dataclasses
import io
import json
import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from filters.card import EDGES
from fogsim.errors import UserError
from fogsim.scoring import metrics
from fogsim.scoring.bins import BINS, VISIBILITIES
from fogsim.scoring.cells import interval
from fogsim.scoring.encounters import MOMENTS, Encounter, encounter
from fogsim.scoring.metrics import Interval
from fogsim.scoring.report import print_score, remarks, to_dict
from fogsim.scoring.scores import Score, score
from tests.approaches import BELIEFS, BRAKE, CHANGE_LANE, PROCEED, SLOW, Memory, approach, frame, record

probabilities = st.floats(0.0, 1.0)
labelled = st.lists(st.tuples(probabilities, st.integers(0, 1)), min_size=2, max_size=20)


# Metrics


@pytest.mark.parametrize(
    ("p", "y", "loss", "squared", "right"),
    [
        (0.8, 1, 0.22314355, 0.04, 1.0),
        (0.8, 0, 1.60943791, 0.64, 0.0),
        (0.5, 1, 0.69314718, 0.25, 0.5),
        (1.0, 0, 13.81551056, 1.0, 0.0),
        (0.0, 0, 1e-6, 0.0, 1.0),
    ],
)
def test_hand_numbers(p, y, loss, squared, right):
    assert metrics.log_loss(p, y) == pytest.approx(loss, rel=1e-5)
    assert metrics.brier(p, y) == pytest.approx(squared)
    assert metrics.accuracy(p, y) == right


def test_entropy_by_hand():
    np.testing.assert_allclose(metrics.entropy([0.0, 0.2, 0.5, 1.0]), [0.0, 0.50040242, math.log(2), 0.0])
    assert np.isnan(metrics.accuracy(np.nan, 1))


@given(labelled)
def test_auc_is_the_share_of_pairs_in_order(data):
    p, y = (np.array(column) for column in zip(*data, strict=True))
    pairs = list(product(p[y == 1], p[y == 0]))
    found = metrics.auc(p, y)
    if not pairs:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]))
        assert metrics.auc(1 - p, y) == pytest.approx(
            np.mean([(1 - a > 1 - b) + 0.5 * (1 - a == 1 - b) for a, b in pairs])
        )


@given(labelled)
def test_the_other_class_scores_the_same(data):
    p, y = (np.array(column) for column in zip(*data, strict=True))
    p = np.clip(p, 1e-3, 1 - 1e-3)
    for metric in (metrics.log_loss, metrics.brier, metrics.accuracy):
        np.testing.assert_allclose(metric(p, y), metric(1 - p, 1 - y), atol=1e-9)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_log_loss_and_brier_are_proper(truth, said):
    for metric in (metrics.log_loss, metrics.brier):
        honest, other = (truth * metric(p, 1) + (1 - truth) * metric(p, 0) for p in (truth, said))
        assert honest <= other + 1e-12


def test_bootstrap_interval_covers_the_mean_19_times_in_20():
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(300):
        low, high = metrics.paired_bootstrap(rng.exponential(1.0, 80), seed=trial, n=400)[1:]
        hits += low < 1.0 < high
    assert 0.88 < hits / 300 < 0.98


def test_bootstrap_has_the_width_of_the_standard_error_and_is_reproducible():
    values = np.random.default_rng(1).normal(0.3, 2.0, 400)
    mean, low, high = found = metrics.paired_bootstrap(values)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.06)
    assert metrics.paired_bootstrap(values) == found
    assert metrics.paired_bootstrap(values, seed=1) != found


def test_bootstrap_of_many_encounters_runs_in_parts():
    values = np.random.default_rng(1).normal(size=3000)
    interval = metrics.paired_bootstrap(values, n=1000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / math.sqrt(3000), rel=0.12)


def test_bootstrap_of_one_or_none_claims_nothing():
    np.testing.assert_equal(metrics.paired_bootstrap([0.4, np.nan]), Interval(0.4, np.nan, np.nan))
    np.testing.assert_equal(metrics.paired_bootstrap([]), Interval(np.nan, np.nan, np.nan))


def test_groups_are_averaged_without_what_is_missing():
    np.testing.assert_allclose(metrics.by_group([1.0, 3.0, np.nan, 5.0, np.nan], [7, 7, 7, 2, 9]), [5.0, 2.0])
    assert metrics.by_group([], []).size == 0


# One log, one encounter


def test_beliefs_are_read_at_the_first_frame_of_each_moment():
    frames = approach()
    e = encounter(Memory(frames), "x.h5")
    left = np.array([f.distance_left[0] for f in frames])
    for m, limit in enumerate((13.0, 20.0, 15.0, 10.0, 25.0)):
        k = int(np.flatnonzero(left <= limit)[0])
        np.testing.assert_allclose(e.log_probs[m], frames[k].log_probs[:, 0])
        assert left[k] > limit - 0.9
    np.testing.assert_allclose(e.p_barrier.sum(axis=1), 1.0)  # the two beliefs mirror one another
    np.testing.assert_allclose(e.entropy, metrics.entropy(e.p_barrier))
    assert (e.seed, e.truth, e.beliefs, e.driver) == (3, 1, BELIEFS, "fused, bayes")
    assert e.distance_left == pytest.approx(left[-1])
    assert e.decision_left == left[left <= 13.0][0]


def test_what_a_log_never_reached_is_missing():
    e = encounter(Memory(approach()[:10], complete=False))  # ends 23.9 m away
    reached = np.isfinite(e.p_barrier).all(axis=1)
    assert dict(zip(MOMENTS, reached, strict=True)) == dict.fromkeys(MOMENTS[:4], False) | {"first echo": True}
    assert (e.shadow_action == -1).all()
    assert math.isnan(e.decision_left)
    for missing in (e.shadow_cost, e.shadow_collision, e.needless_brake, e.realised_cost):
        assert np.isnan(missing).all()
    starts_at_17 = encounter(Memory(approach()[17:]))
    assert np.isnan(starts_at_17.p_barrier[1]).all()  # 20 m lies before its start
    assert np.isfinite(starts_at_17.p_barrier[2]).all()


def test_shadow_actions_are_charged_by_the_truth():
    shadow = ((BRAKE, CHANGE_LANE), (SLOW, PROCEED))
    hit = encounter(Memory(approach(shadow=shadow)))
    np.testing.assert_array_equal(hit.shadow_cost, [[1, 5], [40, 100]])
    np.testing.assert_array_equal(hit.shadow_collision, [[0, 0], [1, 1]])
    np.testing.assert_array_equal(hit.needless_brake, np.zeros((2, 2)))
    bag = encounter(Memory(approach(shadow=shadow, truth_class=[0, -1])))
    np.testing.assert_array_equal(bag.shadow_cost, [[6, 3], [1, 0]])
    np.testing.assert_array_equal(bag.shadow_collision, np.zeros((2, 2)))
    np.testing.assert_array_equal(bag.needless_brake, [[1, 0], [0, 0]])


@pytest.mark.parametrize(
    ("y", "yaw", "inside"),
    [
        (-1.7, 0.0, True),  # 1.7 - 1.6 / 2 = .9 < 1.9 / 2
        (-1.8, 0.0, False),
        (1.8, 0.0, False),
        (-1.19, np.pi / 2, True),  # turned, it is .5 m across
        (-1.21, np.pi / 2, False),
    ],
)
def test_a_barrier_is_in_the_path_when_it_overlaps_what_ego_sweeps(y, yaw, inside):
    given = {"truth_position": [[32.0, y], [0.0, 0.0]], "truth_yaw": [yaw, 0.0]}
    assert encounter(Memory(approach(**given))).in_path is inside
    assert encounter(Memory(approach(**given, truth_class=[0, -1]))).in_path is False  # a bag never is


def test_a_second_object_can_be_the_barrier_in_the_path():
    second = {"truth_class": [0, 1], "truth_position": [[32.0, 0.0], [40.0, 0.3]], "truth_size": [[0.5, 1.6, 0.9]] * 2}
    e = encounter(Memory(approach(**second)))
    assert (e.truth, e.in_path) == (0, True)


@pytest.mark.parametrize(
    ("barrier", "actions", "cost"),
    [
        (False, (PROCEED,), 0.0),
        (False, (PROCEED, SLOW), 1.0),
        (False, (PROCEED, SLOW, CHANGE_LANE), 3.0),
        (False, (SLOW, BRAKE), 6.0),
        (True, (SLOW, BRAKE), 1.0),
        (True, (SLOW, CHANGE_LANE), 5.0),
        (True, (CHANGE_LANE, BRAKE), 1.0),
        (True, (PROCEED, SLOW), 1.0),
    ],
)
def test_realised_cost_without_collision(barrier, actions, cost):
    e = encounter(Memory(approach(actions=actions, truth_class=[int(barrier), -1])))
    assert e.realised_cost == cost
    assert e.braked_needlessly == (BRAKE in actions and not barrier)


@pytest.mark.parametrize(
    ("actions", "speed", "cost"),
    [((PROCEED,), 8.0, 100.0), ((SLOW,), 4.0, 1.0 + 25.0), ((SLOW, BRAKE), 2.0, 1.0 + 6.25), ((PROCEED,), 9.0, 100.0)],
)
def test_a_collision_costs_its_share_of_the_energy(actions, speed, cost):
    frames = approach(actions=actions)
    frames[-1] = dataclasses.replace(frames[-1], collided=np.bool_(True), ego_speed=np.float64(speed))
    e = encounter(Memory(frames, complete=False))  # a collision is an outcome, whatever came after
    assert (e.collided, e.impact_speed) == (True, speed)
    assert e.realised_cost == pytest.approx(cost)


def test_nothing_to_score_is_said():
    with pytest.raises(UserError, match=r"x\.h5 has no frame"):
        encounter(Memory([]), "x.h5")
    with pytest.raises(UserError, match="no object"):
        encounter(Memory([frame(truth_class=[-1, -1])]), "x.h5")


# Many encounters


def made(seed, truth, p, **given) -> Encounter:
    """An encounter in which fused says p at every moment, kalman the opposite."""
    base = encounter(Memory(approach(truth_class=[truth, -1]), seed=seed), f"{seed}.h5")
    log_probs = np.broadcast_to(np.log([[p, 1 - p], [1 - p, p]]), (len(MOMENTS), 2, 2))
    return dataclasses.replace(base, **({"log_probs": log_probs} | given))


def row(rows, **wanted):
    return next(r for r in rows if all(getattr(r, k) == v for k, v in wanted.items()))


def test_a_table_by_hand():
    result = Score((made(1, 1, 0.8), made(2, 0, 0.4), made(3, 1, 0.04)))
    fused = row(result.beliefs, belief="fused", moment="10 m")
    losses = -np.log([0.8, 0.6, 0.04])
    assert fused.n == 3
    assert fused.log_loss == pytest.approx(losses.mean())
    assert fused.gain == metrics.paired_bootstrap(losses - np.log(2))
    assert fused.brier == pytest.approx((0.04 + 0.16 + 0.9216) / 3)
    assert (fused.accuracy, fused.auc, fused.undecided) == (pytest.approx(2 / 3), 0.5, pytest.approx(2 / 3))
    assert row(result.beliefs, belief="kalman", moment="10 m").auc == 0.5
    bayes = row(result.policies, belief="fused", policy="bayes")  # slow: 40, 1, 40
    assert (bayes.n, bayes.collisions, bayes.needless_brakes) == (3, 2, 0)
    assert bayes.cost.mean == pytest.approx(27.0)
    brakes = row(result.policies, belief="kalman", policy="most_likely_label")
    assert (brakes.cost.mean, brakes.collisions, brakes.needless_brakes) == (pytest.approx(8 / 3), 0, 1)


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(6)))
def test_order_of_logs_does_not_matter(order):
    rng = np.random.default_rng(0)
    encounters = [made(k, int(rng.integers(2)), float(rng.uniform(0.1, 0.9))) for k in range(6)]
    one, other = Score(tuple(encounters)), Score(tuple(encounters[k] for k in order))
    for a, b in zip(one.beliefs, other.beliefs, strict=True):
        np.testing.assert_allclose(a[2:4], b[2:4])
        np.testing.assert_allclose(a.gain, b.gain)  # resampled by seed, not by place in the list
    assert one.policies == other.policies


def test_logs_that_share_a_seed_count_once_in_an_interval():
    single = [made(k, k % 2, 0.3 + 0.1 * k) for k in range(5)]
    one, doubled = Score(tuple(single)), Score(tuple(single + single))
    a, b = (row(s.beliefs, belief="fused", moment="10 m") for s in (one, doubled))
    assert (a.n, b.n) == (5, 10)
    np.testing.assert_allclose(a.gain, b.gain)  # seen twice, no surer


def test_log_loss_and_its_gain_are_means_over_the_same():
    """Two logs of one seed weigh as much as one of another."""
    rows = Score((made(1, 1, 0.8), made(1, 1, 0.8), made(2, 1, 0.4))).beliefs
    fused, losses = row(rows, belief="fused", moment="10 m"), -np.log([0.8, 0.4])
    assert fused.log_loss == pytest.approx(losses.mean())
    np.testing.assert_allclose(fused.loss, metrics.paired_bootstrap(losses))


def test_drivers_are_compared_on_what_both_drove():
    truster = [
        made(k, 1, 0.5, driver="fused, most_likely_label", actions=(True, False, False, False)) for k in range(4)
    ]
    crashed = [dataclasses.replace(e, collided=True, impact_speed=8.0) for e in truster]
    holder = [made(k, 1, 0.5) for k in range(1, 6)]
    stray = dataclasses.replace(holder[0], setting="another street", seed=3, collided=True, impact_speed=8.0)
    result = Score((*crashed, *holder, stray))
    assert [d.n for d in result.drivers] == [4, 6]
    assert row(result.drivers, driver="fused, most_likely_label").cost.mean == pytest.approx(100.0)
    (difference,) = result.differences
    assert (difference.cost.n, difference.cost.difference.mean) == (3, pytest.approx(99.0))
    assert difference.collisions.difference.mean == 1.0


def test_killed_logs_are_scored_where_they_got_to():
    killed = encounter(Memory(approach()[:20], seed=9, complete=False), "killed.h5")  # 14.9 m
    result = Score((made(1, 1, 0.8), killed))
    assert [row(result.beliefs, belief="fused", moment=m).n for m in MOMENTS] == [1, 2, 2, 1, 2]
    assert result.drivers[0].n == 1
    assert result.unfinished == ("killed.h5",)
    assert any("killed.h5 has no end" in line for line in remarks(result))
    assert "1 of 2 never reached: 10 m" in remarks(result)


def test_folders_and_files_are_scored_from_disk(tmp_path):
    for seed in (1, 2):
        record(tmp_path / f"{seed}.h5", approach(p=0.7 + 0.1 * seed), seed)
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "3.h5", approach(), 3, fail=True)
    (tmp_path / "junk.h5").write_bytes(b"no log at all")
    result = score(tmp_path)
    assert [e.seed for e in result.encounters] == [1, 2, 3]
    assert [name for name, _ in result.refused] == ["junk.h5"]
    assert result.unfinished == ("3.h5.part",)
    in_memory = Score(tuple(encounter(Memory(approach(p=0.7 + 0.1 * s), seed=s)) for s in (1, 2)))
    on_disk = score([tmp_path / "1.h5", str(tmp_path / "2.h5"), tmp_path / "1.h5"])  # named twice, counted once
    assert to_dict(on_disk) == to_dict(in_memory)


def test_an_encounter_keeps_nothing_else_of_its_log(tmp_path):
    """A view would keep its whole column in memory, of every log."""
    record(tmp_path / "1.h5", approach())
    (e,) = score(tmp_path).encounters
    held = [*vars(e).values(), *e.course]
    assert not [a.shape for a in held if isinstance(a, np.ndarray) and a.base is not None and a.base.nbytes > a.nbytes]
    assert sum(a.nbytes for a in held if isinstance(a, np.ndarray)) < 4000


def test_scores_are_split_where_maps_are():
    """By the edges of calibration cards."""
    assert list(pairwise((0.0, *EDGES, math.inf))) == [VISIBILITIES[name] for name in BINS]


def test_every_table_is_split_by_fog():
    thick, thin = (made(k, k % 2, 0.6, visibility=v) for k, v in ((1, 15.0), (2, 40.0)))
    result = Score((thick, thin))
    assert [p.encounters for p in result.in_fog.values()] == [(thick,), (), (thin,)]
    assert row(result.in_fog["below 20 m"].beliefs, belief="fused", moment="10 m").n == 1
    split = to_dict(result)["in_fog"]
    assert list(split) == ["below 20 m", "20 to 30 m", "above 30 m"]
    assert split["above 30 m"]["policies"][0]["n"] == 1
    assert not any(split["20 to 30 m"].values())


def test_bad_paths_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"holds no log.*fogsim run"):
        score(tmp_path)
    with pytest.raises(UserError, match="name at least one"):
        score([])
    with pytest.raises(UserError, match=r"no log .*gone\.h5"):
        score(tmp_path / "gone.h5")
    (tmp_path / "junk.h5").write_bytes(b"no log at all")
    with pytest.raises(UserError, match=r"none of the 1 logs.*junk\.h5"):
        score(tmp_path)
    with pytest.raises(UserError, match=r"junk\.h5"):
        score(tmp_path / "junk.h5")


def test_report_shows_both_policies_and_fits_json():
    killed = encounter(Memory(approach()[:20], seed=9, complete=False), "killed.h5")
    result = Score((made(1, 1, 0.8), made(2, 0, 0.4), killed), (("junk.h5", "junk.h5 is not HDF5"),))
    console = Console(file=io.StringIO(), width=140)
    print_score(result, console)
    text = console.file.getvalue()
    for wanted in ("10 m", "at the decision point", "likeliest", "kalman", "fused", "junk.h5", "killed.h5"):
        assert wanted in text
    table = json.loads(json.dumps(to_dict(result), allow_nan=False))
    assert (table["encounters"], table["clip"]) == (3, 1e-6)
    assert len(table["policies"]) == 4
    assert table["not_reached"]["10 m"] == 1
    assert "\n" not in "".join(remarks(result))


def test_numbers_read_as_intervals():
    assert interval(Interval(0.1234, -0.5, 0.75)) == "0.123 [-0.500, 0.750]"
    assert interval(Interval(0.5, math.nan, math.nan), ".1f") == "0.5"
    assert interval(Interval(math.nan, math.nan, math.nan)) == "–"
