"""From which q = P(a barrier stands in the path) on a driver does what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.decision import SLOW, lower_envelope
from filters.spec import Array
from fogsim.frame import ACTIONS, Frame
from fogsim.viewer import style
from fogsim.viewer.view import View


class Threshold(NamedTuple):
    """Its place from 0 to 1, what begins there, and in which colour."""

    q: float
    name: str
    colour: style.Colour


def thresholds(frame: Frame, view: View) -> list[Threshold]:
    """Bayes' are where the least expected loss changes from one open action to the next; of others what they logged.

    Trusting the likeliest label is to brake from P(barrier) = 1/2, which is not of q. Logs that do not tell have none.
    """
    if view.policy == "most_likely_label":
        return [Threshold(0.5, "likeliest label", style.ACTION_COLOURS[-1])]
    if view.policy == "bayes" and view.driver in view.beliefs and np.isfinite(frame.loss_table).all():
        envelope = lower_envelope(losses(frame, view))
        steps = zip(envelope.thresholds, envelope.actions[1:], strict=True)
        return [Threshold(q, ACTIONS[a].replace("_", " "), style.ACTION_COLOURS[a]) for q, a in steps]
    q = float(frame.threshold)
    return [Threshold(q, "more", style.ACTION_COLOURS[-1])] if np.isfinite(q) else []


def losses(frame: Frame, view: View) -> Array:
    """Losses (open actions, 2) by which the driver decides: the logged table, with what the next lane is charged.

    Expected losses are (1 - q) L0 + q L1 and that charge, which is logged nowhere else.
    """
    driver = view.beliefs.index(view.driver)
    q, expected, table = float(frame.in_path[driver]), frame.expected_loss[driver], frame.loss_table
    charge = expected - ((1.0 - q) * table[:, 0] + q * table[:, 1])
    is_open = bool(frame.at_decision_point) or view.course.decided <= float(frame.time)
    return (table + charge[:, None])[: None if is_open else SLOW + 1]
