"""The page of a score: it stands alone, says and draws what the score holds, and says what is missing."""

import dataclasses
import math
import re
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.stats import chi2

from fogsim.scoring.bins import VISIBILITIES
from fogsim.scoring.course import COURSE, Course
from fogsim.scoring.encounters import MOMENTS
from fogsim.scoring.page import braking, consistency, deciding, document, fan, losses, reliability, spread, summary
from fogsim.scoring.page.drawing import chart
from fogsim.scoring.page.labels import apart
from fogsim.scoring.page.parts import percent
from fogsim.scoring.scores import Score
from tests.browser import CHROMIUM, browser
from tests.scored import encounter

NEAR = MOMENTS.index("10 m")
BELIEFS = ("kalman", "particle", "fused")
VOID = {"meta", "br", "hr", "img", "link", "input"}
SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("<b>bold", "$x_1$ & co", '"quoted" id="p"', "a name that is much longer than any other name has ever been")


def on_the_way(rng, y, n):
    """A course that goes to the truth, decided where it is sure."""
    p = np.clip(
        0.5 + (y - 0.5) * np.linspace(0.0, 1.2, len(COURSE))[:, None] + rng.normal(0, 0.1, (len(COURSE), n)), 0, 1
    )
    decided = np.where(rng.random(n) < 0.8, rng.uniform(1.0, 3.0, n).round(1), np.nan)
    return Course(
        p,
        decided,
        np.where(np.isfinite(decided), 8.0 + decided, np.nan),
        np.zeros(n, int),
        np.where(np.isfinite(decided), y, np.nan),
    )


def lively(seed, names=BELIEFS, **given):
    """An encounter in which everything is there, drawn from `seed`."""
    rng, n = np.random.default_rng(seed), len(names)
    y = int(rng.random() < 0.5)
    odds = 2.0 * (y - 0.5) + rng.normal(0.0, 1.0, n)
    said = dict(zip(names, 1.0 / (1.0 + np.exp(-odds)), strict=True))
    there = {
        "nees": rng.chisquare(2, (len(MOMENTS), n)),
        "nis": rng.chisquare(3, (len(MOMENTS), n)),
        "nis_dof": np.full((len(MOMENTS), n), 3.0),
        "course": on_the_way(rng, y, n),
        "shadow_action": rng.integers(0, 4, (n, 2)),
    }
    return encounter(seed, y, visibility=float(rng.uniform(12.0, 45.0)), given=there | given, **said)


def lively_score(n=60, names=BELIEFS, **given):
    return Score(tuple(lively(seed, names, **given) for seed in range(n)))


def nothing(shape):
    return np.full(shape, np.nan)


POOR = {
    "one encounter": lambda: Score((lively(0),)),
    "two encounters": lambda: Score((lively(0), lively(1))),
    "one class": lambda: Score(tuple(e for e in lively_score().encounters if e.truth)),
    "bags only": lambda: Score(tuple(e for e in lively_score().encounters if not e.truth)),
    "all alike": lambda: Score(tuple(encounter(s, s % 2, kalman=0.5, fused=0.5) for s in range(9))),
    "sure and wrong": lambda: Score(tuple(encounter(s, s % 2, kalman=abs(1 - s % 2 - 1e-9)) for s in range(4))),
    "no beliefs": lambda: Score((encounter(0, 1, given={"shadow_action": np.empty((0, 2), int)}),)),
    "no class": lambda: lively_score(5, truth=3),
    "nothing reached": lambda: lively_score(
        5, log_probs=nothing((5, 3, 2)), in_path_belief=nothing((5, 3)), shadow_action=np.full((3, 2), -1),
        nees=nothing((5, 3)), nis=nothing((5, 3)),
        course=Course(nothing((len(COURSE), 3)), nothing(3), nothing(3), np.zeros(3, int), nothing(3)),
    ),
    "no end": lambda: lively_score(20, complete=False),
    "singular places": lambda: lively_score(9, nees=np.full((5, 3), np.inf)),
    "no NIS": lambda: lively_score(9, nis=nothing((5, 3))),
    "losses that vary": lambda: Score(
        tuple(lively(s, loss=np.array([[0.0, 90.0 + s], [1, 40], [3, 5], [6, 1]])) for s in range(9))
    ),
    "two drivers": lambda: Score(tuple(lively(s, driver=f"fused, {d}") for s in range(9) for d in ("bayes", "other"))),
    "much left out": lambda: Score((lively(0),), tuple((f"{k}.h5", f"{k}.h5 is <empty>") for k in range(40))),
    "odd names": lambda: lively_score(30, NAMES),
    "a card": lambda: Score((lively(0, card="12345678 of 500 encounters", outside_card=True), lively(1))),
}  # fmt: skip


class Strict(HTMLParser):
    """Every element that is opened is closed, in order; what the page would fetch is kept."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.fetched = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.note(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.note(dict(attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def note(self, attributes):
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.fetched += [v for k, v in attributes.items() if k in ("src", "href", "xlink:href", "srcset", "data")]


def parsed(text):
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert not parser.open
    return parser


def svgs(text):
    return {
        root.find(f"{SVG}title").text: root
        for root in map(ElementTree.fromstring, re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    }


def words(text):
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<(style|svg).*?</\1>", "", text, flags=re.DOTALL)))


def drawn(draw):
    """The artists with a name that `draw` leaves on axes."""
    axes = Figure().add_subplot()
    draw(axes)
    return {a.get_gid(): a for a in axes.get_children() if a.get_gid()}, axes


# The document


@pytest.mark.parametrize("case", ["rich", *POOR])
def test_it_is_well_formed_and_stands_alone(case):
    text = document.page(POOR[case]() if case in POOR else lively_score(), "fogsim score logs --html 'a <b>.html'")
    page = parsed(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert all(target.startswith("#") and target[1:] in page.ids for target in page.fetched)
    assert all(target in page.ids for target in re.findall(r"url\(#([^)]*)\)", text))
    assert text.count("url(") == text.count("url(#")
    assert not re.findall(r"https?://", re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert "@import" not in text
    assert "nan" not in words(text).lower().replace("nanosecond", "")
    for title, root in svgs(text).items():
        assert title.strip()
        assert root.find(f"{SVG}desc").text.strip()
        assert root.get("role") == "img"
        assert "nan" not in " ".join(root.itertext()).lower()
    assert len(re.findall(r"<h2>", text)) == len(re.findall(r'<p class="says">[^<]+</p>', text)) == 11


def test_a_thousand_encounters_of_five_beliefs_are_no_burden():
    text = document.page(lively_score(1000, ("a", "b", "c", "d", "fused")))
    assert len(text.encode()) < 600_000


def test_text_stays_text_and_colours_are_variables():
    found = svgs(document.page(lively_score()))
    root = found["Reliability of kalman at the decision point"]
    assert {"P(barrier) said", "share that were barriers", "0.5"} <= {t.text for t in root.iter(f"{SVG}text")}
    style = " ".join(e.get("style", "") for e in root.iter())
    assert "var(--sky)" in style
    assert not re.findall(r"#[0-9a-f]{6}", style)


def test_names_are_names_and_no_markup():
    text = document.page(POOR["odd names"]())
    for name in NAMES:
        assert name in words(text)
    assert "<b>bold" not in text
    assert any("$x_1$ & co" in "".join(root.itertext()) for root in svgs(text).values())


def test_the_same_score_makes_the_same_page():
    assert document.page(lively_score(20), "x") == document.page(lively_score(20), "x")


def test_the_key_table_is_the_score():
    score = lively_score()
    found = summary.section(score).table
    for cells, row in zip(found.rows, [r for r in score.beliefs if r.moment == "decision"], strict=True):
        name, n, loss, brier, mcb, dsc, auc, misses, brakes = cells
        assert (name, n) == (row.belief, str(row.n))
        told = [float(x) for x in re.findall(r"[\d.]+", loss)]
        assert told == pytest.approx([row.log_loss, row.gain.low + math.log(2), row.gain.high + math.log(2)], abs=6e-4)
        assert [float(x) for x in (brier, *re.findall(r"[\d.]+", mcb), dsc, auc)] == pytest.approx(
            [row.brier, *row.mcb, row.dsc.mean, row.auc], abs=6e-4
        )
        shadow = next(p for p in score.policies if (p.belief, p.policy) == (name, "bayes"))
        assert (int(misses), int(brakes)) == (shadow.collisions, shadow.needless_brakes)
        assert f">{loss}</td>" in document.page(score)


def test_the_top_says_what_was_left_out():
    text = words(document.page(POOR["much left out"]()))
    assert "0.h5 is <empty>" in text
    assert "29 more such lines" in text
    text = words(document.page(POOR["a card"]()))
    assert "12345678 of 500 encounters (1) and none (1)" in text
    assert "1 of 2 met fog in which their calibration card was not fitted" in text
    assert "No calibration card" in words(document.page(lively_score(3)))


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("one class", ["Every object was of one class", "Every object was a barrier"]),
        ("no beliefs", ["No encounter was followed by a belief", "No belief of these logs has a place"]),
        ("nothing reached", ["No encounter reached the decision point", "No belief was followed between 40 and 5 m"]),
        ("no end", ["No log has its end"]),
        ("no NIS", ["no NIS"]),
        ("singular places", ["∞ times what it expects"]),
        ("losses that vary", ["p* lies between 0.0583 and 0.0632"]),
        ("two drivers", ["Cheapest is fused, ", "On the 9 seeds that both drove they cannot be told apart"]),
    ],
)
def test_what_is_missing_is_said(case, says):
    text = words(document.page(POOR[case]()))
    for part in says:
        assert part in text


# Charts


def test_the_reliability_line_is_the_isotonic_fit():
    p, y = [0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 1, 1]
    score = Score(tuple(encounter(s, y[s], fused=p[s]) for s in range(5)))
    found = reliability.diagram(score, "fused", "decision")
    artists, _ = drawn(lambda axes: reliability.draw(axes, found, "ink"))
    x, fit = artists["reliability"].get_data()
    np.testing.assert_allclose(np.interp(p, x, fit), [0.0, 0.5, 0.5, 1.0, 1.0])
    parts = (found.score.mcb.mean, found.score.dsc.mean, found.score.unc)
    assert parts == pytest.approx((0.27 - 0.10, 0.24 - 0.10, 0.24))
    assert "MCB 0.170 · DSC 0.140 · UNC 0.240" in words(document.page(score))


def test_the_worst_calibrated_belief_is_named():
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.5
    score = Score(tuple(encounter(s, int(y), good=0.5, bad=0.95) for s, y in enumerate(truth)))
    says = reliability.section(score, "decision").says
    assert says.startswith("bad is worst calibrated: recalibration would take")
    assert says.endswith("good cannot be told from calibrated.")


def test_the_fan_holds_quantiles_of_each_class():
    p = {0: [0.1, 0.2, 0.3], 1: [0.6, 0.8, 0.7]}
    course = lambda q: Course(np.full((len(COURSE), 1), q), *nothing((2, 1)), np.zeros(1, int), nothing(1))  # noqa: E731
    score = Score(
        tuple(encounter(3 * y + k, y, fused=q, given={"course": course(q)}) for y in p for k, q in enumerate(p[y]))
    )
    found = fan.fan(score, "fused")
    for y in p:
        np.testing.assert_allclose(found.quantiles[y][:, 0], np.quantile(p[y], fan.QUANTILES))
    artists, _ = drawn(lambda axes: fan.draw(axes, found))
    np.testing.assert_array_equal(artists["median-barrier"].get_data(), [COURSE, np.full(len(COURSE), 0.7)])
    assert found.parted == COURSE[0]


def test_the_place_where_beliefs_part():
    low, high = np.tile([[0.5], [0.4]], 4), np.tile([[0.5], [0.6]], 4)
    quantiles = {0: np.tile(low[0], (5, 1)), 1: np.tile(high[0], (5, 1))}
    quantiles[1][1], quantiles[0][3] = [0.6, 0.5, 0.6, 0.6], [0.5, 0.5, 0.5, 0.4]
    assert fan.Fan("x", np.array([20.0, 15.0, 10.0, 5.0]), quantiles).parted == 10.0
    quantiles[1][1, -1] = 0.3
    assert math.isnan(fan.Fan("x", np.array([20.0, 15.0, 10.0, 5.0]), quantiles).parted)


def test_the_survival_steps_where_beliefs_decide():
    times = [1.0, 2.0, np.nan, 2.0]
    even, one = np.full((len(COURSE), 1), 0.5), np.ones(1)
    course = lambda t: Course(even, t * one, 10.0 * t * one, np.zeros(1, int), one)  # noqa: E731
    score = Score(
        tuple(encounter(s, 0, fused=0.5, given={"course": course(t), "duration": 1.5}) for s, t in enumerate(times))
    )
    (found,) = (deciding.decisions(score, row) for row in score.sureness)
    artists, _ = drawn(lambda axes: deciding.draw_undecided(axes, score, [found]))
    x, share = artists["undecided-0"].get_data()
    np.testing.assert_allclose(x, [0.0, 1.0, 2.0, 2.0])
    np.testing.assert_allclose(share, [1.0, 0.75, 0.0, 0.0])  # at 2 s two are watched, both decide
    assert artists["undecided-0"].get_drawstyle() == "steps-post"
    artists, _ = drawn(lambda axes: deciding.draw_left(axes, score, [found]))
    assert artists["left-0"].get_xdata()[0] == 20.0
    assert "leaves 25 % undecided" in deciding.says([found])


def test_the_page_has_the_medians_of_the_tables():
    """Logs that end early are no longer watched: of those that decide alone the median would be another."""
    course = lambda t: Course(  # noqa: E731
        np.full((len(COURSE), 1), 0.5), np.array([t]), np.array([20.0 - 5.0 * t]), np.zeros(1, int), np.ones(1)
    )
    given = [{"course": course(t)} for t in (1.0, 2.0, 3.0)]
    given += [{"course": course(np.nan), "duration": 0.5, "distance_left": 18.0}] * 2
    given += [{"course": course(np.nan), "duration": 4.0, "distance_left": 2.0}] * 2
    score = Score(tuple(encounter(s, 1, fused=0.5, given=g) for s, g in enumerate(given)))
    (row,) = score.sureness
    (found,) = (deciding.decisions(score, row) for row in score.sureness)
    artists, _ = drawn(lambda axes: deciding.draw_left(axes, score, [found]))
    assert artists["left-0"].get_xdata()[0] == row.left == 5.0
    assert f"after {row.time:.1f} s by fused ({row.left:.1f} m left" in deciding.says([found])


def test_the_decision_curve_by_hand():
    said = {0: (0.2, 0), 1: (0.4, 1), 2: (0.6, 0), 3: (0.8, 1)}
    score = Score(tuple(encounter(s, y, fused=q) for s, (q, y) in said.items()))
    found = braking.curve(score, "fused")
    assert found.cost(0.0) == (6 + 1 + 6 + 1) / 4
    assert found.cost(0.6) == (0 + 100 + 6 + 1) / 4
    assert found.cost(np.inf) == (0 + 100 + 0 + 100) / 4
    assert braking.switches(score) == pytest.approx((6 / 105, 6 / 105))
    assert braking.switch(np.array([[0.0, 10.0], [0, 0], [0, 0], [5.0, 10.0]])) == 1.0
    assert braking.switch(np.array([[0.0, 10.0], [0, 0], [0, 0], [0.0, 5.0]])) == 0.0
    artists, _ = drawn(lambda axes: braking.draw(axes, score, [found], braking.switches(score)))
    t, cost = artists["cost-0"].get_data()
    np.testing.assert_allclose(cost, [found.cost(x) for x in t])


def test_a_calibrated_belief_brakes_best_at_p_star():
    rng = np.random.default_rng(1)
    q = rng.beta(0.5, 2.0, 20_000)
    path = rng.random(len(q)) < q
    found = braking.Curve("x", q, np.where(path, 100.0, 0.0), np.where(path, 1.0, 6.0))
    assert abs(braking.THRESHOLDS[found.costs.argmin()] - 6 / 105) < 0.03


def test_p_star_lies_where_the_axis_says():
    """In the file itself: its line, between the ticks of 0 and 1."""
    root = svgs(document.page(lively_score()))["Mean cost by the threshold from which it brakes"]
    groups = {g.get("id"): g for g in root.iter(f"{SVG}g") if g.get("id")}

    ticks = {
        g.find(f".//{SVG}text").text: float(g.find(f".//{SVG}use").get("x"))
        for k, g in groups.items()
        if re.match(r"braking-xtick_\d", k)
    }
    at = float(re.match(r"M ([\d.]+)", groups["braking-p-star"].find(f".//{SVG}path").get("d"))[1])
    mark = (at - ticks["0.00"]) / (ticks["1.00"] - ticks["0.00"])
    assert mark == pytest.approx(6 / 105, abs=1e-3)


def test_consistency_by_hand():
    given = {"nees": np.full((5, 1), 4.0), "nis": np.full((5, 1), 3.0), "nis_dof": np.full((5, 1), 6.0)}
    score = Score(tuple(encounter(s, s % 2, fused=0.5, given=given) for s in range(10)))
    found = consistency.placed_by(score, "fused")
    assert [x.value for x in found.nees] == [2.0] * 5
    assert [x.value for x in found.nis] == [0.5] * 5
    assert (found.nees[0].low, found.nees[0].high) == pytest.approx(tuple(chi2.ppf([0.025, 0.975], 20) / 20))
    artists, axes = drawn(lambda axes: consistency.draw(axes, found, (0.1, 10.0), "ink"))
    assert (artists["nees-0"].get_xdata()[0], artists["nis-4"].get_xdata()[0]) == (2.0, 0.5)
    assert axes.get_xscale() == "log"


def twice(score, **given):
    """Every seed again, otherwise."""
    return Score((*score.encounters, *(dataclasses.replace(e, **given) for e in score.encounters)))


def test_the_page_has_the_places_of_the_tables_where_logs_share_a_seed():
    score = twice(lively_score(12), nees=np.full((5, 3), 9.0), nis=np.full((5, 3), 9.0))
    for belief in BELIEFS:
        found = consistency.placed_by(score, belief)
        for name in ("nees", "nis"):
            rows = [getattr(row, name) for row in score.places if row.belief == belief]
            wanted = [(r.n, r.mean / r.dof, r.low / r.dof, r.high / r.dof) for r in rows]
            assert [x[1:] for x in getattr(found, name)] == wanted


def test_the_spread_of_a_right_place_is_flat_within_its_band():
    rng = np.random.default_rng(0)
    n, low_high = 300, spread.flat_band(300)
    heights = np.array([spread.Spread("x", rng.random(n)).heights for _ in range(1000)])
    inside = ((heights >= low_high[0]) & (heights <= low_high[1])).all(axis=1).mean()
    assert 0.94 < inside < 0.99
    nees = np.full((5, 1), -2.0 * math.log(1.0 - 0.96))
    score = Score(
        (encounter(0, 1, fused=0.5, given={"nees": nees}), encounter(1, 1, fused=0.5, given={"nees": 0 * nees}))
    )
    found = spread.spread(score, "fused")
    assert sorted(found.u) == pytest.approx([0.0, 0.96])
    assert found.outside == 0.5


def test_losses_by_fog_are_those_of_the_fog():
    score = Score(tuple(encounter(s, 1, visibility=10.0 + 10.0 * s, fused=0.2 + 0.2 * s) for s in range(4)))
    found = {name: next(x for x in losses.losses(score, name) if x.moment == "10 m") for name in VISIBILITIES}
    assert {x.moment for x in losses.losses(score, "all")} == {"decision", "20 m", "15 m", "10 m"}
    assert {name: x.n for name, x in found.items()} == {"all": 4, "below 20 m": 1, "20 to 30 m": 1, "above 30 m": 2}
    assert found["below 20 m"].loss.mean == pytest.approx(-math.log(0.2))
    assert found["all"].loss.mean == pytest.approx(-np.log([0.2, 0.4, 0.6, 0.8]).mean())


@given(st.lists(st.floats(-0.2, 1.2), min_size=1, max_size=8))
def test_labels_move_apart_and_keep_their_order(y):
    moved, y = apart(np.array(y), 0.1), np.array(y)
    order = np.argsort(y, kind="stable")
    assert (np.diff(moved[order]) > 0.1 - 1e-9).all()
    assert moved.min() > -1e-9
    assert moved.max() < 1.0 + 1e-9


def test_labels_with_room_stay_where_they_are():
    np.testing.assert_allclose(apart(np.array([0.9, 0.1, 0.5]), 0.2), [0.9, 0.1, 0.5])
    np.testing.assert_allclose(apart(np.array([0.5, 0.5]), 0.2), [0.4, 0.6])


def test_a_share_is_nothing_only_where_it_is_nothing():
    assert [percent(x) for x in (0.0, 0.001, 0.13, 0.999, 1.0)] == [
        "0 %",
        "less than 1 %",
        "13 %",
        "more than 99 %",
        "100 %",
    ]


def test_ids_of_two_charts_differ():
    one, two = (chart(name, "a", "b", lambda axes: axes.plot([0, 1], "o-")) for name in ("one", "two"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert not ids[0] & ids[1]


# In a browser


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium here: install it to see the page as a browser does")
    with browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(document.page(lively_score(60, ("kalman", "particle", *NAMES[:2], "fused"))), encoding="utf-8")
    return path


OUTSIDE = """[...document.querySelectorAll('svg text')].filter(t => {
  const a = t.getBoundingClientRect(), b = t.closest('svg').getBoundingClientRect();
  return a.left < b.left - 2 || a.right > b.right + 2 || a.top < b.top - 2 || a.bottom > b.bottom + 2;
}).map(t => t.textContent)"""


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_a_browser_shows_it_asks_for_nothing_and_does_not_complain(chromium, written, width):
    chromium.open(written, width)
    assert [e["request"]["url"] for e in chromium.said("Network.requestWillBeSent")] == [written.as_uri()]
    assert not chromium.said("Log.entryAdded")
    assert not chromium.said("Runtime.exceptionThrown")
    assert not chromium.said("Runtime.consoleAPICalled")
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate(OUTSIDE) == []
    assert chromium.evaluate("document.querySelectorAll('section').length") == 11
    assert chromium.evaluate("document.querySelector('td').textContent") == "kalman"
    assert chromium.evaluate("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().height > 60)")


def test_it_turns_dark_and_prints_on_paper(chromium, written, tmp_path):
    ground = "getComputedStyle(document.documentElement).getPropertyValue('--ground').trim()"
    stroke = "getComputedStyle(document.querySelector('#reliability-decision-0-reliability path')).stroke"
    try:
        chromium.media(scheme="dark")
        chromium.open(written)
        assert chromium.evaluate(ground) == "#10141b"
        assert chromium.evaluate(stroke) == "rgb(86, 180, 233)"
        chromium.media("print", "dark")
        assert chromium.evaluate(ground) == "#fdfdfc"
        chromium.pdf(tmp_path / "page.pdf")
    finally:
        chromium.media()
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
