"""What came of a run, for the terminal: a table of beliefs, the outcome in words, the thresholds of the loss."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from filters.decision import lower_envelope
from filters.spec import BARRIER
from fogsim.driving import decision_point
from fogsim.frame import ACTIONS, KINDS, OBSTACLES, POLICIES
from fogsim.log import Replay
from fogsim.scenario import Scenario
from fogsim.scoring.encounters import CHANGE_LANE, SLOW, encounter, moments

WOULD = {
    True: ("would drive into it", "would slow down for it", "would steer round it", "would stop for it"),
    False: ("would drive on", "would slow down", "would swerve for nothing", "would brake for nothing"),
}


def table_of(replay: Replay, title: str) -> Table:
    """Per belief: P(barrier) at first echo and at the decision point, distance left, its action, what came of it.

    Of several candidates the numbers stand side by side. Actions are under the driver's policy, or Bayes' where no
    other belief is logged under it.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = ("belief", "P(barrier)\nfirst echo", "P(barrier)\ndecision", "left", "action", "outcome")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k in (1, 2, 3) else "left", no_wrap=k < 5)
    driver, in_path = replay.scenario["driver"], encounter(replay).in_path
    decision = moments(replay)[0]
    policy = POLICIES.index(driver["policy"]) if driver["policy"] in POLICIES else 0
    for b, name in enumerate(replay.beliefs):
        drives = name == driver["belief"] and driver["policy"] != "open_loop"
        would = replay.column("action") if drives else replay.column("shadow_action")[:, b, policy]
        action = None if decision is None else int(would[decision])
        what = outcome(replay) if drives else "–" if action is None else WOULD[in_path][action]
        cells = (
            *chances(replay, b),
            distance_text(replay),
            "–" if action is None else ACTIONS[action].replace("_", " "),
        )
        table.add_row(name, *cells, what, style="bold" if drives else "")
    return table


def chances(replay: Replay, belief: int) -> tuple[str, str]:
    """P(barrier) of each candidate at the first echo from it, and at the decision point."""
    p = np.exp(replay.column("log_probs")[:, belief, :, BARRIER])
    echoes, tracks = replay.column("object_echoes"), candidates(replay)
    decision = moments(replay)[0]
    first = [f"{p[np.argmax(echoes[:, k] > 0), k]:.3f}" if (echoes[:, k] > 0).any() else "–" for k in tracks]
    return " / ".join(first), " / ".join("–" if decision is None else f"{p[decision, k]:.3f}" for k in tracks)


def candidates(replay: Replay) -> list[int]:
    """The track slots in use."""
    return [int(k) for k in np.flatnonzero((replay.column("track_id") >= 0).any(axis=0))]


def distance_text(replay: Replay) -> str:
    """What was left to each candidate at the decision point."""
    decision = moments(replay)[0]
    if decision is None:
        return "–"
    return " / ".join(f"{replay.column('distance_left')[decision, k]:.1f} m" for k in candidates(replay))


def things(replay: Replay, article: str) -> str:
    """What truly stood there: "the barrier", "a bag and an animal"."""
    names = [KINDS[k] for k in replay.column("truth_class")[0, candidates(replay)]]
    return " and ".join(f"{article}{'n' * (article == 'a' and name[0] in 'aeiou')} {name}" for name in names)


def outcome(replay: Replay) -> str:
    """How the run ended, in words."""
    e, left, obstacles = encounter(replay), replay.column("distance_left")[-1], obstacles_of(replay)
    ahead = {float(left[k]): k for k in candidates(replay) if left[k] > 0.0 and (k in obstacles or not e.in_path)}
    if e.collided:
        return f"hit the {obstacles[nearest(replay, obstacles)]} at {e.impact_speed:.1f} m/s"
    if not e.known_outcome:
        return "not known: the log has no end"
    if replay.column("ego_speed")[-1] < 0.1 and ahead:
        what = f"the {obstacles[ahead[min(ahead)]]}" if e.in_path else "what was not in its way"
        return f"stopped {min(ahead):.1f} m before {what}"
    if ahead:
        return f"still {min(ahead):.1f} m away when time was up"
    how = " beside it" if e.actions[CHANGE_LANE] else ", slowed" if e.actions[SLOW] else ""
    return f"passed {things(replay, 'the')}{how}"


def obstacles_of(replay: Replay) -> dict[int, str]:
    """The slots of what must not be hit, and what it is."""
    kinds = replay.column("truth_class")[0]
    return {k: KINDS[kinds[k]] for k in candidates(replay) if kinds[k] in OBSTACLES}


def nearest(replay: Replay, slots: Iterable[int]) -> int:
    """The one of these slots whose object is the nearest to ego's front at the end."""
    off = replay.column("truth_position")[-1] - replay.column("ego_pose")[-1, :2]
    return min(slots, key=lambda k: float(np.hypot(*off[k])))


def thresholds(scenario: Scenario) -> str:
    """Which action Bayes' rule takes at the decision point of a car at its cruise for which q, and which never."""
    envelope = lower_envelope(scenario.loss.table(decision_point(scenario)))
    names = [ACTIONS[a].replace("_", " ") for a in envelope.actions]
    steps = "".join(f", {name} from {q:.3f}" for name, q in zip(names[1:], envelope.thresholds, strict=True))
    never = "".join(f"; {ACTIONS[a].replace('_', ' ')} is never best" for a in envelope.dominated)
    return f"least expected loss, q = P(barrier in the path): {names[0]} from 0{steps}{never}"
