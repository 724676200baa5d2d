"""``fogsim debt`` over a small campaign: what it reads, follows, keeps and refuses."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.special import expit

from filters import bnn
from filters.adaptation import deployed
from filters.adaptation.debt import RetrainPolicy, Stakes
from filters.adaptation.deployed import Frames
from filters.adaptation.streaming import Flag
from filters.belief import normalise
from filters.bnn import BayesianNetwork
from filters.losses import Loss
from filters.novelty import SHAPE
from filters.spec import FEATURES, EgoMotion, Features, Gaussian, Measurement, Pose, Prior
from filters.streams import stream
from filters.trained import save, shipped
from fogsim.campaign_command import campaign
from fogsim.campaigns import MANIFEST, Campaign
from fogsim.cli import main
from fogsim.debt_command import AUDIT
from fogsim.followers import model_of
from fogsim.indebted import follow, lessons
from fogsim.labelled import Labelled, encounters, logs_of, read
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


def made(number, label, features, later=None, stakes=BRAKE):
    """An encounter of these frames (n, F) to ask by, and of others by its end; .6 m apart."""
    asked, seen = (Frames(f, np.full(len(f), 0.6)) for f in (features, features if later is None else later))
    return Labelled(number, f"{number}.h5", "hash", asked, seen, stakes, label)


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
            left = log.column("distance_left")[:, 0]
            np.testing.assert_array_equal(e.asked.features, features[: decided + 1][looked[: decided + 1]])
            np.testing.assert_array_equal(e.seen.features, features[ahead & looked])
            last = np.flatnonzero(looked[: decided + 1])[-1]
            assert e.asked.driven.sum() == pytest.approx(left[0] - left[last])  # what lies between is driven too
        assert e.stakes == BRAKE  # of the default loss table: braking 6 and 1, proceeding 0 and 100


def test_what_is_seen_behind_the_object_is_not_learnt_from(tmp_path):
    """The last frames are put behind it here; a table in which to proceed costs too."""
    plan = Campaign(replace(NEAR, loss=Loss(proceed=(1.0, 100.0))), 1, tmp_path / "out")
    assert campaign(plan, 1) == 0
    [(number, path)] = logs_of(plan.folder)
    with h5py.File(path, "r+") as log:
        log["features"][-3:] = 7.0
        assert len(read(number, path).seen.features) > 3
        log["distance_left"][-3:] = -1.0
    found = read(number, path)
    assert len(found.seen.features)
    assert not (found.seen.features == 7.0).all(axis=1).any()
    assert found.stakes == Stakes(5.0, 99.0)


@pytest.mark.parametrize("odd", [0.0, 3.0])
def test_a_deployed_model_says_what_the_filter_says(first, odd):
    """Of the checkpoint's own draws, "none of these" too; the normal of their moments is as near as 64 draws of it."""
    frames = Frames(some(7, seed=3), (1.0 + odd) * np.linspace(0.2, 0.8, 7))
    frames.features[2, 0] = 0.0
    frames.features[:, SHAPE] += odd * first.network.deviation[SHAPE]
    filter_, rng = BayesianNetwork(model_of(NEAR)), stream(0, "filter")
    place = Gaussian(np.array([9.0, 0.0]), np.eye(2))
    state = filter_.init(Prior(np.log([0.5, 0.5]), place, 60.0, 0.1), rng)
    for values, way in zip(*frames, strict=True):
        pose = Pose(0.0, 0.0, 0.9, 0.0)
        state = filter_.predict(state, EgoMotion(np.array([way, 0.0, 0.0]), 1e-6 * np.eye(3), pose), 0.1, rng)
        seen = Features(values, place.mean, place.covariance, pose)
        state, _ = filter_.update(state, Measurement(0.0, "features", seen), rng)
    found = [first.probability(first.model, frames, seed) for seed in range(20)]
    assert np.mean(found) == pytest.approx(filter_.belief(state).barrier, abs=0.03)
    assert first.probability(first.model, frames, 1) == found[1]
    assert (expit(state.unknown) > 0.5) == bool(odd)


def test_the_way_of_frames_that_are_left_out_is_driven_all_the_same(first):
    frames = Frames(np.arange(10.0).reshape(5, 2), np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    kept = frames.where(np.array([False, True, False, False, True]))
    assert kept.driven.tolist() == [1.0, 9.0]
    assert kept.features[:, 0].tolist() == [2.0, 8.0]


def test_what_was_learnt_lately_is_no_longer_odd(first):
    """Things of another width, met thirty times: odd to the network as it was trained, and no longer."""

    def met(k):
        features = some(12, k // 2 % 2, k)
        features[:, SHAPE] += 3.0 * first.network.deviation[SHAPE]
        return features

    late = [(met(k), k // 2 % 2) for k in range(deployed.ENOUGH)]
    frames = Frames(met(99), np.full(12, 0.6))
    found = first.evidence(first.model.posterior, frames.features, 0)
    known = first.known(first.model.posterior, late, 0)
    assert len(known) == 2
    assert first.unknown(first.model.known, frames, found) > 0.9
    assert first.unknown(known, frames, found) < 0.1
    assert first.known(first.model.posterior, late[1:], 0) == first.model.known
    one_class = [(features, 0) for features, _ in late]
    assert first.known(first.model.posterior, one_class, 0) == first.model.known


def test_moments_are_those_of_the_draws(first):
    net = first.network
    assert first.model.posterior.means[1][3, :-1].numpy() == pytest.approx(net.w2[:, :, 3].mean(axis=0))
    assert first.model.posterior.covariances[1][3].diagonal()[-1] == pytest.approx(net.b2[:, 3].var(ddof=1))


def test_nothing_is_owed_before_anything_is_learnt(first):
    entry = next(follow(lessons([made(0, 1, some(5))], first), first, RetrainPolicy(50.0, 100.0)))
    assert entry.believed == entry.deployed
    assert (entry.account.debt, entry.account.evidence) == (0.0, 0.0)
    assert entry.information > 0.0  # and then it was learnt


def test_what_is_said_of_an_encounter_knows_nothing_of_its_label(first):
    before = [made(k, k % 2, some(5, k % 2, k)) for k in range(3)]
    ends = [
        list(follow(lessons([*before, made(3, y, some(5))], first), first, RetrainPolicy(50.0, 100.0)))[-1]
        for y in (0, 1)
    ]
    assert ends[0].believed == ends[1].believed
    assert ends[0].account.evidence != ends[1].account.evidence


def test_a_world_that_has_changed_makes_it_fire_and_the_new_one_serves(first):
    stale = [made(k, k // 2 % 2, some(8, k // 2 % 2, k, shift=1.0)) for k in range(80)]
    entries = list(follow(lessons(stale, first), first, RetrainPolicy(20.0, 1000.0)))
    firings = [e for e in entries if e.firing]
    assert firings
    told = firings[0].firing
    assert told["decision_debt"] >= told["debt_threshold"] == 20.0
    assert told["highest_evidence"] >= told["evidence_threshold"]
    assert told["deployed_model"] == first.model.hash
    assert told["new_model"] == firings[0].model.hash != firings[0].model._replace(known=()).hash
    assert told["information_debt"] == first.engine.kl(firings[0].model.posterior, first.model.posterior)
    after = entries[entries.index(firings[0]) + 1]
    assert after.believed == after.deployed
    assert after.account.debt == after.account.regret == 0.0  # and the account begins anew


def test_what_is_seen_after_the_decision_says_nothing_of_it_and_is_learnt(first):
    before = [made(k, k // 2 % 2, some(8, k // 2 % 2, k, shift=1.0)) for k in range(3)]
    asked, later = some(5, 0, 50), some(5, 1, 51, shift=1.0)
    ends = [list(lessons([*before, made(40, 1, asked, end)], first))[-1] for end in (asked, later)]
    assert ends[0].believed == ends[1].believed
    assert ends[0].model.hash != ends[1].model.hash


def test_in_a_new_world_a_learner_of_few_labels_is_not_sure(first):
    """As a rule of succession is of n encounters that were none of these, as often as these come up lately."""
    features = some(8, 1, 7)
    assert first.model.doubt == 0.0
    sure = first.probability(first.model, Frames(features, np.zeros(8)), 0)
    for novel, share in ((0.0, 1.0), (4.0, 0.5), (96.0, 1.0)):
        model = first.model._replace(novel=novel, share=share)
        w = share * deployed.PRIOR / (novel + deployed.PRIOR)
        assert model.doubt == pytest.approx(w)
        p = first.probability(model, Frames(features, np.zeros(8)), 0)
        assert p == pytest.approx((1.0 - w) * sure + w / 2.0)
        assert model.hash != first.model.hash


def test_encounters_that_are_new_are_counted_and_what_is_known_is_not(first, folder):
    """By what training knew, whatever was learnt since."""
    known = [e for e in encounters(folder) if e]
    width = np.zeros(len(FEATURES))
    width[SHAPE] = 5.0 * first.network.deviation[SHAPE]
    new = [e._replace(seen=e.seen._replace(features=e.seen.features + width)) for e in known]
    before, after = (list(lessons(met, first))[-1].model for met in (known, [*known, *new]))
    assert before.novel < 1.0
    assert after.novel - before.novel > len(new) - 0.5
    assert after.share == pytest.approx(after.novel / (2 * len(known)))


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
    entries = list(
        follow(lessons([made(k, label(k), frames(k)) for k in range(30)], first), first, RetrainPolicy(20.0, 100.0))
    )
    for e in entries:
        assert np.isfinite([e.account.debt, e.account.evidence, e.information]).all()
        assert all(part.isfinite().all() for part in e.model.posterior.means)
    flags = {e.learnt.flags for e in entries}
    if what == "constant inputs":
        assert all(Flag.CONSTANT in f for f in flags)
    if what == "duplicates":
        assert sum(Flag.DUPLICATE in e.learnt.flags for e in entries) == 29
        assert entries[-1].model.novel == entries[0].model.novel > 0.0  # a copy is no more learnt than it is new
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
    assert any("decision_debt" in line for line in told)
    assert all("decision_debt" in line or line["flags"] for line in told)
    assert all(0.0 <= line["learnt_at_weight"] <= 1.0 for line in told)
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


def test_an_encounter_without_a_decision_is_left_out(run, tmp_path):
    far = replace(NEAR, hazards=(Hazard(x=40.0),), duration=0.5)
    assert campaign(Campaign(far, 1, tmp_path / "out"), 1) == 0
    assert list(encounters(tmp_path / "out")) == [None]


def test_a_campaign_that_sweeps_settings_is_refused(run, tmp_path):
    plan = Campaign(replace(NEAR, duration=0.3), 1, tmp_path / "out", sweep={"dt": ("0.1", "0.2")})
    assert campaign(plan, 1) == 0
    assert "sweeps settings, expected one world" in run(tmp_path / "out")[2]


def test_what_no_classifier_has_a_class_for_is_left_out(run, tmp_path):
    cone = Scenario(filters=("bnn",), driver=Driver(belief="bnn"), hazards=(Hazard(kind="cone", x=14.0),), duration=0.3)
    assert campaign(Campaign(cone, 1, tmp_path / "out"), 1) == 0
    assert "has nothing to learn from" in run(tmp_path / "out")[2]
    assert list(encounters(tmp_path / "out")) == [None]


def test_even_odds_are_the_prior(first):
    assert np.exp(normalise(deployed.EVEN)) == pytest.approx([0.5, 0.5])
