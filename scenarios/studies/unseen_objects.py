"""Does the belief widen before a thing that it has no class for?

    python scenarios/studies/unseen_objects.py [--seeds 5] [--learn 600] [--encounters 100] [--out replays/unseen]

Every seed draws its own encounters in clear air before 64 beams, and trains its own network (by local
reparameterisation) on bags and barriers in `--learn` of them. Of twice `--encounters` more, bags and barriers too, it
learns how odd known things look (`filters.novelty`) and how far to trust a frame (`filters.tempering`). It is judged on
`--encounters` others of these, and as many each of traffic cones, animals and cardboard boxes, all in frames in which
the candidate was seen nearer than 15 m. It prints means over the seeds ± half of the 95 % interval (Student's). The
first table is of how well an object is told from what is known:

    information, Mahalanobis, both      AUROC of a frame by one sign alone, and by p of both, on which the filter acts
    encounters                          AUROC of an encounter by the mean of ln p over its frames
    supervised                          AUROC of a frame by boosted trees that learnt that object from the other seeds'
                                        encounters: what to hope for at best (scikit-learn, extra `peers`)
    p <= .05, p <= .01                  share of frames that are called unknown; of what is known, as often as it says

The second is of the belief after the last frame, P(barrier) .2 at first, by the filter's own update, without the
hypothesis "none of these" and ("..., none") with it:

    moved       mean |P(barrier) - .2|
    sure        share of encounters that end beyond .9 or below .02
    none        mean P(none of these)
    nats        log loss, of bags and barriers only: what the hypothesis costs them

Encounters are kept in the folder, and not simulated again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import expit
from study import students

from filters import bnn, novelty
from filters.models.model import Model
from filters.network_filter import NetworkFilter, fused, information
from filters.spec import CLASSES, FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior
from filters.streams import stream
from filters.tempering import fit_tempering, totals
from filters.trained import save
from fogsim import classifier
from fogsim.dataset import CLEAR, Looks, usable, vary
from fogsim.runner import run
from fogsim.scenario import HDL_64, Fog, Scenario
from fogsim.scoring.metrics import auc, log_loss
from fogsim.training import EVEN

SCENARIO = Scenario(lidar=replace(HDL_64, azimuth_deg=120.0, columns=694))
LEARN, FRESH, KNOWN, OBJECTS = "learn", "fresh", "bag or barrier", ("cone", "animal", "box")
AHEAD, NEAREST = 17.0, 15.0  # m: where it lies at first, and where it is looked at
PRIOR, SURE, UNSURE = 0.2, 0.9, 0.02
LEVELS = {"p <= .05": 0.05, "p <= .01": 0.01}
TOLD = ("information", "Mahalanobis", "both", "encounters", "supervised", *LEVELS)
BELIEF = ("moved", "moved, none", "sure", "sure, none", "none", "nats", "nats, none")
NOWHERE, POSE = (np.full(2, np.nan), np.full((2, 2), np.nan)), Pose(0.0, 0.0, 0.9, 0.0)
Measures = dict[str, float]


def simulate(number: int, kind: str, seed: int) -> Looks:
    """The frames of one encounter."""
    drawn = vary(SCENARIO, seed, number)
    hazard = replace(drawn.hazards[0], kind=kind, x=AHEAD)
    drawn = replace(drawn, fog=Fog(visibility=10_000.0, spread=0.0), hazards=(hazard,))
    frames = [f for f in run(drawn, int(stream(seed, "unseen run", number).integers(2**31))) if usable(f)]
    n, distance = len(frames), np.array([f.distance_left[0] for f in frames])
    return Looks(
        encounter=np.full(n, number),
        features=np.array([f.features[0] for f in frames], float).reshape(n, len(FEATURES)),
        label=np.array([f.truth_class[0] for f in frames], int),
        distance=distance,
        visibility=np.array([f.visibility for f in frames]),
        weight=np.full(n, np.ptp(distance) / n if n else 0.0),
        patch=np.zeros((n, 0)),
    )


def frames_of(name: str, seed: int, encounters: int, out: Path) -> Looks:
    """Frames near enough in which the candidate was seen, of so many encounters that are there or are simulated."""
    path = out / f"{name}-{seed}-{encounters}.npz"
    if not path.exists():
        kind, its = name if name in OBJECTS else "draw", int(stream(seed, "unseen", name).integers(2**31))
        parts = [simulate(k, kind, its) for k in track(range(encounters), f"{name}, seed {seed}")]
        part = path.with_suffix(".part.npz")
        np.savez(part, scenario=SCENARIO.hash, **Looks(*map(np.concatenate, zip(*parts, strict=True)))._asdict())
        part.replace(path)
    with np.load(path) as file:
        if file["scenario"] != SCENARIO.hash:
            raise SystemExit(f"{path} is of another scenario than today's: name another --out")
        looks = Looks(*(file[field] for field in Looks._fields))
    visibility = looks.features[:, novelty.LOG_VISIBILITY]
    np.minimum(visibility, np.log(CLEAR[1]), out=visibility)  # as the filter has it
    return looks.take((looks.distance < NEAREST) & (looks.detected == 1))


def train(learnt: Looks, held: Looks, seed: int, path: Path) -> None:
    """Write the checkpoint: trained on some frames, tempered and calibrated on others."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)  # of a study that was interrupted
    tensors, evidence = classifier.fit(learnt, held, seed, "reparameterised", part)
    tensors |= classifier.known(learnt, held, evidence, tensors["prior"])
    sums = totals(evidence, held.detected, held.encounter)
    tensors["tau"] = fit_tempering(sums, held.label, held.weight, EVEN)
    save(path, tensors, {"kind": "bnn", "seed": seed})
    part.unlink(missing_ok=True)


def signs(path: Path, looks: Looks) -> dict[str, np.ndarray]:
    """What is greater the odder a frame looks, each (n,)."""
    net, known = bnn.network(str(path))
    told = information(fused(bnn.evidence(net, looks.features), net.prior))
    far = novelty.distances(known.regression, known.precision, looks.features)
    return {"information": told, "Mahalanobis": far, "both": -novelty.log_p(known, looks.features, told)}


def per_encounter(values: np.ndarray, encounter: np.ndarray) -> np.ndarray:
    """Means (E,) of the frames' values (n,)."""
    of, counts = np.unique(encounter, return_inverse=True, return_counts=True)[1:]
    return np.bincount(of, values) / counts


def apart(known: np.ndarray, other: np.ndarray) -> float:
    """AUROC of other things' values above known ones'."""
    return auc(np.concatenate([known, other]), np.repeat([0, 1], [len(known), len(other)]))


def told(path: Path, known: Looks, other: Looks) -> Measures:
    """Columns of the first table but for the trees'."""
    one, two = signs(path, known), signs(path, other)
    means = [per_encounter(found["both"], looks.encounter) for found, looks in ((one, known), (two, other))]
    return {name: apart(one[name], two[name]) for name in one} | {"encounters": apart(*means)} | unknown(two["both"])


def unknown(both: np.ndarray) -> Measures:
    """Share of frames that are called unknown, of their -ln p."""
    return {name: float(np.mean(both >= -np.log(level))) for name, level in LEVELS.items()}


def supervised(learnt: list[Looks], against: list[Looks], known: Looks, other: Looks) -> float:
    """AUROC of a frame by trees that learnt known things, and this one, from other encounters."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    parts = [np.concatenate([looks.features for looks in part]) for part in (learnt, against)]
    trees = HistGradientBoostingClassifier(min_samples_leaf=50, l2_regularization=10.0, early_stopping=False)
    trees.fit(np.concatenate(parts), np.repeat([0, 1], [len(part) for part in parts]))
    return apart(*(trees.decision_function(looks.features) for looks in (known, other)))


def ending(path: Path, looks: Looks) -> np.ndarray:
    """P(barrier) after each encounter's last frame without and with "none of these", and the share of that: (E, 3)."""
    filter_, rng, found = bnn.BayesianNetwork(Model(), str(path)), stream(0, "no draws"), []
    start = Prior(np.log([1.0 - PRIOR, PRIOR]), Gaussian(np.array([AHEAD, 0.0]), np.eye(2)), 10_000.0, 0.01)
    for encounter in np.unique(looks.encounter):
        state, part = filter_.init(start, rng), looks.take(looks.encounter == encounter)
        for values, way in zip(part.features, part.weight, strict=True):
            state = filter_.predict(state, EgoMotion(np.array([way, 0.0, 0.0]), np.zeros((3, 3)), POSE), 0.1, rng)
            state, _ = filter_.update(state, Measurement(0.0, "features", Features(values, *NOWHERE, POSE)), rng)
        plain = NetworkFilter.belief(filter_, state)
        found.append((plain.barrier, filter_.belief(state).barrier, expit(state.unknown)))
    return np.array(found)


def believed(path: Path, looks: Looks) -> Measures:
    """Columns of the second table; log losses only if all are bags and barriers."""
    ends, label = ending(path, looks), looks.label[np.unique(looks.encounter, return_index=True)[1]]
    found = {"none": float(ends[:, 2].mean())}
    for p, suffix in zip(ends.T, ("", ", none"), strict=False):
        found[f"moved{suffix}"] = float(np.abs(p - PRIOR).mean())
        found[f"sure{suffix}"] = float(np.mean((p > SURE) | (p < UNSURE)))
        if label.max() < len(CLASSES):
            found[f"nats{suffix}"] = float(log_loss(p, label).mean())
    return found


def judged(seed: int, sets: dict[str, list[Looks]], encounters: int, path: Path) -> dict[str, Measures]:
    """Both tables' columns by object, of one seed; `sets` have the frames of every seed."""
    calibration, known = halves(sets[FRESH][seed], 2 * encounters)
    train(sets[LEARN][seed], calibration, seed, path)
    found = {KNOWN: unknown(signs(path, known)["both"]) | believed(path, known)}
    for name in OBJECTS:
        other, rest = sets[name][seed], [k for k in range(len(sets[name])) if k != seed]
        found[name] = told(path, known, other) | believed(path, other)
        if rest:
            learnt, against = ([sets[which][k] for k in rest] for which in (FRESH, name))
            found[name]["supervised"] = supervised(learnt, against, known, other)
    return found


def halves(looks: Looks, encounters: int) -> tuple[Looks, Looks]:
    """The first encounters, and the others."""
    first = looks.encounter < encounters
    return looks.take(first), looks.take(~first)


def interval(values: list[float]) -> str:
    """Mean ± half of the 95 % interval by Student's t."""
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else ""
    return "{:.3f} ± {:.3f}".format(*students(values))


def show(found: list[dict[str, Measures]], columns: tuple[str, ...], title: str) -> None:
    """One table of all seeds' measures."""
    table = Table("", *columns, title=title)
    for name in found[0]:
        table.add_row(name, *(interval([row[name][c] for row in found if c in row[name]]) for c in columns))
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 5), ("learn", 600), ("encounters", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=Path("replays/unseen"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    counts = {LEARN: args.learn, FRESH: 3 * args.encounters} | dict.fromkeys(OBJECTS, args.encounters)
    sets = {name: [frames_of(name, k, n, args.out) for k in range(args.seeds)] for name, n in counts.items()}
    paths = [args.out / f"network-{k}.safetensors" for k in range(args.seeds)]
    found = [judged(seed, sets, args.encounters, path) for seed, path in enumerate(paths)]
    show(found, TOLD, "how well it is told from bags and barriers")
    show(found, BELIEF, "the belief after the last frame")


if __name__ == "__main__":
    main()
