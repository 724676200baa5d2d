"""How stories walk: noise stays N(0, 1), latents move as often one way as the other, and who may not stays."""

import numpy as np
import pytest
from scipy.stats import kstest

from filters.stories import GUST
from filters.streams import stream
from filters.walks import FEW, GUSTS, LEAPS, NOISES, walk

N, STEPS = 20_000, 7
SOME = np.arange(N) % 4 > 0


@pytest.fixture(scope="module")
def walked():
    """Latents about a far point, normals, and what a walk made of them; members are few."""
    rng = stream(1, "walks")
    before = 5.0 + rng.standard_normal((N, 3)), rng.standard_normal((N, 3)), rng.standard_normal((N, STEPS, GUST + 1))
    members = np.array([[0.0, 1.0, -2.0], [1.0, 0.0, 4.0], [-3.0, 0.5, 0.0]])
    after = tuple(part.copy() for part in before)
    walk(*after, members, SOME, rng)
    return before, after, members


def normals_of(walked):
    """All normals (stories, m) of those that may, afterwards, and which of them moved."""
    both = [np.column_stack([part[1], part[2].reshape(N, -1)])[SOME] for part in walked[:2]]
    return both[1], both[0] != both[1]


def test_who_may_not_stays(walked):
    for old, new in zip(*walked[:2], strict=True):
        np.testing.assert_array_equal(old[~SOME], new[~SOME])


def test_noise_stays_standard_normal(walked):
    """Every normal, those that moved for themselves, and no two of a story are alike afterwards."""
    normals, moved = normals_of(walked)
    assert min(kstest(column, "norm").pvalue for column in normals.T) > 1e-4
    off = np.corrcoef(normals.T) - np.eye(normals.shape[1])
    assert np.abs(off).max() < 5.0 / np.sqrt(len(normals))
    all_moved = moved.mean(axis=1) > 0.9
    for some in (all_moved, moved.any(axis=1) & ~all_moved):  # all noise, gusts alone
        squares = normals[some][moved[some]] ** 2
        assert abs(squares.mean() - 1.0) < 5.0 * np.sqrt(2.0 / len(squares))


def test_gusts_or_all_noise_move_as_often_as_is_told(walked):
    (_, start, noise), (_, new_start, new_noise), _ = walked
    others = (noise != new_noise)[SOME][:, :, :GUST].any(axis=(1, 2))
    gusts = (noise != new_noise)[SOME][:, :, GUST]
    assert others.mean() == pytest.approx(NOISES, abs=0.015)
    moved = np.column_stack([(start != new_start)[SOME][:, 2], gusts])[~others]
    assert moved.any(axis=1).mean() * (1.0 - NOISES) == pytest.approx(GUSTS, abs=0.015)
    first = moved[moved.any(axis=1)].argmax(axis=1)  # from a step on, each as likely as any
    assert np.bincount(first, minlength=STEPS + 1) == pytest.approx(len(first) / (STEPS + 1), rel=0.15)
    assert (moved.sum(axis=1)[moved.any(axis=1)] == STEPS + 1 - first).all()
    assert not (start != new_start)[SOME][:, :2][~others].any()


def test_most_noise_moves_a_little(walked):
    (_, _, noise), (_, _, new), _ = walked
    moved = (noise != new)[:, :, 0].all(axis=1)
    step = (new - noise)[moved].std(axis=(1, 2))
    assert np.quantile(step, 0.5) == pytest.approx(np.sqrt(2.0 - 2.0 * np.sqrt(1.0 - 0.5**6)), rel=0.15)


def test_latents_move_along_differences_of_members(walked):
    """As often one way as the other; some along a few coordinates, some by all of a difference."""
    (u, *_), (new, *_), members = walked
    move = (new - u)[SOME]
    assert (np.abs(move.mean(axis=0)) < 4.0 * move.std(axis=0) / np.sqrt(len(move))).all()
    still = (move == 0.0).mean(axis=1)
    several = 1.0 - 1.0 / len(members)  # that the two members differ, which they do in every coordinate
    assert ((still > 0.0) & (still < 1.0)).mean() == pytest.approx(
        several * FEW[0] * (1 - (1 - FEW[1]) ** 3 - FEW[1] ** 3), abs=0.015
    )
    differences = (members[:, None] - members[None])[~np.eye(3, dtype=bool)]
    whole = (np.abs(move[:, None] - differences) < 1e-9).all(axis=2).any(axis=1)
    assert whole.mean() == pytest.approx(several * LEAPS * (1.0 - FEW[0] * (1.0 - FEW[1] ** 3)), abs=0.01)
    along = move[(still == 0.0) & ~whole]
    share = along / (along[:, :1])
    assert (np.abs(share[:, None] - differences / differences[:, :1]) < 1e-6).all(axis=2).any(axis=1).all()
