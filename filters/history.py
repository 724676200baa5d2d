"""All that one candidate was seen in: every scan tabulated, so that a whole past can be weighed again.

The log-likelihood of latents u is that of `standing.py`, of a candidate that may move: place p_s at scan s,

    ln L(u) = Σ_s [ln p(scan_s | background, v) + ln p(scan_s | object, p_s, v) - ln p(scan_s | background, v)]

with every beam in it, and v = ln visibility the same in all. Where a scan's nodes of v end, L is 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from filters.models.model import Model
from filters.models.object_echo import Window, object_log_ratios, unexplained
from filters.models.optics import echo_table
from filters.models.shapes import BagPrior, BarrierPrior
from filters.models.visibility import Visibility, visibility_prior
from filters.spec import Array, EgoMotion, Prior, Scan
from filters.standing import ASIDE, NODES, SPAN, background_at, fog_aside, whole


class Look(NamedTuple):
    """One scan: ln p(beams | background, v) at nodes of v, its sum over beams, and how many motions came before.

    `echoes` (m, 2) are where a candidate's centre may be, of which the map knows nothing.
    """

    window: Window
    background: Array
    nodes: Array
    total: CubicSpline
    steps: int
    echoes: Array


class History(NamedTuple):
    """Scans and motions (with their dt, s) so far.

    `fog` is what the beams beside the candidate say of v, the weather report included; `deviate` is that of the first
    scan, in whose deviations a latent tells v.
    """

    looks: tuple[Look, ...]
    motions: tuple[tuple[EgoMotion, float], ...]
    fog: Visibility
    deviate: Visibility


def begin(prior: Prior) -> History:
    """Nothing seen."""
    report = visibility_prior(prior.visibility, prior.visibility_spread)
    return History((), (), report, report)


def add(history: History, model: Model, prior: Prior, scan: Scan) -> History:
    """A scan more, tabulated about what is known of the fog with it."""
    told = replace(prior, visibility=np.exp(history.fog.mean), visibility_spread=history.fog.deviation)
    fog = fog_aside(model, told, [scan])
    nodes = fog.mean + fog.deviation * np.linspace(-SPAN, SPAN, NODES)
    window = whole(scan)
    background = background_at(model, window, nodes)
    total = background.sum(axis=(0, 1))
    echoes = unexplained(window)
    off = np.linalg.solve(np.linalg.cholesky(prior.position.covariance), (echoes - prior.position.mean).T)
    echoes = echoes[(off**2).sum(axis=0) < ASIDE**2]
    deviate = history.deviate if history.looks else fog
    if not history.looks:  # its latent is drawn as a standard normal: weigh it by what the report said
        total = total + log_normal(nodes, history.fog) - log_normal(nodes, fog)
    look = Look(window, background, nodes, CubicSpline(nodes, total - total.max()), len(history.motions), echoes)
    return history._replace(looks=(*history.looks, look), fog=fog, deviate=deviate)


def log_normal(v: Array, fog: Visibility) -> Array:
    """ln N(v; fog) up to a constant."""
    return np.asarray(-0.5 * ((v - fog.mean) / fog.deviation) ** 2)


def log_visibility(history: History, deviate: Array) -> Array:
    """v (n,) of its latent (n,)."""
    return np.asarray(history.deviate.mean + history.deviate.deviation * deviate)


def log_likelihood(
    history: History, look: Look, model: Model, shape: BarrierPrior | BagPrior, u: Array, place: Array
) -> Array:
    """ln of one scan's likelihood (n,) at latents (n, d) and places (n, 2), less a constant."""
    v = log_visibility(history, u[:, -1])
    solids = shape.solids(place, u[:, 2 : 2 + len(shape.names)])
    ratio = object_log_ratios(echo_table(model.optics), solids, v, look.window, look.nodes, look.background)
    inside = (look.nodes[0] < v) & (v < look.nodes[-1])
    return np.where(inside, look.total(v) + ratio, -np.inf)
