"""A filter of the user's own: README's example, installed, checked, run and scored; and what check_filter finds."""

import importlib
import json
import re
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from filters import FILTERS, known_filters
from filters.spec import Gaussian, Info, Particles
from fogsim.cli import main
from fogsim.testing import FilterError, check_filter

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SECTION = README.split("## A filter of your own\n")[1].split("\n## ")[0]
FUSION = README.split("### Fusion\n")[1].split("```python\n")[1].split("```")[0]


def block(language, number=0):
    """A code block of README's section."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
    return [code for marked, code in found if marked == language][number]


def install(folder, monkeypatch, code, entry_points, name="mine"):
    """What pip does with a package of one module: the module and its metadata on the path."""
    groups = ("\n".join([f"[{g}]", *(f"{k} = {v}" for k, v in of.items())]) for g, of in entry_points.items())
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (folder / f"{name}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """README's filter, installed as README says; its class."""
    project = tomllib.loads(block("toml"))["project"]
    install(tmp_path, monkeypatch, block("python"), project["entry-points"], project["name"])
    yield importlib.import_module("mine").Width
    sys.modules.pop("mine")


def fogsim(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return left.value.code


def test_readmes_filter_is_short_and_is_found_by_its_name(mine):
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 30
    assert known_filters() == FILTERS | {"width": "mine:Width"}


def test_readmes_filter_keeps_the_promises(mine):
    exec(block("python", 1), {})  # imports it and calls check_filter
    for seed in (1, 2):
        check_filter(mine, seed, updates=30)


def test_readmes_filter_is_run_and_scored_beside_ours(mine, tmp_path, monkeypatch, capsys):
    folder, run, score = re.search(r"mkdir (\w+)\n.*\n  fogsim (.*)\ndone\nfogsim (.*)\n", block("")).groups()
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    for seed in ("0", "1"):
        command = run.replace("$seed", seed).replace("scenarios/", f"{ROOT / 'scenarios'}/")
        assert fogsim(*command.split()) == 0
    assert re.search(r"width +\.?\d", capsys.readouterr().out)
    assert fogsim(*score.split(), "--json", "score.json") == 0
    assert re.search(r"width +2 +\.?\d", capsys.readouterr().out)
    rows = [r for r in json.loads(Path("score.json").read_text())["beliefs"] if r["moment"] == "10 m"]
    assert {r["belief"]: r["n"] for r in rows} == {"kalman": 2, "bnn": 2, "width": 2, "fused": 2}
    losses = {r["belief"]: r["log_loss"] for r in rows}
    assert losses.pop("width") not in losses.values()
    fitted = {}
    exec(FUSION, fitted)
    assert fitted["weights"].shape == (3,)
    assert (fitted["weights"] >= 0.0).all()


def test_a_filter_that_cannot_be_made_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    points = {"gone": "nowhere:Width", "bare": "mine:NotThere", "odd": "mine:function"}
    install(tmp_path, monkeypatch, "def function():\n    pass\n", {"fogsim.filters": points})
    scenario = ROOT / "scenarios" / "creeping_fog.py"
    for name, where in points.items():
        assert fogsim("run", scenario, "--filters", name, "--out", tmp_path / "a.h5") == 2
        told = rf"fogsim: filter '{name}' \({where}\) cannot be made \(.*\), expected .*: correct .*\n"
        assert re.fullmatch(told, capsys.readouterr().err)
        assert not list(tmp_path.glob("*.h5*"))


def test_nobody_takes_a_name_of_ours(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "", {"fogsim.filters": {"kalman": "mine:Kalman"}})
    assert known_filters() == FILTERS


# What check_filter finds: README's filter, broken in one way at a time

FLAT, SKEWED, NOWHERE = np.ones((2, 2)), np.array([[1.0, 0.5], [0.0, 1.0]]), np.full(2, np.inf)
COUNTED = []


class Held(NamedTuple):
    log_probs: np.ndarray
    position: Gaussian
    more: object


def writes_state(s, info, old, data):
    old.log_probs[:] = s.log_probs
    return s, info


def writes_data(s, info, old, data):
    data.values[0] = 0.5
    return s, info


def nudged(s, by):
    return s._replace(position=s.position._replace(mean=s.position.mean + 1e-3 * by))


def covering(s, covariance):
    return s._replace(position=s.position._replace(covariance=covariance))


def counted():
    COUNTED.append(1)
    return len(COUNTED)


# What update returns, of the right state and info, the state before and the data; what is said of it.
UPDATES = {
    "writes into its state": (writes_state, "an argument changed by update"),
    "writes into the data": (writes_data, "an argument changed by update"),
    "raises": (lambda *_: 1 / 0, "ZeroDivisionError .*expected no exception"),
    "state only": (lambda s, *_: s, "expected .state, filters.spec.Info."),
    "info of its own": (lambda s, info, *_: (s, tuple(info)), "expected .state, filters.spec.Info."),
    "quite sure": (lambda s, info, *_: (s._replace(log_probs=np.array([0.0, -np.inf])), info), "2 finite ones"),
    "flat covariance": (lambda s, info, *_: (covering(s, FLAT), info), "positive definite"),
    "skewed covariance": (lambda s, info, *_: (covering(s, SKEWED), info), "positive definite"),
    "nowhere": (lambda s, info, *_: (nudged(s, NOWHERE), info), "positive definite"),
    "evidence of one": (lambda s, info, *_: (s, info._replace(log_evidence=np.zeros(1))), "2 finite numbers"),
    "evidence infinite": (lambda s, info, *_: (s, info._replace(log_evidence=NOWHERE)), "2 finite numbers"),
    "status unknown": (lambda s, info, *_: (s, info._replace(status=7)), "a filters.spec.Status"),
    "evidence not used": (lambda s, info, *_: (s, info._replace(log_evidence=3.0 * info.log_evidence)), "it was used"),
    "global randomness": (lambda s, info, *_: (nudged(s, np.random.default_rng().random()), info), "two answers"),
    "hidden memory": (lambda s, info, *_: (nudged(s, counted()), info), "two answers"),
    "deaf": (lambda s, info, old, _: (old, Info(np.zeros(2))), "expected a difference"),
    "fails on the strange": (lambda s, info, _, z: (s, info) if abs(z.width) < 50.0 else 1 / 0, "that no object gives"),
    "fails at length": (
        lambda s, info, *_: (s, info) if np.linalg.det(s.position.covariance) < 1.0 else 1 / 0,
        r"update after \d\d+ updates in looks that find nothing",
    ),
}
BELIEFS = {
    "no Belief": (lambda b: b.log_probs, "expected a filters.spec.Belief"),
    "not normalised": (lambda b: replace(b, log_probs=b.log_probs + 1e-3), "whose exponentials sum to 1"),
    "not a number": (lambda b: replace(b, log_probs=b.log_probs * np.nan), "2 finite ones"),
    "one position": (lambda b: replace(b, positions=(b.position,)), "found 1 positions"),
    "a flat one": (lambda b: replace(b, positions=(b.position, Gaussian(np.zeros(2), FLAT))), "positive definite"),
    "points not weighed": (lambda b: replace(b, points=Particles(np.zeros((3, 2)), np.zeros(3))), "log-weights"),
}
INITS = {
    "forgets the prior": (lambda s: s._replace(log_probs=np.log([0.5, 0.5])), "let init keep prior.log_probs"),
    "forgets the place": (lambda s: nudged(s, 1e4), "let init keep prior.position"),
    "forgets how sure": (lambda s: covering(s, 0.1 * s.position.covariance), "let init keep prior.position"),
    "holds an object": (lambda s: Held(*s, object()), "found object in a state"),
}
MEMBERS = {
    "no belief": ({"belief": None}, "without belief, expected the four methods"),
    "no sensors": ({"sensors": ()}, r"sensors = \(\), expected a tuple"),
    "unknown sensor": ({"sensors": ("camera",)}, "expected a tuple of some of"),
    "sensors as text": ({"sensors": "scan"}, "sensors = 'scan', expected a tuple"),
    "unequal": ({"__eq__": object.__eq__, "__hash__": object.__hash__}, "not equal to another"),
}


def broken(mine, fault):
    """README's filter with a fault, and what is said of it."""

    def like(**members):
        return type("Mine", (mine,), members)

    if fault in UPDATES:
        change, told = UPDATES[fault]
        return like(update=lambda self, s, z, rng: change(*mine.update(self, s, z, rng), s, z.data)), told
    if fault in BELIEFS:
        change, told = BELIEFS[fault]
        return like(belief=lambda self, s: change(mine.belief(self, s))), told
    if fault in INITS:
        change, told = INITS[fault]
        return like(init=lambda self, prior, rng: change(mine.init(self, prior, rng))), told
    members, told = MEMBERS[fault]
    return like(**members), told


@pytest.mark.parametrize("fault", [*UPDATES, *BELIEFS, *INITS, *MEMBERS])
def test_a_broken_promise_is_told_in_one_line(mine, fault):
    make, told = broken(mine, fault)
    with pytest.raises(FilterError, match=told) as caught:
        check_filter(make)
    assert re.fullmatch(r"found [^\n]*, expected [^\n]*: [^\n]*", str(caught.value))


@pytest.mark.parametrize("make", [lambda: None, lambda model: 3, lambda model: type("Thawed", (), {})])
def test_what_is_no_filter_is_told_in_one_line(make):
    with pytest.raises(FilterError, match=r"^found [^\n]*, expected [^\n]*: [^\n]*$"):
        check_filter(make)


def test_a_filter_that_can_change_is_refused(mine):
    thawed = {k: v for k, v in vars(mine).items() if k not in ("__setattr__", "__delattr__", "__dict__", "__weakref__")}
    with pytest.raises(FilterError, match="that can change"):
        check_filter(dataclass(type("Mine", (), thawed)))
