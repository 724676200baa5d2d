import numpy as np
import pytest

from filters.models.motion import BagMotion, frame_drift
from filters.models.odometry import Odometry, between, compose
from filters.spec import Pose
from fogsim.sensors.odometry import measure

N = 100_000
DT = 0.1
STILL, ALWAYS = (
    BagMotion(gust_rate=0.0, calm_rate=0.0),
    BagMotion(gust_rate=0.0, calm_rate=0.0, gust_speed=0.7, gust_time=0.5),
)


def zeros(gust):
    return np.zeros((N, 2)), np.zeros((N, 2)), np.full(N, float(gust))


def test_a_calm_bag_wanders():
    """p' = p + N(0, q² dt), v' = 0."""
    position, velocity, gust = STILL.step(*zeros(0), DT, np.random.default_rng(0))
    assert position.var(axis=0) == pytest.approx(0.03**2 * DT, rel=0.02)
    assert np.abs(position.mean(axis=0)).max() < 5 * 0.03 * np.sqrt(DT / N)
    assert not velocity.any()
    assert not gust.any()
    for _ in range(3):
        position, velocity, gust = STILL.step(position, velocity, gust, DT, np.random.default_rng(_ + 1))
    assert position.var(axis=0) == pytest.approx(4 * 0.03**2 * DT, rel=0.02)  # steps are independent


def test_a_gust_holds_its_variance_and_forgets_exponentially():
    """v' = a v + sqrt(1 - a²) N(0, s²) keeps s² and correlates by a^k over k steps; p' = p + v' dt."""
    rng = np.random.default_rng(1)
    place, _, gust = zeros(1)
    first = velocity = rng.normal(0.0, 0.7, (N, 2))
    for k in range(1, 5):
        before = place
        place, velocity, gust = ALWAYS.step(place, velocity, gust, DT, rng)
        assert velocity.var(axis=0) == pytest.approx(0.49, rel=0.02)
        correlation = [np.corrcoef(first[:, d], velocity[:, d])[0, 1] for d in (0, 1)]
        assert correlation == pytest.approx([np.exp(-DT * k / 0.5)] * 2, abs=0.01)
        assert place - before == pytest.approx(velocity * DT)
        assert gust.all()
    assert abs(np.corrcoef(velocity.T)[0, 1]) < 0.01


def test_a_gust_from_rest_speeds_up():
    """From v = 0 the variance after k steps is s² (1 - a^2k)."""
    rng, state = np.random.default_rng(2), zeros(1)
    for k in range(1, 6):
        state = ALWAYS.step(*state, DT, rng)
        assert state[1].var(axis=0) == pytest.approx(0.49 * (1.0 - np.exp(-2.0 * DT * k / 0.5)), rel=0.02)


@pytest.mark.parametrize("dt", [0.05, 0.1, 0.5])
def test_switches_come_at_their_rates(dt):
    motion, rng = BagMotion(gust_rate=0.4, calm_rate=1.5), np.random.default_rng(3)
    switch = motion.switch(dt)
    assert switch.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert switch[[0, 1], [1, 0]] == pytest.approx([1.0 - np.exp(-0.4 * dt), 1.0 - np.exp(-1.5 * dt)])
    for gust in (0, 1):
        position, velocity, after = motion.step(*zeros(gust), dt, rng)
        assert after.mean() == pytest.approx(switch[gust, 1], abs=5 * np.sqrt(0.25 / N))
        assert not velocity[after == 0.0].any()
        assert (velocity[after == 1.0] != 0.0).all()
        assert set(np.unique(after)) == {0.0, 1.0}
        assert position[after == 0.0].var(axis=0) == pytest.approx(motion.wander**2 * dt, rel=0.05)


def test_the_share_of_gusts_settles():
    motion, rng = BagMotion(), np.random.default_rng(4)
    state = zeros(0)
    velocity, gust = motion.start(N, rng)
    assert gust.mean() == pytest.approx(motion.gust_share, abs=5 * np.sqrt(0.25 / N))
    assert not velocity[gust == 0.0].any()
    assert velocity[gust == 1.0].var(axis=0) == pytest.approx(motion.gust_speed**2, rel=0.03)
    for _ in range(80):
        state = motion.step(*state, DT, rng)
    assert state[2].mean() == pytest.approx(motion.gust_share, rel=0.03)


def test_persistence_composes():
    motion = BagMotion()
    assert motion.persistence(0.3) == pytest.approx(motion.persistence(0.1) ** 3)
    assert motion.persistence(motion.gust_time) == pytest.approx(np.exp(-1.0))


def test_frame_drift_is_what_odometry_errors_do_to_a_standing_object():
    """The object holds still about the true pose; in odometry's frame it sits at the same place about the estimate."""
    rng, odometry = np.random.default_rng(5), Odometry(translation=0.02, turn=0.004)
    before, after, estimate = np.array([3.0, 1.0, 0.4]), np.array([3.8, 1.3, 0.55]), Pose(2.5, 1.4, 0.9, 0.9)
    body = np.array([18.0, -4.0])  # of the object, as ego truly sees it after the step
    motions = [measure(before, after, estimate, odometry, 0.1, rng) for _ in range(40_000)]
    poses = np.array([[m.pose.x, m.pose.y, m.pose.yaw] for m in motions])
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    seen = poses[:, :2] + np.column_stack([c * body[0] - s * body[1], s * body[0] + c * body[1]])
    exact = compose(np.array([estimate.x, estimate.y, estimate.yaw]), between(before, after))
    standing = compose(exact, np.array([*body, 0.0]))[:2]
    motion = motions[0].__class__(motions[0].delta, motions[0].covariance, Pose(exact[0], exact[1], 0.9, exact[2]))
    drift, found = frame_drift(motion, standing), np.cov(seen.T)
    assert found == pytest.approx(drift, abs=0.02 * np.linalg.norm(drift))
    assert drift == pytest.approx(drift.T)
    turned_only = frame_drift(motion.__class__(motion.delta, np.diag([0.0, 0.0, 1e-4]), motion.pose), standing)
    away = standing - exact[:2]
    assert turned_only @ away == pytest.approx(0.0, abs=1e-12)  # a turn moves it across the line of sight
    assert np.trace(turned_only) == pytest.approx(1e-4 * away @ away)


def test_odometry_reports_the_motion_with_its_covariance():
    rng, odometry = np.random.default_rng(7), Odometry()
    before, after = np.array([1.0, 2.0, 0.3]), np.array([1.7, 2.3, 0.33])
    motions = [measure(before, after, Pose(0.0, 0.0, 0.9, 0.0), odometry, 0.1, rng) for _ in range(20_000)]
    errors = np.array([m.delta for m in motions]) - between(before, after)
    assert np.abs(errors.mean(axis=0) / np.sqrt(np.diag(motions[0].covariance))).max() < 5 / np.sqrt(20_000)
    assert np.cov(errors.T) == pytest.approx(motions[0].covariance, rel=0.03, abs=1e-7)
    x, y, yaw = compose(np.zeros(3), motions[0].delta)
    assert motions[0].pose[:4] == pytest.approx((x, y, 0.9, yaw))
