"""Who is first sure, when, of what, and who never is: courses of single beliefs, and many of them."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fogsim.scoring.course import COURSE, SURE, Course, course_of, flips
from fogsim.scoring.scores import Score
from fogsim.scoring.survival import kaplan_meier
from tests.scored import encounter

P = np.array([[0.5, 0.5, 0.9], [0.6, 0.4, 0.9], [0.96, 0.3, 0.94], [0.3, 0.04, 0.9], [0.97, 0.6, 0.9]])
LEFT, TIME = np.array([12.0, 11.2, 10.0, 8.9, 7.5]), np.array([0.0, 0.1, 0.2, 0.3, 0.4])
# Freireich et al. 1963, weeks of remission on 6-mercaptopurine; as in Kleinbaum & Klein, Survival Analysis, ch. 2.
EVENTS, CENSORED = (6, 6, 6, 7, 10, 13, 16, 22, 23), (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)


def course(p=P, left=LEFT) -> Course:
    return course_of(np.log(np.stack([1.0 - p, p], axis=-1)), left, TIME[: len(p)])


# One encounter


def test_a_course_by_hand():
    found = course()
    at = dict(zip(COURSE, found.p, strict=True))
    for metres, row in ((12, 0), (11, 2), (10, 2), (9, 3), (8, 4)):
        assert_allclose(at[metres], P[row])
    assert all(np.isnan(at[metres]).all() for metres in (40, 13, 7, 5))  # starts at 12 m, ends at 7.5
    assert_allclose(found.decided_at, [0.2, 0.3, np.nan])
    assert_allclose(found.decided_left, [10.0, 8.9, np.nan])
    assert_allclose(found.said, [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(found.flips, [2, 1, 0])


def test_sure_of_either_class_at_its_edge():
    found = course(np.array([[SURE + 1e-9, 1.0 - SURE - 1e-9, SURE - 1e-6]]), LEFT[:1])
    assert_allclose(found.said, [1.0, 0.0, np.nan])


def test_no_number_is_never_sure():
    found = course(np.full((2, 1), np.nan), LEFT[:2])
    assert np.isnan([found.decided_at, found.said]).all()
    assert found.flips == 0


@pytest.mark.parametrize(
    ("p", "wanted"),
    [([0.5, 0.5], 0), ([0.4, 0.5, 0.6], 1), ([0.6, 0.5, 0.6], 0), ([0.6, np.nan, 0.4, 0.9], 2), ([], 0)],
)
def test_flips_by_hand(p, wanted):
    assert flips(np.array(p, float)) == wanted


@given(st.lists(st.floats(0.0, 1.0)))
def test_flips_are_those_of_the_other_class(p):
    assert flips(np.array(p)) == flips(1.0 - np.array(p))


# Survival


def test_remissions_of_the_textbook():
    found = kaplan_meier((*EVENTS, *CENSORED), [True] * len(EVENTS) + [False] * len(CENSORED))
    np.testing.assert_array_equal(found.time, [0, 6, 7, 10, 13, 16, 22, 23])
    assert_allclose(found.share, [1.0, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4)
    assert found.median == 23


@given(st.lists(st.floats(0.1, 9.0), min_size=1))
def test_without_censoring_it_is_the_share_that_is_left(times):
    found = kaplan_meier(times, np.full(len(times), True))
    assert_allclose(found.share, [np.mean(np.array(times) > t) for t in found.time], atol=1e-12)


@given(st.lists(st.tuples(st.floats(0.1, 9.0), st.booleans()), min_size=1))
def test_the_share_lies_between_all_who_left_decided_and_none(data):
    time, done = (np.array(column) for column in zip(*data, strict=True))
    found = kaplan_meier(time, done)
    assert (np.diff(found.share) <= 0.0).all()
    for t, share in zip(found.time, found.share, strict=True):
        assert np.mean(time > t) - 1e-12 <= share <= np.mean((time > t) | ~done) + 1e-12


def test_many_times_take_little_memory():
    times = np.random.default_rng(0).random(10_000)
    tracemalloc.start()
    kaplan_meier(times, times < 0.8)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4e6  # a number for each pair of times would be 100 MB


def test_half_is_half_however_its_product_is_rounded():
    for n in range(2, 60, 2):
        assert kaplan_meier(np.arange(n), np.full(n, True)).median == n // 2 - 1


def test_nobody_decides():
    assert np.isnan(kaplan_meier([1.0, 2.0], [False, False]).median)
    assert np.isnan(kaplan_meier([], []).median)


# Many encounters


def going(seed, truth, at, left, said, changes=0, **given):
    """An encounter of 3 s to 1 m past the object, in which kalman is first sure `at` s, `left` m from it."""
    found = Course(np.full((len(COURSE), 1), 0.5), *(np.array([v], float) for v in (at, left, changes, said)))
    return encounter(seed, truth, given={"course": found} | given, kalman=0.5)


def test_medians_count_the_undecided():
    nan = float("nan")
    decided = [going(k, 1, 1.0 + 0.1 * k, 12.0 - k, 1.0, changes=k) for k in range(5)]
    (row,) = Score(tuple([*decided, going(9, 0, nan, nan, nan)])).sureness
    assert (row.n, row.time, row.left) == (6, pytest.approx(1.2), pytest.approx(10.0))  # the third of six
    assert row.flips == pytest.approx(10 / 6)
    assert (row.never.mean, row.wrong.mean) == (pytest.approx(1 / 6), 0.0)
    undecided = [going(k, 0, nan, nan, nan) for k in range(10, 16)]
    (row,) = Score(tuple(decided + undecided)).sureness
    assert np.isnan([row.time, row.left]).all()


def test_a_log_that_ends_early_is_no_longer_watched():
    nan = float("nan")
    cut = [going(k, 1, nan, nan, nan, duration=0.5, distance_left=20.0) for k in range(4)]
    watched = [going(9, 1, 1.0, 12.0, 1.0), going(10, 1, 2.0, 8.0, 1.0)]
    (row,) = Score(tuple(cut + watched)).sureness
    assert (row.time, row.left) == (1.0, pytest.approx(12.0))  # half of the two who were watched till then
    assert row.never.mean == pytest.approx(4 / 6)


def test_wrong_is_of_those_who_were_sure():
    (row,) = Score((going(1, 1, 1.0, 9.0, 1.0), going(2, 1, 1.0, 9.0, 0.0), going(3, 0, 1.0, 9.0, 0.0))).sureness
    assert (row.wrong.mean, row.never.mean) == (pytest.approx(1 / 3), 0.0)
