"""Two logs, or two beliefs, in one picture on one cursor."""

import dataclasses

import numpy as np
import pytest

from fogsim.errors import UserError
from fogsim.viewer import style
from fogsim.viewer.beliefs import belief_bar
from fogsim.viewer.camera import camera
from fogsim.viewer.deciding import banner_area
from fogsim.viewer.over_time import plot_area
from fogsim.viewer.pair import layout_pair
from fogsim.viewer.show import Side, show_of
from fogsim.viewer.timeline import different, line_area
from fogsim.viewer.view import SIZE, view_of
from tests.viewed import BELIEFS, Memory, beliefs_of, drive, frame, near, pixels, said, slots

AT = layout_pair(SIZE)


def log(p: float, action: int, n: int = 30, speed: float = 7.0) -> Memory:
    """Of which every belief says p, and whose driver does one thing; ego drives at `speed`."""
    pose = [np.array([0.1 * speed * k, 0.0, 0.0]) for k in range(n)]
    made = {"log_probs": beliefs_of(p), "action": action}
    return Memory([frame(time=0.1 * k, ego_pose=at, odometry=at, **made) for k, at in enumerate(pose)])


def share(image: np.ndarray, area, row: int, rows: int, colour) -> float:
    """How much of a belief's bar is filled."""
    line = belief_bar(area, row, rows)
    return (image[line.x : line.right, line.y + 1] == colour).all(axis=1).mean()


def test_both_logs_are_shown_each_in_its_own_place():
    show = show_of([log(0.3, 0), log(0.9, 3)], ["first", "second"])
    image = pixels(show.picture(0, 1.0))
    for k, p in enumerate((0.3, 0.9)):
        for row in range(len(BELIEFS)):
            filled = share(image, AT.beliefs[k], row, len(BELIEFS), style.belief_colour(BELIEFS, row))
            assert filled == pytest.approx(p, abs=0.02)
        at = np.array(banner_area(AT.decisions[k]).midleft) + np.array([3, 0])
        assert tuple(image[tuple(at)]) == style.ACTION_COLOURS[3 * k]


def test_each_car_stands_on_its_own_map_at_the_instant_of_the_cursor():
    slow = log(0.5, 0, speed=3.0)
    show = show_of([log(0.5, 0), slow], ["first", "second"])
    image = pixels(show.picture(0, 2.0, left=-5.0, span=48.0))  # maps that stand, so that the cars are apart
    for k, source in enumerate(show.logs):
        f, street = source[20], AT.streets[k]
        eye = camera(f, dataclasses.replace(show.views[k], left=-5.0), street)
        roof = np.round(eye(f.ego_pose[:2] - np.array([0.65 * 4.4, 0.0]))).astype(int)
        assert tuple(image[tuple(roof)]) == style.EGO
    roofs = [3.0 * 2.0, 7.0 * 2.0]
    other = np.round(
        camera(slow[20], dataclasses.replace(show.views[1], left=-5.0), AT.streets[1])(np.array([roofs[1] - 2.9, 0.0]))
    ).astype(int)
    assert tuple(image[tuple(other)]) != style.EGO


def test_a_log_that_has_ended_is_held_at_its_end():
    show = show_of([log(0.3, 3, n=10), log(0.9, 0)], ["short", "long"])
    assert show.times()[-1] == pytest.approx(2.9)
    late, end = (pixels(show.picture(0, t)) for t in (2.5, 0.9))
    a = AT.beliefs[0]
    assert (late[a.x : a.right, a.y : a.bottom] == end[a.x : a.right, a.y : a.bottom]).all()


def test_what_differs_is_yellow():
    same = pixels(show_of([log(0.3, 0), log(0.3, 0)], ["a", "b"]).picture(0, 1.0))
    other = pixels(show_of([log(0.3, 0), log(0.9, 3)], ["a", "b"]).picture(0, 1.0))
    line = line_area(AT.timeline)
    places = [banner_area(d).inflate(4, 4) for d in AT.decisions]
    for image, expected in ((same, False), (other, True)):
        for banner in places:
            assert near(image, (banner.centerx, banner.y), style.YELLOW, reach=1, tolerance=10) is expected
        for area in AT.beliefs:
            told = (image[area.x : area.right, area.y : area.bottom] == style.YELLOW).all(axis=2).any()
            assert told == expected
        assert near(image, (line.x + 30, line.centery), style.YELLOW, reach=1, tolerance=10) is expected


def test_the_stretches_in_which_drivers_act_otherwise():
    first, second = log(0.5, 0), log(0.5, 0)
    second.frames[5:9] = [dataclasses.replace(f, action=np.int8(3)) for f in second.frames[5:9]]
    second.frames[20:] = [dataclasses.replace(f, action=np.int8(1)) for f in second.frames[20:]]
    found = different(view_of(first), view_of(second))
    np.testing.assert_allclose(found, [[0.5, 0.8], [2.0, 2.9]])
    assert different(view_of(first), view_of(first)) == []


def test_two_beliefs_of_one_log():
    f = [dataclasses.replace(x, log_probs=beliefs_of(0.2).copy()) for x in drive(30).frames]
    for x in f:
        x.log_probs[1] = np.log([0.4, 0.6])
    show = show_of([Memory(f)], ["one"], ("kalman", "particle"))
    image = pixels(show.picture(0, 1.0))
    for k, p in ((0, 0.2), (1, 0.6)):
        assert share(image, AT.beliefs[k], 0, 1, style.belief_colour(BELIEFS, k)) == pytest.approx(p, abs=0.02)
        difference = (
            image[AT.beliefs[k].x : AT.beliefs[k].right, AT.beliefs[k].y : AT.beliefs[k].bottom] == style.YELLOW
        ).all(axis=2)
        assert difference.any()


def test_the_scenes_that_one_log_and_two_offer():
    one = show_of([drive()], ["one"])
    assert one.scenes[0] == (Side(0),)
    others = [b for b in BELIEFS if b != "fused"]
    assert one.scenes[1:] == tuple((Side(0, "fused"), Side(0, b)) for b in others)
    two = show_of([drive(), drive()], ["a", "b"])
    assert two.scenes == ((Side(0), Side(1)), (Side(0),), (Side(1),))
    named = show_of([drive(), drive()], ["a", "b"], ("bnn", "kalman"))
    assert named.scenes[0] == (Side(0, "bnn"), Side(1, "kalman"))


def test_a_belief_that_is_not_there_and_a_log_without_frames_are_refused():
    with pytest.raises(UserError, match="one has no belief 'kalmn': did you mean 'kalman'"):
        show_of([drive()], ["one"], ("kalmn", "bnn"))
    with pytest.raises(UserError, match="none has no frame"):
        show_of([Memory([])], ["none"])


def test_a_log_has_ended_only_after_its_last_frame(monkeypatch):
    crashed = log(0.3, 3, n=10)
    crashed.frames[9] = dataclasses.replace(crashed.frames[9], collided=np.bool_(True))
    show = show_of([crashed, log(0.9, 0)], ["short", "long"])
    for seconds, ended in ((0.45, False), (0.9, False), (0.95, True), (2.0, True)):
        words = said(monkeypatch, lambda at=seconds: show.picture(0, at))
        assert ("short   7.2 m/s   20.0 m left   ended at 0.9 s" in words) is ended
        assert not any("ended at 2.9" in w for w in words)
        assert ("COLLISION" in words) == (seconds >= 0.9)


def test_the_difference_is_this_less_the_other(monkeypatch):
    words = said(monkeypatch, lambda: show_of([log(0.3, 0), log(0.9, 3)], ["a", "b"]).picture(0, 1.0))
    assert words.count("-0.600") == words.count("+0.600") == len(BELIEFS)


def test_both_are_about_the_same_candidate(monkeypatch):
    held = beliefs_of(0.1).copy()
    held[:, 1] = np.log([0.2, 0.8])
    made = {"track_id": slots([0, 1], -1), "log_probs": held}
    logs = [Memory([frame(time=0.0, distance_left=slots(left, np.nan), **made)]) for left in ([9, 20], [-3, 8])]
    words = said(monkeypatch, lambda: show_of(logs, ["a", "b"]).picture(0, 0.0))
    assert words.count("P(barrier) of 1") == 2
    assert not any(w.startswith(("+0.", "-0.")) for w in words)


def test_of_two_logs_both_lines_both_bands_and_both_decision_points_are_drawn():
    logs = [log(0.3, 0), log(0.9, 3)]
    for k, source in enumerate(logs):
        at = 10 + 8 * k
        source.frames[at] = dataclasses.replace(source.frames[at], at_decision_point=np.bool_(True))
    image, plot, line = (
        pixels(show_of(logs, ["a", "b"]).picture(0, 2.9)),
        plot_area(AT.over_time),
        line_area(AT.timeline),
    )
    for p in (0.3, 0.9):
        y = round(plot.y + (1 - p) * (plot.height - 1))
        row = np.abs(image[plot.x : plot.right, y - 1 : y + 2] - style.FUSED).sum(axis=2).min(axis=1)
        assert (row < 200).mean() > 0.9
    for seconds in (1.0, 1.8):
        x = plot.x + round(seconds / 2.9 * (plot.width - 1))
        assert near(image, (x, plot.bottom + 2), style.YELLOW, reach=1, tolerance=10)
    x = line.x + 100
    for y, action in ((line.y, 0), (line.bottom - 1, 3)):
        assert tuple(image[x, y]) == style.mix(style.TRACK, style.ACTION_COLOURS[action], 0.75)


def test_events_of_both_logs_can_be_reached():
    first, second = log(0.5, 0), log(0.5, 0)
    second.frames[12] = dataclasses.replace(second.frames[12], at_decision_point=np.bool_(True))
    show = show_of([first, second], ["a", "b"])
    assert [e.time for e in show.events(0)] == [pytest.approx(1.2)]
    assert show.events(1) == []


def test_times_are_of_the_logs_in_the_scene_and_of_the_finer_of_two():
    coarse = log(0.5, 0, n=10)
    fine = Memory([frame(time=0.04 * k) for k in range(75)])
    show = show_of([coarse, fine], ["coarse", "fine"])
    np.testing.assert_allclose(show.times(0), 0.04 * np.arange(75), atol=1e-9)
    np.testing.assert_allclose(show.times(1), 0.1 * np.arange(10), atol=1e-9)
    np.testing.assert_allclose(show.times(2), 0.04 * np.arange(75), atol=1e-9)


def test_a_belief_that_does_not_drive_shows_what_it_would_do(monkeypatch):
    shadow = np.zeros((5, 2))
    shadow[1] = 3
    expected = np.tile([50.0, 20.5, 4.0, 3.5], (5, 1))
    expected[1] = [70.0, 30.0, 6.0, 2.25]
    one = Memory([frame(time=0.0, shadow_action=shadow, expected_loss=expected)])
    words = said(monkeypatch, lambda: show_of([one], ["one"], ("fused", "particle")).picture(0, 0.0))
    assert {"PROCEED", "BRAKE", "would do; fused drives", "3.50", "2.25"} <= set(words)


def test_two_beliefs_of_two_logs_are_named_with_their_logs(monkeypatch):
    words = said(monkeypatch, lambda: show_of([drive(), drive()], ["a", "b"], ("bnn", "bnn")).picture(0, 1.0))
    assert {"bnn, a", "bnn, b"} <= set(words)


def test_every_scene_of_several_candidates_can_be_drawn():
    several = [
        frame(time=0.1 * k, track_id=slots([0, 1, 2], -1), distance_left=slots([9, 20, 30], np.nan)) for k in range(4)
    ]
    show = show_of([Memory(several)], ["one"])
    pictures = [pixels(show.picture(k, 0.2)) for k in range(len(show.scenes))]
    assert len({p.tobytes() for p in pictures}) == len(pictures)
