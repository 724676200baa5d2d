"""Calibrate on one campaign, decide on another: what beliefs, thresholds and policies are worth on fresh encounters.

    python scenarios/studies/decisions.py [--seeds 1000] [--out replays/decisions] [--jobs 2]

It gives, and prints, the commands that a user would: 1,000 encounters of creeping_fog.py driven open loop (root seed
1), a card fitted to them, and 1,000 others (root seed 2) driven by that card under each policy; then 200 of
verge_barrier.py. Both roots were fixed before any of it was driven; what was chosen while looking at encounters was
chosen on others. What is there already is not driven again. It prints

- log loss and MCB of every belief at the decision point, MCB's upper 95 % bound, and what calibrated beliefs with the
  same p show by chance (`fogsim.scoring.corp`): of the conformal driver, who comes there at the cruise as the card's
  car did, and of Bayes' rule, which has slowed and comes nearer;
- cost, collisions and needless brakes of every policy, and the paired difference from Bayes' rule;
- barriers missed by the conformal threshold beside the 99 % interval that it promises;
- Wald's errors beside the nominal ones: how often the first bound that the log-odds of his driver reached was wrong,
  on scans of one object, which are not independent.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.special import logit
from study import arguments_of

from filters.conformal import misses_interval
from filters.policies.sprt import Sprt
from filters.spec import BAG, BARRIER
from filters.sprt import verdict
from fogsim.cards import read
from fogsim.log import Replay
from fogsim.scoring.cells import interval
from fogsim.scoring.corp import calibration
from fogsim.scoring.encounters import BRAKE, CHANGE_LANE, DECISION, Encounter, encounter
from fogsim.scoring.metrics import CLIP, by_group, log_loss, paired_bootstrap

SCENARIOS = Path(__file__).parents[1]
POLICIES = ("bayes", "most_likely_label", "sprt", "conformal", "optimal_stopping")
VERGE = 200


def fogsim(*words: object) -> None:
    """Give a command, shown as a user would type it."""
    print("fogsim", *words, flush=True)
    subprocess.run([sys.executable, "-m", "fogsim.cli", *map(str, words)], check=True)


def drive(out: Path, seeds: int, jobs: int) -> None:
    """The campaigns and the card."""
    fog, common = SCENARIOS / "creeping_fog.py", ("--encounters", seeds, "--jobs", jobs)
    open_loop = ("--set", "driver.policy=open_loop")
    fogsim("campaign", fog, *common, "--seed", 1, *open_loop, "--out", out / "open")
    if not (out / "card.json").exists():
        fogsim("calibrate", out / "open", "--out", out / "card.json")
    driven = ("--seed", 2, "--card", out / "card.json")
    for policy in POLICIES:
        fogsim("campaign", fog, *common, *driven, "--set", f"driver.policy={policy}", "--out", out / policy)
    verge = ("--encounters", VERGE, "--jobs", jobs, "--seed", 2, "--out", out / "verge")
    fogsim("campaign", SCENARIOS / "verge_barrier.py", *verge)


def read_all(folder: Path) -> list[tuple[Encounter, np.ndarray]]:
    """Encounters of a campaign, by seed, and the log-odds since the prior that the driver's q took."""
    found = []
    for path in folder.glob("*.h5"):
        with Replay(path) as log:
            q = log.column("in_path")[:, log.beliefs.index("fused")]
            found.append((encounter(log, path.name), logit(np.clip(q, CLIP, 1.0 - CLIP)) - logit(Sprt().prior)))
    return sorted(found, key=lambda pair: pair[0].seed)


def calibrated(encounters: list[Encounter]) -> None:
    """Log loss and MCB of every belief at the decision point."""
    for b, name in enumerate(encounters[0].beliefs):
        known = [e for e in encounters if np.isfinite(e.p_barrier[DECISION, b])]
        found = calibration([e.p_barrier[DECISION, b] for e in known], [e.truth for e in known])
        loss = paired_bootstrap(log_loss([e.p_barrier[DECISION, b] for e in known], [e.truth for e in known]))
        mcb, chance = f"{found.mcb.mean:.4f}, {found.mcb.high:.4f}", found.calibrated
        print(f"| {name} | {found.n} | {interval(loss)} | {mcb} | {chance.mean:.4f} | {found.p_value:.2f} |")


def costs(drivers: dict[str, list[Encounter]]) -> None:
    """What each policy cost, and less Bayes' rule on the same encounters."""
    for name, encounters in drivers.items():
        other = {e.seed: e.realised_cost for e in drivers["bayes"]}
        both = [e for e in encounters if e.seed in other]
        cost = paired_bootstrap([e.realised_cost for e in encounters])
        gap = paired_bootstrap(by_group([e.realised_cost - other[e.seed] for e in both], [e.seed for e in both]))
        impacts = [e.impact_speed for e in encounters if e.collided]
        needless = sum(e.braked_needlessly for e in encounters)
        hits = f"{len(impacts)} at {np.mean(impacts) if impacts else 0.0:.1f} m/s"
        print(f"| {name} | {len(both)} | {interval(cost, '.2f')} | {interval(gap, '.3f')} | {hits} | {needless} |")


def missed(encounters: list[Encounter], card: Path) -> None:
    """Barriers in the path below λ at the decision point, which the conformal driver went on towards."""
    found = read(str(card)).card.of("fused")
    assert found is not None
    b, there = encounters[0].beliefs.index("fused"), [e for e in encounters if e.truth == 1 and e.in_path]
    below = sum(e.in_path_belief[DECISION, b] < found.threshold.value for e in there)
    low, high = misses_interval(found.threshold.k, found.threshold.n, len(there))
    through = sum(not (e.actions[BRAKE] or e.actions[CHANGE_LANE]) for e in there)
    print(f"conformal: {below} of {len(there)} barriers missed at the decision point, promised [{low}, {high}];")
    print(f"{through} never braked for")


def errors(driven: list[tuple[Encounter, np.ndarray]]) -> None:
    """How often the first of Wald's bounds that was reached was the wrong one."""
    clear, barrier = (
        [int(verdict(path, Sprt().bounds).label) for e, path in driven if e.in_path == there] for there in (False, True)
    )
    print(f"sprt: first sure of a barrier in {clear.count(BARRIER)} of {len(clear)} clear ones (nominal 1 %),")
    print(f"of a clear path in {barrier.count(BAG)} of {len(barrier)} with a barrier in it (nominal .1 %)")


def report(out: Path) -> None:
    """Print the tables from the logs alone."""
    drivers = {policy: read_all(out / policy) for policy in POLICIES}
    alone = {policy: [e for e, _ in driven] for policy, driven in drivers.items()}
    for policy in ("conformal", "bayes"):
        print(f"at the decision point of {policy}:")
        calibrated(alone[policy])
    costs(alone)
    missed(alone["conformal"], out / "card.json")
    errors(drivers["sprt"])
    verge = [e for e, _ in read_all(out / "verge")]
    print(f"verge_barrier: {sum(e.braked_needlessly for e in verge)} of {len(verge)} braked for nothing")


if __name__ == "__main__":
    given = arguments_of(__doc__, 1000, "replays/decisions")
    drive(given.out, given.seeds, given.jobs)
    report(given.out)
