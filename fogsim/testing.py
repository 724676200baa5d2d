"""check_filter: whether a filter keeps the promises of `filters.spec.Filter`, for the tests of its author.

from fogsim.testing import check_filter

def test_mine():
    check_filter(Mine)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from copy import deepcopy
from itertools import cycle, islice
from typing import Any

import numpy as np

from filters.belief import LOG_ODDS_LIMIT, update_log_probs
from filters.spec import CLASSES, Belief, Filter, Gaussian, Info, Prior, Status
from filters.streams import stream
from fogsim.cases import SCENARIO, Course, courses
from fogsim.followers import model_of
from fogsim.frame import SENSORS

SUM, EVIDENCE = 1e-6, 1e-6  # how far Σ p may be from 1, and ln p from the last and the evidence, nats
PRIOR = 1e-3  # how far the first belief's probabilities may be from the prior's
MOVED = 1e-6  # least difference that the class of what stands there must make to P(barrier)
COMPARED = 20  # updates of a course in which arguments are compared with copies of them


class FilterError(AssertionError):
    """A promise that a filter broke: one line that says what was found, what was expected, and what to do."""


def check_filter(make: Callable[..., Filter[Any]], seed: int = 0, updates: int = 300) -> None:
    """Put a filter through approaches, blind stretches, contradictions and nonsense; it is told what a run tells.

    Checked are: the protocol's members; that it is a frozen value; that its first belief is the prior; that no argument
    is changed; that beliefs are normalised and finite, their covariances positive definite; that Info is whole, and
    its log-evidence is what moved the belief, ln p' = ln p + log_evidence + constant; that one stream gives one result,
    to the bit; that the class of what stands there makes a difference; and that none of it raises.

    Parameters
    ----------
    make : callable
        The class, or a function, called as ``make(model=...)`` with a `filters.models.model.Model`.
    seed : int
        Of the echoes, and of the streams the filter is given.
    updates : int
        How many there are in each of the two courses in which nothing is ever seen.

    Raises
    ------
    FilterError
        At the first promise broken.
    """
    filter_ = made(make)
    barrier = []
    for course in courses(seed):
        beliefs = follow(filter_, course, seed, updates)
        barrier.append(beliefs[-1].barrier)
        expect(
            course.repeated or same(beliefs, follow(filter_, course, seed, updates)),
            f"two answers to the same measurements and streams in {course.name}",
            "one",
            "draw from `rng` alone, and keep what changes in the state, not in the filter or in globals",
        )
    expect(
        abs(barrier[0] - barrier[1]) > MOVED,
        f"P(barrier) = {barrier[0]:.6f} after an approach to a bag and {barrier[1]:.6f} after one to a barrier",
        "a difference",
        "let update use measurement.data, and name in `sensors` what it reads",
    )


def expect(held: bool, found: str, expected: str, remedy: str) -> None:
    """Raise a FilterError, in one line, unless something holds."""
    if not held:
        raise FilterError(" ".join(f"found {found}, expected {expected}: {remedy}".split()))


def made(make: Callable[..., Filter[Any]]) -> Filter[Any]:
    """The filter as a run makes it: it has the protocol's members, and two of it are one frozen value."""
    model = model_of(SCENARIO)
    filter_, other = (answer("being made", make, model=model) for _ in range(2))
    name = type(filter_).__name__
    missing = [m for m in ("init", "predict", "update", "belief") if not callable(getattr(filter_, m, None))]
    expect(not missing, f"{name} without {', '.join(missing)}", "the four methods", "add it, see filters.spec.Filter")
    sensors = getattr(filter_, "sensors", None)
    expect(
        isinstance(sensors, tuple) and len(sensors) > 0 and set(sensors) <= set(SENSORS),
        f"sensors = {sensors!r}",
        f"a tuple of some of {SENSORS}",
        'name what update reads, e.g. sensors = ("features",)',
    )
    parameters = getattr(filter_, "__dataclass_params__", None)
    expect(
        parameters is not None and parameters.frozen and filter_ == other,
        f"{name} that can change, or is not equal to another made alike",
        "a frozen dataclass whose fields are all its configuration",
        "put @dataclass(frozen=True) on it, and what changes into the state",
    )
    return filter_


def follow(filter_: Filter[Any], course: Course, seed: int, updates: int) -> list[Belief]:
    """The beliefs before and after each update of a course, all checked."""
    rng = stream(seed, "check", course.name)
    beliefs: list[Belief] = []

    def call(method: str, *arguments: Any) -> Any:
        doing = f"{method} after {max(len(beliefs) - 1, 0)} updates in {course.name}"
        how = compared if len(beliefs) <= COMPARED else answer
        return how(doing, getattr(filter_, method), *arguments)

    state = call("init", course.prior, rng)
    beliefs.append(call("belief", state))
    is_prior(beliefs[0], course.prior, f"before any update in {course.name}")
    rounds = max(len(course.steps), course.repeated * updates // len(filter_.sensors))
    for step in islice(cycle(course.steps), rounds):
        state = call("predict", state, step.motion, step.dt, rng)
        for measurement in step.told:
            if measurement.sensor in filter_.sensors:
                before = call("belief", state)
                state, info = both(call("update", state, measurement, rng))
                beliefs.append(call("belief", state))
                where = f"after {len(beliefs) - 1} updates in {course.name}"
                is_sound(beliefs[-1], where)
                is_told(info, before, beliefs[-1], where)
    return beliefs


def both(result: Any) -> tuple[Any, Info]:
    """What update returned: a state and an Info."""
    whole = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Info)
    expect(whole, f"{type(result).__name__} from update", "(state, filters.spec.Info)", "return both")
    return result


def answer(doing: str, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a call gives; that it raises is a promise broken."""
    try:
        return method(*arguments, **named)
    except Exception as error:
        remedy = "mend it, or return the state as it was with Info(np.zeros(K), status=Status.DEPLETED)"
        line = f"found {type(error).__name__} ({error}) in {doing}, expected no exception: {remedy}"
        raise FilterError(" ".join(line.split())) from error


def compared(doing: str, method: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gives, its arguments but the stream as they were."""
    given = [a for a in arguments if not isinstance(a, np.random.Generator)]
    before = deepcopy(given)
    result = answer(doing, method, *arguments)
    remedy = "copy before writing, or build the new state with _replace"
    expect(same(given, before), f"an argument changed by {doing}", "all as they were", remedy)
    return result


def is_prior(belief: Belief, prior: Prior, where: str) -> None:
    """The first belief is sound and the prior, as well as a cloud of draws may say it."""
    is_sound(belief, where)
    p, expected = np.exp(belief.log_probs), np.exp(prior.log_probs)
    expect(
        bool(np.allclose(p, expected, atol=PRIOR)),
        f"class probabilities {p.round(4)} {where}",
        f"the prior's {expected.round(4)}",
        "let init keep prior.log_probs",
    )
    mean, variances = prior.position.mean, np.diag(prior.position.covariance)
    found = np.diag(belief.position.covariance)
    off = np.abs(belief.position.mean - mean) / np.sqrt(variances)
    expect(
        bool((off < 0.5).all() and (found > 0.5 * variances).all() and (found < 2.0 * variances).all()),
        f"a place {belief.position.mean.round(2)} with variances {found.round(3)} {where}",
        f"about the prior's {mean} with {variances.round(3)}",
        "let init keep prior.position",
    )


def is_sound(belief: Belief, where: str) -> None:
    """Normalised, finite, covariances positive definite."""
    expect(isinstance(belief, Belief), f"{type(belief).__name__} from belief", "a filters.spec.Belief", "return one")
    p, positions = np.asarray(belief.log_probs), belief.positions or ()
    expect(
        p.shape == (len(CLASSES),) and bool(np.isfinite(p).all()) and abs(float(np.exp(p).sum()) - 1.0) < SUM,
        f"log_probs {p} {where}",
        f"{len(CLASSES)} finite ones whose exponentials sum to 1",
        "pass them through filters.belief.normalise or update_log_probs",
    )
    remedy = "give one for each class or leave them out"
    expect(
        len(positions) in (0, len(CLASSES)), f"{len(positions)} positions {where}", f"{len(CLASSES)} or none", remedy
    )
    for place in (belief.position, *positions):
        expect(
            is_positive(place),
            f"a position with mean {place.mean} and covariance {place.covariance} {where}",
            "(2,) and (2, 2), finite, symmetric, positive definite",
            "refuse or mend that update, and say Status.NOT_POSITIVE",
        )
    points, log_weights = belief.points or (np.zeros((1, 2)), np.zeros(1))
    expect(
        bool(np.isfinite(points).all()) and abs(float(np.exp(log_weights).sum()) - 1.0) < SUM,
        f"points that are not finite or whose weights do not sum to 1 {where}",
        "finite points with normalised log-weights",
        "subtract log_sum_exp from the log-weights",
    )


def is_positive(place: Gaussian) -> bool:
    """Finite, of the right shape, symmetric, positive definite."""
    mean, P = np.asarray(place.mean), np.asarray(place.covariance)
    if mean.shape != (2,) or P.shape != (2, 2) or not np.isfinite([*mean, *P.ravel()]).all():
        return False
    return bool(np.allclose(P, P.T, rtol=1e-9, atol=1e-12) and np.linalg.eigvalsh(P).min() > 0.0)


def is_told(info: Info, before: Belief, after: Belief, where: str) -> None:
    """Info is whole and says what moved the belief."""
    evidence = np.asarray(info.log_evidence)
    expect(
        evidence.shape == (len(CLASSES),) and bool(np.isfinite(evidence).all()) and info.status in list(Status),
        f"log_evidence {evidence} and status {info.status!r} {where}",
        f"{len(CLASSES)} finite numbers and a filters.spec.Status",
        "report np.zeros(K) where the measurement was not used",
    )
    by_rule = update_log_probs(before.log_probs, evidence)
    first, last = np.argmax(before.log_probs), np.argmin(before.log_probs)
    lead, expected = (p[first] - p[last] for p in (after.log_probs, by_rule))
    hidden = np.ptp(before.log_probs) > LOG_ODDS_LIMIT - EVIDENCE  # a filter may know of more than a belief can say
    expect(
        bool(np.allclose(after.log_probs, by_rule, rtol=0.0, atol=EVIDENCE) or (hidden and lead > expected)),
        f"log_probs {after.log_probs} {where}",
        f"those before the update plus log_evidence, normalised, {by_rule}",
        "report the evidence as it was used, tempered if it was",
    )


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, NaN included."""
    x, y = leaves(one), leaves(other)
    return len(x) == len(y) and all(
        p.dtype == q.dtype and p.shape == q.shape and p.tobytes() == q.tobytes() for p, q in zip(x, y, strict=True)
    )


def leaves(value: Any) -> list[np.ndarray]:
    """The arrays and numbers of nested tuples, lists and dataclasses, in order."""
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    if dataclasses.is_dataclass(value):
        return [leaf for f in dataclasses.fields(value) for leaf in leaves(getattr(value, f.name))]
    leaf = np.asarray(np.nan if value is None else value)
    remedy = "make the state a NamedTuple of what must be carried"
    expect(leaf.dtype.kind != "O", f"{type(value).__name__} in a state", "tuples of arrays and numbers", remedy)
    return [leaf]
