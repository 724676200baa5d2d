"""A deployed classifier beside one that goes on learning, encounter by encounter: what the first comes to owe.

Both say P(barrier) by the frames up to the decision point. Once the encounter has ended its class is known, the account
is drawn up (`filters.adaptation.debt`), and the second learns from all frames until the object was reached: the
posterior of its weights, what objects are like lately, and how many were new. Where the policy fires, the second is
deployed in the place of the first, and goes on learning itself.
The place of the object is left out of the decision: it is to brake for a barrier, wherever it stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from filters.adaptation.debt import Account, RetrainPolicy, record
from filters.adaptation.deployed import LATE, Deployed, Model
from filters.adaptation.streaming import Info, Streaming
from filters.posterior.spec import generator
from filters.spec import Array
from fogsim.labelled import Labelled

SEED = 0  # of the draws by which both are asked, and of what is learnt
BOUND = 20.0  # nats by which surprise alone can teach; chosen on campaigns of root seeds 6 to 8


class Lesson(NamedTuple):
    """One encounter: P(barrier) by what had been learnt before, how its label was learnt, and the model with it."""

    encounter: Labelled
    believed: float
    learnt: Info
    model: Model


class Entry(NamedTuple):
    """One encounter: what both said, the account, the information debt (nats), how the label was learnt, the model with
    it, and the firing.
    """

    encounter: Labelled
    believed: float
    deployed: float
    account: Account
    information: float
    learnt: Info
    model: Model
    firing: dict[str, Any] | None

    @property
    def losses(self) -> tuple[float, float]:
        """What acting by the deployed posterior cost, and what by the one that goes on learning would have."""
        stakes, label = self.encounter.stakes, self.encounter.label
        return stakes.loss(self.deployed, label), stakes.loss(self.believed, label)


def lessons(encounters: Iterable[Labelled], deployed: Deployed) -> Iterator[Lesson]:
    """What becomes of a classifier that learns from encounters in their order."""
    streaming, rng = Streaming(deployed.engine, BOUND), generator(SEED, "streaming")
    stream, model = streaming.init(deployed.model.posterior), deployed.model
    late: deque[tuple[Array, int]] = deque(maxlen=LATE)
    odd: deque[float] = deque(maxlen=LATE)
    novel = 0.0
    for found in encounters:
        p = deployed.probability(model, found.asked, SEED)
        odd.append(deployed.novelty(model, found.seen, SEED))
        stream, learnt = streaming.update(stream, deployed.rows(found.seen.features, found.label), rng)
        novel += odd[-1] * (learnt.weight > 0.0)  # of a copy nothing is learnt
        late.append((found.seen.features, found.label))
        known = deployed.known(stream.posterior, list(late), SEED)
        model = Model(stream.posterior, known, novel, sum(odd) / len(odd))
        yield Lesson(found, p, learnt, model)


def follow(lessons: Iterable[Lesson], deployed: Deployed, policy: RetrainPolicy) -> Iterator[Entry]:
    """The entries of lessons in their order."""
    state, serving = policy.init(), deployed.model
    for found, p, learnt, model in lessons:
        p0 = deployed.probability(serving, found.asked, SEED)
        state, account = policy.update(state, found.stakes, p, p0, found.label)
        information, firing = deployed.engine.kl(model.posterior, serving.posterior), None
        if account.retrain:
            firing = record(policy, account, information, (serving.hash, model.hash))
            serving, state = model, policy.init()
        yield Entry(found, p, p0, account, information, learnt, model, firing)
