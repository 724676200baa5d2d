"""A deployed classifier beside one that goes on learning, encounter by encounter: what the first comes to owe.

Both say P(barrier) by the frames up to the decision point, and for the evidence by all frames until the object is
reached. Once the encounter has ended its class is known, the account is drawn up (`filters.adaptation.debt`), and the
second learns. Where the policy fires, the second is deployed in the place of the first, and goes on learning itself.
The place of the object is left out of the decision: it is to brake for a barrier, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from filters.adaptation.debt import Account, RetrainPolicy, record
from filters.adaptation.deployed import Deployed, hash_of
from filters.adaptation.streaming import Info, Streaming
from filters.posterior.kalman_network import Neurons
from filters.posterior.spec import generator
from fogsim.labelled import Labelled

BOUND = 20.0  # nats by which surprise alone can teach; chosen on campaigns of root seeds 6 to 8


class Entry(NamedTuple):
    """One encounter: what both said, the account, the information debt (nats), how the label was learnt, the posterior
    with it, and the firing.
    """

    encounter: Labelled
    believed: float
    deployed: float
    account: Account
    information: float
    learnt: Info
    posterior: Neurons
    firing: dict[str, Any] | None

    @property
    def losses(self) -> tuple[float, float]:
        """What acting by the deployed posterior cost, and what by the one that goes on learning would have."""
        stakes, label = self.encounter.stakes, self.encounter.label
        return stakes.loss(self.deployed, label), stakes.loss(self.believed, label)


def follow(encounters: Iterable[Labelled], deployed: Deployed, policy: RetrainPolicy, seed: int = 0) -> Iterator[Entry]:
    """The entries of encounters in their order."""
    streaming = Streaming(deployed.engine, BOUND)
    stream, serving, state = streaming.init(deployed.posterior), deployed.posterior, policy.init()
    rng = generator(seed, "streaming")
    for found in encounters:
        both = stream.posterior, serving
        p, p0 = (deployed.probability(q, found.asked, seed) for q in both)
        late, late0 = (deployed.probability(q, found.seen, seed) for q in both)
        state, account = policy.update(state, found.stakes, p, p0, found.label, (late, late0))
        stream, learnt = streaming.update(stream, deployed.rows(found.seen, found.label), rng)
        information, firing = deployed.engine.kl(stream.posterior, serving), None
        if account.retrain:
            models = hash_of(serving), hash_of(stream.posterior)
            where = {"number": found.number, "log": found.log, "content_hash": found.content_hash}
            firing = where | record(policy, account, information, models)
            serving, state = stream.posterior, policy.init()
        yield Entry(found, p, p0, account, information, learnt, stream.posterior, firing)
