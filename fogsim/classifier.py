"""Train the networks that `filters.bnn` and `filters.patch` serve, by any engine of `filters.posterior`.

A training is watched epoch by epoch. Of one that was broken off, `kept` tells where it stood; the same call goes on
from there, to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from filters import beam_patch, bnn, novelty, patch
from filters.network_filter import fused, information
from filters.spec import FEATURES, Array
from fogsim.campaigns import environment
from fogsim.dataset import Looks
from fogsim.errors import UserError
from fogsim.interrupt import until_interrupted

if TYPE_CHECKING:
    from filters.posterior.descent import Descent
    from filters.posterior.spec import Data

SAMPLES = 32  # weight draws to serve
EPOCHS = {"classifier": 60, "patch": 20}
RATES = {"classifier": 0.01, "patch": 0.005}
BATCH = 1024  # frames, of a step, and asked at once
EVERY = 5  # epochs between looks at the held-out loss


class Way(NamedTuple):
    """How a network is asked: its inputs, the tensors kept beside its weights, and the evidence by all of them."""

    inputs: Callable[[Looks], Array]
    beside: dict[str, Array]
    evidence: Callable[[dict[str, Array], Looks], Array]


def by_features(looks: Looks) -> Way:
    """As `filters.bnn` does; inputs are standard scores."""
    scores = {"mean": looks.features.mean(axis=0), "deviation": looks.features.std(axis=0) + 1e-3}
    return Way(
        lambda part: bnn.normalised(part.features, **scores),
        scores,
        lambda tensors, part: bnn.evidence(bnn.Network(**tensors, tau=np.ones(2)), part.features),
    )


def by_patch(looks: Looks) -> Way:
    """As `filters.patch` does."""
    return Way(
        lambda part: part.patch,
        {},
        lambda tensors, part: patch.evidence(patch.PatchNet(**tensors, tau=np.ones(2)), part.patch),
    )


def engine_of(what: str, name: str, device: str) -> Any:
    """The engine of that name for the network of `what`.

    Raises
    ------
    UserError
        If it is unknown or not for such a network, or there is no such device.
    """
    from filters.posterior import engines
    from filters.posterior.convnet import ConvNet
    from filters.posterior.descent import Schedule
    from filters.posterior.likelihoods import Bernoulli
    from filters.posterior.mlp import Mlp
    from filters.posterior.spec import device_of

    picture = (len(beam_patch.CHANNELS), beam_patch.ROWS, beam_patch.COLUMNS)
    networks: dict[str, Mlp | ConvNet] = {
        "classifier": Mlp((len(FEATURES), bnn.HIDDEN, bnn.HIDDEN, 1)),
        "patch": ConvNet(picture, len(beam_patch.SCALARS), patch.MAPS, patch.HIDDEN, strides=patch.STRIDES),
    }
    try:
        device_of(device)
        return engines.engine_of(name, networks[what], Bernoulli(), Schedule(EPOCHS[what], BATCH, RATES[what]), device)
    except ValueError as error:
        raise UserError(str(error)) from error


def fit(
    looks: Looks, held: Looks, seed: int, name: str, kept: Path, what: str = "classifier", device: str = "auto"
) -> tuple[dict[str, Array], Array]:
    """Tensors of the network but tau, and its evidence (n, S, K) in the held-out frames.

    Parameters
    ----------
    looks, held : Looks
        To learn from, and to watch the loss on.
    seed : int
        The same seed gives the same network on the same machine.
    name : str
        Of the engine, one of `filters.posterior.engines.NAMES`.
    kept : Path
        Where the training stands.
    what : {"classifier", "patch"}
        By features, or by beams.
    device : {"auto", "cpu", "cuda"}
        Where to.

    Raises
    ------
    UserError
        In one line, if the engine is unknown or not for such a network, `kept` is of another training, the frames are
        of one class only, or there is no such device or not memory enough.
    """
    from filters.posterior.checkpoint import fingerprint
    from filters.posterior.engines import trained
    from filters.posterior.spec import generator

    if np.ptp(looks.label) == 0:
        raise UserError("found frames of one class only, expected both; simulate more encounters")
    way = (by_features if what == "classifier" else by_patch)(looks)
    looks = looks if what == "classifier" else both_ways(looks)
    engine = engine_of(what, name, device)
    try:
        data, fresh = rows(looks, way), rows(held, way)
        prior = engine.init(generator(seed, name, "prior"))

        def loss(at: Descent) -> float:
            return misfit(engine, engine.reached(prior, data, at), fresh, seed)

        told = {"seed": seed, "data": fingerprint(data._asdict(), {}), "code": environment(())["code"]}
        at = last(shown(trained(engine, prior, data, generator(seed, name), kept, told), loss, EPOCHS[what]))
        draws = engine.sample(engine.reached(prior, data, at), generator(seed, name, "draws"), SAMPLES).cpu()
    except (ValueError, MemoryError, FloatingPointError) as error:
        raise UserError(str(error)) from error
    share = np.average(looks.label, weights=looks.weight)
    tensors = {**way.beside, "prior": np.log([1.0 - share, share])}
    tensors |= layers([part.double().numpy() for part in engine.network.split(draws)])
    parts = np.array_split(np.arange(len(held.label)), -(-len(held.label) // BATCH))
    evidence = np.concatenate([way.evidence(tensors, held.take(part)) for part in parts])
    return tensors, evidence


def known(looks: Looks, held: Looks, evidence: Array, prior: Array) -> dict[str, Array]:
    """What `filters.novelty` must know of the frames learnt, and of those held out with their evidence (n, S, K).

    Raises
    ------
    UserError
        If too few of them show a class.
    """
    learnt, fresh = looks.take(looks.detected == 1), held.detected == 1
    least = min(int(fresh.sum()), *(int((learnt.label == k).sum()) for k in (0, 1)))
    if least < novelty.FEWEST:
        raise UserError(f"found {least} frames that show a class, expected {novelty.FEWEST}: simulate more encounters")
    regression, precision = novelty.learn(learnt.features, learnt.label, learnt.weight)
    found = information(fused(evidence[fresh], prior))
    return novelty.calibrate(regression, precision, held.features[fresh], found, held.weight[fresh])._asdict()


def both_ways(looks: Looks) -> Looks:
    """Each frame and its mirror image, for half a frame each: a kerb on the other side changes little."""
    looks = looks._replace(weight=0.5 * looks.weight)
    mirror = looks._replace(patch=beam_patch.mirrored(looks.patch))
    return Looks(*(np.concatenate(pair) for pair in zip(looks, mirror, strict=True)))


def rows(looks: Looks, way: Way) -> Data:
    """Frames as an engine has them."""
    from filters.posterior.spec import Data

    return Data.of(way.inputs(looks), looks.label, looks.weight)


def misfit(engine: Any, state: Any, fresh: Data, seed: int) -> float:
    """Mean -ln p of a frame, asked in parts by the same draws."""
    from filters.posterior.spec import generator, log_predictive

    parts = zip(*(part.split(BATCH) for part in fresh), strict=True)
    found = [log_predictive(engine, state, type(fresh)(*p), generator(seed, "loss"), SAMPLES).numpy() for p in parts]
    return -float(np.average(np.concatenate(found), weights=fresh.weight))


def layers(parts: list[Array]) -> dict[str, Array]:
    """Draws of each layer (S, in + 1, out) as w1, b1, ..., the last one's without its single output."""
    tensors = {}
    for k, part in enumerate(parts, 1):
        only = 0 if k == len(parts) else slice(None)
        tensors[f"w{k}"], tensors[f"b{k}"] = part[:, :-1, only], part[:, -1, only]
    return tensors


def shown(steps: Iterator[Descent], loss: Callable[[Descent], float], epochs: int) -> Iterator[Descent]:
    """The epochs, with a bar that tells the loss a frame and that of held-out frames, until Ctrl-C."""
    texts = TextColumn("loss {task.fields[fit]:.4f}, held out {task.fields[held]:.4f}")
    columns = TextColumn("{task.description}"), BarColumn(), texts, TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("train", total=epochs, fit=float("nan"), held=float("nan"))
        try:
            for at in until_interrupted(steps):
                bar.update(task, completed=at.epoch, fit=at.loss)
                if at.epoch % EVERY == 0:
                    bar.update(task, held=loss(at))
                yield at
        except KeyboardInterrupt:
            console.print("fogsim: interrupted: the same command goes on from here", markup=False, soft_wrap=True)
            raise


def last(steps: Iterable[Descent]) -> Descent:
    """The end of them; there is one, as a training begins by telling where it stands."""
    for at in steps:  # noqa: B007
        pass
    return at
