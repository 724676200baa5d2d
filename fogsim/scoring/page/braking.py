"""What it costs to brake from some P(a barrier stands in the path) on, whatever the threshold: the decision curve.

    C(t) = mean over encounters of L[brake, path] where q >= t, of L[proceed, path] where q < t
    p* = (L[brake, clear] - L[proceed, clear]) / (that + L[proceed, barrier] - L[brake, barrier])

q is the belief at the decision point, `path` what in truth stood in the path; a calibrated q does best at t = p*.
Vickers & Elkin 2006, Medical Decision Making 26:565, whose net benefit is C(1) - C(t) in other units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from filters.spec import Array
from fogsim.scoring.encounters import BRAKE, PROCEED
from fogsim.scoring.page.drawing import WIDE, End, chart, colour_of, label, label_ends, paint
from fogsim.scoring.page.parts import Panel, Section, Table, listed, short
from fogsim.scoring.report import interval
from fogsim.scoring.scores import Score

THRESHOLDS = np.linspace(0.0, 1.0, 201)
TITLE = "Cost by threshold"
READING = (
    "Mean loss at the decision point, had the car braked wherever P(a barrier stands in the path) was at least the "
    "threshold, and else proceeded. On the left it always brakes, on the right never; p* is where the table of losses "
    "switches between the two."
)


class Choice(NamedTuple):
    """What braking or not rests on, and costs, in each of n encounters: all (n,)."""

    q: Array
    proceed: Array
    brake: Array

    def cost(self, threshold: float) -> float:
        """C(t)."""
        return float(np.where(self.q >= threshold, self.brake, self.proceed).mean())


def section(score: Score) -> Section:
    """One chart of all beliefs, and what the policies would have done."""
    choices = {belief: choice(score, belief) for belief in score.belief_names}
    choices = {belief: found for belief, found in choices.items() if len(found.q)}
    if not choices:
        return Section(TITLE, "No encounter reached the decision point with a belief about its path.", table=table(score))
    low, high = switches(score)
    svg = chart(
        "braking", "Mean cost by the threshold to brake from", says(choices, low, high),
        lambda axes: draw(axes, score, choices, (low, high)), WIDE, room=82.0,
    )  # fmt: skip
    return Section(TITLE, says(choices, low, high), READING, (Panel("", "", "", svg),), table(score))


def choice(score: Score, belief: str) -> Choice:
    """One belief's, of every encounter that reached the decision point; what beliefs have no class for counts too."""
    held = [(e, e.in_path_belief[0, e.beliefs.index(belief)]) for e in score.encounters if belief in e.beliefs]
    known = [(e, q) for e, q in held if np.isfinite(q)]
    proceed, brake = ([e.loss[a, int(e.in_path)] for e, _ in known] for a in (PROCEED, BRAKE))
    return Choice(np.array([q for _, q in known], float), np.array(proceed, float), np.array(brake, float))


def switches(score: Score) -> tuple[float, float]:
    """The least and the greatest p* of the encounters' losses: the same where losses are constant."""
    found = [switch(e.loss) for e in score.encounters]
    return min(found), max(found)


def switch(loss: Array) -> float:
    """p* of one table (actions, 2); 1 where braking does not help, 0 where it costs nothing."""
    price, gain = loss[BRAKE, 0] - loss[PROCEED, 0], loss[PROCEED, 1] - loss[BRAKE, 1]
    if gain <= 0.0:
        return 1.0
    return float(max(price, 0.0) / (max(price, 0.0) + gain))


def says(choices: dict[str, Choice], low: float, high: float) -> str:
    """What each belief costs at p*, and how much a threshold chosen afterwards would have saved."""
    first = next(iter(choices.values()))
    ends = f"always braking would cost {short(first.cost(0.0))}, never braking {short(first.cost(np.inf))}"
    if high - low > 1e-9:
        return f"Losses follow the situation, so p* lies between {short(low)} and {short(high)}; {ends} an encounter."
    costs = {belief: found.cost(low) for belief, found in choices.items()}
    spread = f"{listed([f'{short(cost)} ({belief})' for belief, cost in sorted(costs.items(), key=lambda c: c[1])])}"
    gains = {belief: costs[belief] - best(found)[1] for belief, found in choices.items()}
    most = max(gains, key=lambda belief: gains[belief])
    t, cost = best(choices[most])
    text = f"Braking from p* = {short(low)} on costs {spread} an encounter; {ends}"
    if gains[most] < 0.005 * costs[most]:
        return f"{text}. No other threshold would have saved any belief more than 0.5 %."
    return f"{text}. The threshold that is best in hindsight, {t:.2f}, would have brought {most} down to {short(cost)}."


def best(found: Choice) -> tuple[float, float]:
    """The threshold of least cost in hindsight, and that cost."""
    costs = [found.cost(t) for t in THRESHOLDS]
    k = int(np.argmin(costs))
    return float(THRESHOLDS[k]), costs[k]


def draw(axes: Any, score: Score, choices: dict[str, Choice], switch_at: tuple[float, float]) -> None:
    """A line a belief, named where it ends; p* as a line, or as a band where it varies."""
    low, high = switch_at
    axes.axvspan(low, high, color=paint("muted"), alpha=0.25, linewidth=0.0)
    axes.axvline(low, color=paint("muted"), linewidth=0.8, gid="p-star")
    axes.text(high, 1.0, " p*", transform=axes.get_xaxis_transform(), color=paint("muted"), va="top")
    ends = []
    for belief, found in choices.items():
        costs, colour = [found.cost(t) for t in THRESHOLDS], colour_of(score.belief_names, belief)
        axes.step(THRESHOLDS, costs, where="pre", color=paint(colour), linewidth=1.3, gid=f"cost-{belief}")
        ends.append(End(costs[-1], belief, colour))
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, None), xticks=(0.0, 0.25, 0.5, 0.75, 1.0))
    label(axes, "threshold", "mean cost of an encounter")
    label_ends(axes, ends)


def table(score: Score) -> Table | None:
    """What each belief would have done at the decision point under each policy."""
    if not any(row.n for row in score.policies):
        return None
    columns = ("belief", "policy", "n", "mean cost", "collisions", "needless brakes")
    return Table(
        columns,
        tuple(
            (row.belief, row.policy.replace("_", " "), str(row.n), interval(row.cost, ".2f"))
            + (str(row.collisions), str(row.needless_brakes))
            for row in score.policies
        ),
    )
