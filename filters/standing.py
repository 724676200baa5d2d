"""The exact posterior of one standing object after a few scans from known poses, by importance sampling.

Latents u of a class are standard normal under the prior: place, the shape's latents, and ln visibility. The scans'
log-likelihood is the filters' own,

    ln L(u) = Σ_scans [ln p(scan | background, v) + ln p(scan | object u, v) - ln p(scan | background, v)]

with every beam in it. ln p(. | background, v) is tabulated at `NODES` nodes of v, SPAN deviations of what the beams
beside the object say of v either way: its sum over beams is a cubic spline, each beam's own is linear between nodes.
Outside the nodes L is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from filters.belief import log_sum_exp
from filters.importance import Proposal, Weighted, adapt, weigh
from filters.models.lidar_echo import log_density_background
from filters.models.model import Model
from filters.models.object_echo import Window, object_log_ratios, unexplained
from filters.models.optics import echo_table, extinction
from filters.models.shapes import BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE, BagPrior, BarrierPrior, Solids
from filters.models.visibility import Visibility, update_visibility, visibility_prior
from filters.resampling import ess
from filters.spec import BARRIER, CLASSES, Array, Prior, Scan, Surfaces

NODES, SPAN = 33, 8.0
ASIDE = 4.0  # beams farther than this many deviations of the announced place from it tell where v's nodes go
EFFORTS = ((1000, 4), (2000, 16), (8000, 16))  # members of a population and moves a step, tried until enough is drawn
MOST = 40_000  # draws per population
ECHO = (0.3, 0.5)  # m, deviations of the object's centre along and across the road about an echo of it
CENTRES = 50  # of them at most, about
NEGLIGIBLE = 15.0  # nats below the likeliest class, at which a class needs no more draws


@dataclass(frozen=True, eq=False)
class Standing:
    """What is known of one object that stands still: a `Model`, a `Prior`, and scans."""

    model: Model
    prior: Prior
    windows: tuple[Window, ...]
    backgrounds: tuple[Array, ...]  # (rings, columns, NODES) per scan
    nodes: Array
    total: CubicSpline  # Σ of the backgrounds over all beams and scans
    fog: Visibility  # what the beams aside say, the weather report included

    def shape(self, klass: int) -> BarrierPrior | BagPrior:
        """The prior of a class's shape."""
        return self.model.barrier if klass == BARRIER else self.model.bag

    def dimensions(self, klass: int) -> int:
        """Number of latents."""
        return 3 + len(self.shape(klass).names)

    def solids(self, klass: int, u: Array) -> Solids:
        """Latents (n, d) as shapes."""
        root = np.linalg.cholesky(self.prior.position.covariance)
        return self.shape(klass).solids(self.prior.position.mean + u[:, :2] @ root.T, u[:, 2:-1])

    def guess(self, klass: int) -> Proposal:
        """Half the prior, half at echoes that the background does not explain: a sharp L hides from the prior."""
        inverse = np.linalg.inv(np.linalg.cholesky(self.prior.position.covariance))
        echoes = np.concatenate([unexplained(window) for window in self.windows])
        places = (echoes - self.prior.position.mean) @ inverse.T
        places = places[(places**2).sum(axis=1) < ASIDE**2]
        places = places[:: 1 + len(places) // CENTRES] if len(places) else np.zeros((1, 2))
        d = self.dimensions(klass)
        root = np.eye(d)
        root[:2, :2] = np.linalg.cholesky(inverse @ np.diag(np.square(ECHO)) @ inverse.T)
        return Proposal(np.pad(places, ((0, 0), (0, d - 2))), root, prior_share=0.5)

    def log_visibility(self, u: Array) -> Array:
        """ln visibility (n,): u's last is in deviations of `fog`."""
        return np.asarray(self.fog.mean + self.fog.deviation * u[:, -1])

    def log_likelihood(self, klass: int) -> Callable[[Array], Array]:
        """ln L (n,) at latents (n, d), less a constant; what takes u's last from `fog` to its prior is in it."""
        table = echo_table(self.model.optics)
        report = visibility_prior(self.prior.visibility, self.prior.visibility_spread)

        def of(u: Array) -> Array:
            v, solids = self.log_visibility(u), self.solids(klass, u)
            result = self.total(v) - 0.5 * ((v - report.mean) / report.deviation) ** 2 + 0.5 * u[:, -1] ** 2
            for window, background in zip(self.windows, self.backgrounds, strict=True):
                result += object_log_ratios(table, solids, v, window, self.nodes, background)
            return np.where(np.abs(u[:, -1]) < SPAN, result, -np.inf)

        return of


def standing(model: Model, prior: Prior, scans: list[Scan], nodes: int = NODES) -> Standing:
    """The object that `scans` saw, tabulated at so many nodes of visibility."""
    windows = tuple(whole(scan) for scan in scans)
    fog = fog_aside(model, prior, scans)
    grid = fog.mean + fog.deviation * np.linspace(-SPAN, SPAN, nodes)
    backgrounds = tuple(background_at(model, window, grid) for window in windows)
    total = np.sum([b.sum(axis=(0, 1)) for b in backgrounds], axis=0)
    return Standing(model, prior, windows, backgrounds, grid, CubicSpline(grid, total - total.max()), fog)


def whole(scan: Scan) -> Window:
    """All of a scan as the window."""
    return Window(scan.pose, scan.elevation, scan.azimuth, scan.range, scan.power, scan.scanned, scan.background)


def fog_aside(model: Model, prior: Prior, scans: list[Scan]) -> Visibility:
    """Visibility from the columns away from the object's announced place."""
    reach = ASIDE * np.sqrt(np.linalg.eigvalsh(prior.position.covariance)[-1])
    ranges, powers, surfaces = [], [], []
    for scan in scans:
        x, y = prior.position.mean - [scan.pose.x, scan.pose.y]
        off = scan.azimuth + scan.pose.yaw - np.arctan2(y, x)
        beams = scan.scanned & (np.abs(np.sin(off)) * np.hypot(x, y) > reach)
        ranges.append(scan.range[beams])
        powers.append(scan.power[beams])
        surfaces.append(Surfaces(*(a[beams] for a in scan.background)))
    report = visibility_prior(prior.visibility, prior.visibility_spread)
    background = Surfaces(*(np.concatenate(parts) for parts in zip(*surfaces, strict=True)))
    found, _ = update_visibility(
        report, echo_table(model.optics), np.concatenate(ranges), np.concatenate(powers), background
    )
    return found


def background_at(model: Model, window: Window, nodes: Array) -> Array:
    """ln L (rings, columns, nodes) of a scan's beams as if only the background were there, 0 where not scanned."""
    table = np.zeros((*window.scanned.shape, nodes.size))
    table[window.scanned] = log_density_background(
        echo_table(model.optics), extinction(np.exp(nodes)), *window.beams()[:2], *window.beams()[2],
        BACKGROUND_ROUGHNESS, BACKGROUND_TEXTURE,
    ).T  # fmt: skip
    return table


class Posterior(NamedTuple):
    """Weighted draws per class, ln p(class | scans) (K,), and how many efforts it took."""

    draws: tuple[Weighted, ...]
    log_probs: Array
    efforts: int

    @property
    def log_weights(self) -> tuple[Array, ...]:
        """Normalised over all classes' draws."""
        parts = zip(self.draws, self.log_probs, strict=True)
        return tuple(d.log_weights - log_sum_exp(d.log_weights) + p for d, p in parts)

    @property
    def ess(self) -> float:
        """Effective sample size of all draws together."""
        return ess(np.concatenate(self.log_weights))

    def resample(self, n: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Class and index within its draws (n,), of n independent draws."""
        weights = np.exp(np.concatenate(self.log_weights))
        chosen = rng.choice(len(weights), n, p=weights / weights.sum())
        edges = np.cumsum([0] + [len(d.points) for d in self.draws])
        klass = np.searchsorted(edges, chosen, side="right") - 1
        return klass, chosen - edges[klass]


def posterior(target: Standing, enough: float, rng: np.random.Generator) -> Posterior:
    """Draws of every class, `enough` of them effective.

    A class that lies `NEGLIGIBLE` below another needs fewer. `efforts` beyond `EFFORTS` says that one that matters
    did not reach `enough`.
    """
    draws: dict[int, Weighted] = {}
    poor, efforts = list(range(len(CLASSES))), 0
    while poor and efforts < len(EFFORTS):
        for klass in poor:
            f, floor = target.log_likelihood(klass), best(draws) - NEGLIGIBLE
            proposal = adapt(f, target.guess(klass), *EFFORTS[efforts], rng)
            draws[klass] = weigh(f, proposal, enough, MOST, rng, floor)
        matter = [k for k, d in draws.items() if d.log_evidence >= best(draws) - NEGLIGIBLE]
        poor = [k for k in matter if ess(draws[k].log_weights) < enough]
        efforts += 1
    evidence = np.array([draws[k].log_evidence for k in range(len(CLASSES))]) + target.prior.log_probs
    found = tuple(draws[k] for k in range(len(CLASSES)))
    return Posterior(found, evidence - log_sum_exp(evidence), efforts + bool(poor))


def best(draws: dict[int, Weighted]) -> float:
    """The greatest log-evidence so far."""
    return max((d.log_evidence for d in draws.values()), default=-np.inf)
