"""A deployed classifier beside one that goes on learning, encounter by encounter: what the first comes to owe.

Both say P(barrier) by the frames up to the decision point, and for the evidence by all frames until the object is
reached. Once the encounter has ended its class is known, the account is drawn up (`filters.adaptation.debt`), and the
second learns: the posterior of its weights, and what objects are like lately. Where the policy fires, the second is
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

BOUND = 20.0  # nats by which surprise alone can teach; chosen on campaigns of root seeds 6 to 8


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


def follow(encounters: Iterable[Labelled], deployed: Deployed, policy: RetrainPolicy, seed: int = 0) -> Iterator[Entry]:
    """The entries of encounters in their order."""
    streaming, rng = Streaming(deployed.engine, BOUND), generator(seed, "streaming")
    stream, state = streaming.init(deployed.model.posterior), policy.init()
    learning = serving = deployed.model
    late: deque[tuple[Array, int]] = deque(maxlen=LATE)
    for found in encounters:
        both = learning, serving
        p, p0 = (deployed.probability(model, found.asked, seed) for model in both)
        late_p, late_p0 = (deployed.probability(model, found.seen, seed) for model in both)
        state, account = policy.update(state, found.stakes, p, p0, found.label, (late_p, late_p0))
        stream, learnt = streaming.update(stream, deployed.rows(found.seen.features, found.label), rng)
        late.append((found.seen.features, found.label))
        learning = Model(stream.posterior, deployed.known(stream.posterior, list(late), seed))
        information, firing = deployed.engine.kl(learning.posterior, serving.posterior), None
        if account.retrain:
            firing = record(policy, account, information, (serving.hash, learning.hash))
            serving, state = learning, policy.init()
        yield Entry(found, p, p0, account, information, learnt, learning, firing)
