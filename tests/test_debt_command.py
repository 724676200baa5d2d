"""``fogsim debt`` over a small campaign: what it reads, follows, keeps and refuses."""

import json
import shutil

import numpy as np
import pytest

from filters import bnn
from filters.adaptation import deployed
from filters.adaptation.debt import RetrainPolicy, Stakes
from filters.adaptation.streaming import Flag
from filters.belief import normalise
from filters.network_filter import fused, seen
from filters.spec import FEATURES
from filters.streams import stream
from filters.trained import save, shipped
from fogsim.campaign_command import campaign
from fogsim.campaigns import MANIFEST, Campaign
from fogsim.cli import main
from fogsim.debt_command import AUDIT
from fogsim.indebted import follow
from fogsim.labelled import Labelled, encounters, logs_of
from fogsim.log import Replay
from fogsim.scenario import Driver, Hazard, Scenario

NEAR = Scenario(filters=("bnn",), driver=Driver(belief="bnn"), hazards=(Hazard(x=14.0),), duration=4.0)
BRAKE = Stakes(6.0, 99.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A campaign of six encounters that begin near the object."""
    plan = Campaign(NEAR, 6, tmp_path_factory.mktemp("debt") / "out")
    assert campaign(plan, 1) == 0
    return plan.folder


@pytest.fixture(scope="module")
def first():
    return deployed.load(shipped("bnn"))


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as left:
            main(["debt", *map(str, words)])
        out = capsys.readouterr()
        return left.value.code, " ".join(out.out.split()), out.err

    return call


def made(number, label, features, stakes=BRAKE):
    """An encounter of these frames (n, F)."""
    return Labelled(number, f"{number}.h5", "hash", features, features, stakes, label)


def some(n, label=0, seed=0, shift=0.0):
    """So many frames that look like something, the labels' opposite if shifted by a lot."""
    net, _ = bnn.network(shipped("bnn"))
    values = net.mean + net.deviation * stream(seed, "frames").normal(shift * (1 - 2 * label), 1.0, (n, len(FEATURES)))
    values[:, 0] = 1.0
    return values


def test_encounters_come_in_their_order_with_what_their_logs_hold(folder):
    found = list(encounters(folder))
    assert [e.number for e in found] == list(range(6))
    for e, (number, path) in zip(found, logs_of(folder), strict=True):
        with Replay(path) as log:
            decided = int(np.argmax(log.column("at_decision_point")))
            features = log.column("features")[:, 0]
            looked = np.isfinite(features).all(axis=1)
            ahead = log.column("distance_left")[:, 0] > 0.0
            assert (e.number, e.content_hash) == (number, log.stored_hash)
            assert e.label == log.column("truth_class")[0, 0]
            np.testing.assert_array_equal(e.asked, features[: decided + 1][looked[: decided + 1]])
            np.testing.assert_array_equal(e.seen, features[ahead & looked])
        assert e.stakes == BRAKE  # of the default loss table: braking 6 and 1, proceeding 0 and 100


def test_a_deployed_posterior_says_what_the_filter_s_frames_say(first):
    """Of the checkpoint's own draws; the normal of their moments is as near as 64 draws of it are."""
    features = some(7, seed=3)
    features[2, 0] = 0.0
    total = np.full((first.network.b3.size, 2), -np.log(2.0))
    for frame in features:
        total = fused(total, first.network.tau[seen(frame)] * bnn.evidence(first.network, bnn.in_clear(frame)[None])[0])
    expected = float(np.exp(total[:, 1]).mean())
    found = [first.probability(first.posterior, features, seed) for seed in range(20)]
    assert np.mean(found) == pytest.approx(expected, abs=0.03)
    assert first.probability(first.posterior, features, 1) == found[1]


def test_moments_are_those_of_the_draws(first):
    net = first.network
    assert first.posterior.means[1][3, :-1].numpy() == pytest.approx(net.w2[:, :, 3].mean(axis=0))
    assert first.posterior.covariances[1][3].diagonal()[-1] == pytest.approx(net.b2[:, 3].var(ddof=1))


def test_nothing_is_owed_before_anything_is_learnt(first):
    entry = next(follow([made(0, 1, some(5))], first, RetrainPolicy(50.0, 100.0)))
    assert entry.believed == entry.deployed
    assert (entry.account.debt, entry.account.evidence) == (0.0, 0.0)
    assert entry.information > 0.0  # and then it was learnt


def test_what_is_said_of_an_encounter_knows_nothing_of_its_label(first):
    before = [made(k, k % 2, some(5, k % 2, k)) for k in range(3)]
    ends = [list(follow([*before, made(3, y, some(5))], first, RetrainPolicy(50.0, 100.0)))[-1] for y in (0, 1)]
    assert ends[0].believed == ends[1].believed
    assert ends[0].account.evidence != ends[1].account.evidence


def test_a_world_that_has_changed_makes_it_fire_and_the_new_one_serves(first):
    stale = [made(k, k % 2, some(8, k % 2, k, shift=1.0)) for k in range(40)]
    entries = list(follow(stale, first, RetrainPolicy(20.0, 1000.0)))
    firings = [e for e in entries if e.firing]
    assert firings
    told = firings[0].firing
    assert told["decision_debt"] >= told["debt_threshold"] == 20.0
    assert told["highest_evidence"] >= told["evidence_threshold"]
    assert told["deployed_model"] == deployed.hash_of(first.posterior)
    assert told["new_model"] == deployed.hash_of(firings[0].posterior)
    after = entries[entries.index(firings[0]) + 1]
    assert after.believed == after.deployed


@pytest.mark.parametrize("what", ["wrong labels", "constant inputs", "duplicates", "not finite"])
def test_no_stream_makes_the_debt_no_number(first, what):
    frames = {
        "wrong labels": lambda k: some(6, 1 - k % 2, k),
        "constant inputs": lambda k: np.tile(some(1), (6, 1)),
        "duplicates": lambda k: some(6),
        "not finite": lambda k: np.where(
            stream(k, "holes").random((6, 1)) < 0.5 + 0.5 * (k == 3), np.nan, some(6, 0, k)
        ),
    }[what]
    label = {"duplicates": lambda k: 1}.get(what, lambda k: k % 2)
    entries = list(follow([made(k, label(k), frames(k)) for k in range(30)], first, RetrainPolicy(20.0, 100.0)))
    for e in entries:
        assert np.isfinite([e.account.debt, e.account.evidence, e.information]).all()
        assert all(part.isfinite().all() for part in e.posterior.means)
    flags = {e.learnt.flags for e in entries}
    if what == "constant inputs":
        assert all(Flag.CONSTANT in f for f in flags)
    if what == "duplicates":
        assert sum(Flag.DUPLICATE in e.learnt.flags for e in entries) == 29
    if what == "not finite":
        assert any(Flag.INCOMPLETE in f for f in flags)
        assert not all(e.account.counted for e in entries)


def test_the_command_prints_plots_and_keeps_what_fired(folder, run, tmp_path):
    place, plot = tmp_path / "campaign", tmp_path / "debt.png"
    shutil.copytree(folder, place)
    before = {p.name: p.read_bytes() for p in place.glob("*.h5")}
    code, out, _ = run(place, "--plot", plot)
    assert code == 0
    assert "learning debt of 6 encounters" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not (place / AUDIT).exists()  # nothing fired
    assert {p.name: p.read_bytes() for p in place.glob("*.h5")} == before
    code, _, err = run(place, "--plot", plot)
    assert code == 2
    assert "never overwritten" in err


def test_a_firing_is_kept_once_with_the_log_it_fired_at(folder, run, tmp_path):
    """A network that is sure of the wrong class, so that the labels speak at once."""
    place, wrong = tmp_path / "campaign", tmp_path / "wrong.safetensors"
    shutil.copytree(folder, place)
    opposite(wrong)
    for _ in range(2):
        assert run(place, "--checkpoint", wrong, "--cost", "1", "--alpha", "0.5")[0] == 0
    told = [json.loads(line) for line in (place / AUDIT).read_text().splitlines()]
    assert told
    assert len({json.dumps(line, sort_keys=True) for line in told}) == len(told)
    logs = {path.name: number for number, path in logs_of(place)}
    for line in told:
        assert logs[line["log"]] == line["number"]
        assert line["checkpoint"] == "wrong.safetensors"
        with Replay(place / line["log"]) as log:
            assert line["content_hash"] == log.stored_hash


def opposite(path):
    """The shipped checkpoint with its output turned round, and little known of it."""
    from filters.trained import load

    tensors, header = load(shipped("bnn"), "bnn", bnn.SHAPES | bnn.novelty.SHAPES)
    rng = stream(0, "opposite")
    tensors["w3"] = -tensors["w3"] + 0.5 * rng.normal(size=tensors["w3"].shape)
    tensors["b3"] = -tensors["b3"] + 0.5 * rng.normal(size=tensors["b3"].shape)
    save(path, tensors, {"kind": "bnn"} | {k: v for k, v in header.items() if k in ("seed",)})


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--cost", "0"), "found cost 0 and horizon 1000, expected both above 0"),
        (("--alpha", "2"), "found alpha 2, expected a probability between 0 and 1"),
        (("--checkpoint", "nowhere.safetensors"), "no such checkpoint"),
        (("--plot", "debt.jpg"), "expected a name that ends in .png"),
    ],
)
def test_wrong_options_are_told_in_a_line(folder, run, words, line):
    code, _, err = run(folder, *words)
    assert code == 2
    assert line in err
    assert err.count("\n") == 1


def test_folders_that_are_no_campaign_are_told_in_a_line(folder, run, tmp_path):
    assert "is no campaign" in run(tmp_path)[2]
    assert "is no campaign" in run(tmp_path / "nowhere")[2]
    lone = tmp_path / "logs"
    lone.mkdir()
    shutil.copy(next(folder.glob("*.h5")), lone)
    assert "is no campaign" in run(lone)[2]


def test_damaged_campaigns_are_told_in_a_line(folder, run, tmp_path):
    place = tmp_path / "campaign"
    shutil.copytree(folder, place)
    victim = logs_of(place)[2][1]
    victim.rename(victim.with_suffix(".h5.part"))  # as a killed run leaves it
    assert run(place)[0] == 0  # what was committed is read
    victim.with_suffix(".h5.part").write_bytes(b"words")
    code, _, err = run(place)
    assert (code, err.count("\n")) == (2, 1)
    assert victim.name in err
    (place / MANIFEST).write_text("{")
    assert "is damaged" in run(place)[2]


def test_what_no_classifier_has_a_class_for_is_left_out(run, tmp_path):
    cone = Scenario(filters=("bnn",), driver=Driver(belief="bnn"), hazards=(Hazard(kind="cone", x=14.0),), duration=0.3)
    assert campaign(Campaign(cone, 1, tmp_path / "out"), 1) == 0
    assert "has nothing to learn from" in run(tmp_path / "out")[2]
    assert list(encounters(tmp_path / "out")) == [None]


def test_even_odds_are_the_prior(first):
    assert np.exp(normalise(deployed.EVEN)) == pytest.approx([0.5, 0.5])
