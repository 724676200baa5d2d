"""Keys and the clock: what they do to the state of the player."""

import dataclasses

import numpy as np
import pytest

from fogsim.viewer.events import Event, beside
from fogsim.viewer.player import SPANS, Player, advance, press, zoom
from fogsim.viewer.view import OVERLAYS, SHOWN
from tests.viewed import pygame

TIMES = np.arange(30) * 0.1


def pressed(state: Player, *keys: int, shift: bool = False) -> Player:
    for key in keys:
        state = press(state, key, shift, TIMES, scenes=3)
    return state


def test_keys():
    start = Player()
    assert pressed(start, pygame.K_SPACE).playing is False
    assert pressed(start, pygame.K_SPACE, pygame.K_SPACE).playing is True
    stepped = pressed(start, pygame.K_RIGHT, pygame.K_RIGHT, pygame.K_LEFT)
    assert (stepped.time, stepped.playing) == (pytest.approx(0.1), False)
    assert pressed(start, pygame.K_RIGHT, shift=True).time == pytest.approx(1.0)
    assert pressed(start, pygame.K_LEFT).time == 0.0
    assert pressed(start, pygame.K_END).time == pytest.approx(2.9)
    assert pressed(start, pygame.K_END, pygame.K_RIGHT).time == pytest.approx(2.9)
    assert pressed(start, pygame.K_END, pygame.K_HOME).time == 0.0
    assert pressed(start, pygame.K_RIGHTBRACKET).speed == 2.0
    assert pressed(start, *[pygame.K_RIGHTBRACKET] * 9).speed == 8.0
    assert pressed(start, *[pygame.K_LEFTBRACKET] * 9).speed == 0.1
    assert pressed(start, pygame.K_3).overlays == SHOWN - {"truth"}
    assert pressed(start, pygame.K_3, pygame.K_3, pygame.K_7).overlays == frozenset(OVERLAYS)
    assert pressed(start, pygame.K_9).overlays == SHOWN - {"metrics"}
    assert pressed(start, pygame.K_l).looping is True
    assert [pressed(start, *[pygame.K_c] * k).scene for k in range(4)] == [0, 1, 2, 0]
    for key, shift in ((pygame.K_h, False), (pygame.K_SLASH, True), (pygame.K_QUESTION, False)):
        assert pressed(start, key, shift=shift).helping is True
    assert pressed(start, pygame.K_h, pygame.K_h).helping is False
    assert pressed(start, pygame.K_x, pygame.K_0) == start
    assert pressed(start, pygame.K_q).running is False
    assert pressed(start, pygame.K_ESCAPE).running is False


def test_a_speed_of_ones_own_finds_its_way_among_the_others():
    assert pressed(Player(speed=1.5), pygame.K_RIGHTBRACKET).speed == 2.0
    assert pressed(Player(speed=1.5), pygame.K_LEFTBRACKET).speed == 1.0
    assert pressed(Player(speed=20.0), pygame.K_RIGHTBRACKET).speed == 20.0


def test_space_at_the_end_begins_again():
    ended = dataclasses.replace(pressed(Player(), pygame.K_END), playing=False)
    again = pressed(ended, pygame.K_SPACE)
    assert (again.time, again.playing) == (0.0, True)


def test_zoom_is_undone_and_bounded():
    assert pressed(Player(), pygame.K_PLUS).span < Player().span
    assert pressed(Player(), pygame.K_PLUS, pygame.K_MINUS).span == pytest.approx(Player().span)
    assert zoom(Player(), 99).span == SPANS[0]
    assert zoom(Player(), -99).span == SPANS[1]


def test_time_goes_on_by_the_speed_and_stops_loops_or_waits_at_the_end():
    assert advance(Player(speed=2.0), 0.5, TIMES, False).time == pytest.approx(1.0)
    assert advance(Player(playing=False), 0.5, TIMES, False).time == 0.0
    end = advance(Player(), 99.0, TIMES, False)
    assert (end.time, end.playing) == (pytest.approx(2.9), False)
    assert advance(Player(looping=True), 99.0, TIMES, False).time == 0.0
    waits = advance(Player(), 99.0, TIMES, True)
    assert (waits.time, waits.playing) == (pytest.approx(2.9), True)


def test_the_next_event_and_the_last():
    found = [Event(t, "action", "brake") for t in (0.5, 1.5, 2.5)]
    assert beside(found, 0.0, 1) == 0.5
    assert beside(found, 0.5, 1) == 1.5
    assert beside(found, 1.5, -1) == 0.5
    assert beside(found, 2.5, 1) == 2.5
    assert beside(found, 0.2, -1) == 0.2
