"""77 GHz radar: what a scan reports is a Poisson number of detections, of reflectors and of nothing.

A detection is z = (range r, azimuth a, range rate v, cross-section s in dBsm). Each source m sends detections of
intensity (expected number per unit of z)

    lambda_m(z) = n N(r; R, s_r²) N(a; A, s_a²) N(v; V, s_v²) N(s; S, s_s²)     in view and s > floor(R, A)
    S           = 10 lg(4 rho W H) + offset        floor(R, A) = 40 lg(R / reach) + 6 (A / half beam)²
    mu_m        = ∫ lambda_m dz                     mu = Σ_m mu_m

rho is the material's reflectivity, W x H the silhouette (a rough, Lambertian face), the offset one normal draw per
object: what its material truly is nobody knows. n detections are expected of a source well above the floor, spread
evenly over its body, which is taken as Gaussian. Clutter is even over range and azimuth, its cross-section crowds at
the floor there (Gumbel's law): false alarms of any rate, and echoes of the road, which stands still. The set Z has
the density

    ln p(Z) = -mu + Σ_i ln Σ_m lambda_m(z_i)

so an imagined object o against the rest b(z) is worth -mu_o + Σ_i ln(1 + lambda_o(z_i) / b(z_i)): exact without any
assignment of detections, and silence is evidence. Sources: Gilholm, Godsill, Maskell, Salmond 2005 (Proc. SPIE 5913),
Gilholm and Salmond 2005 (IEE Proc. Radar Sonar Navig. 152:364); range to the fourth: Skolnik, Introduction to Radar
Systems, ch. 1. Fog is left out: .9 g/m³ of water, which is 25 m of visibility, costs about 0.2 dB over 30 m and
back (Altshuler 1984, IEEE Trans. Antennas Propag. 32:757; ITU-R P.840).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from filters.models.shapes import Solids
from filters.spec import BAG, BARRIER, Array, Pose, RadarScan

RANGE, AZIMUTH, RATE, SECTION = range(4)
NEAR = 6.0  # deviations beyond which a detection is none of a source's
CLOSEST = 0.3  # m: a source nearer is taken to be this far
TINY = 1e-300  # intensity of what rounding put out of view


@dataclass(frozen=True)
class Radar:
    """An automotive radar at ego's front. Noise and cycle are those of a Continental ARS 408-21's near scan.

    Data sheet: 72 ms cycle, ±60°, 0.2 to 70 m and beyond, accuracies ±0.1 m, ±0.3° ahead to ±1° at 45°, ±0.1 km/h with
    0.43 km/h of resolution; noises are set wider, since small things are weak. Assumptions, not data: `reach` (so that
    a pedestrian of -5 dBsm is found at 70 m every other time), `reflections`, the clutter and the offsets' spreads.

    Parameters
    ----------
    on : bool
        Whether the car has one.
    rate, latency : float
        Scans per second; s from a scan to its delivery.
    reach : float
        Where 0 dBsm straight ahead is at the floor, m.
    half_beam_deg : float
        Azimuth at which the antenna has lost 3 dB one way.
    azimuth_deg : float
        Width of the view.
    range_limits : (float, float)
        m.
    range_noise, azimuth_noise_deg, rate_noise : float
        m, degrees, m/s.
    fluctuation : float
        Of one detection's cross-section, dB: 5.6 is that of Swerling's first case (exponential power).
    reflections : float
        Detections expected of a source far above the floor.
    false_alarms, ground : float
        Clutter expected per scan: of any rate, and of the road.
    margin : float
        Scale of clutter's cross-section about the floor, dB: its tail falls by e in each.
    fastest : float
        False alarms have rates between minus and plus this, m/s.
    film, concrete : (float, float)
        Reflectivity of a bag's and a barrier's material, dB, and the spread of one object's offset, dB. Concrete
        reflects -7 dB (n = 2.55 at 57.5 GHz: Sato et al. 1996, IEEE Trans. Antennas Propag. 44:35), but a smooth face
        that is turned a little sends much of it elsewhere: 5 ± 6 dB less. 30 um of polyethylene reflect
        (pi d (n² - 1) / wavelength)² or -30 dB; folds, a skin of water and what is in the bag make it 7 ± 7 dB more.
        Both spreads are assumptions, wide ones: measurements of such debris are scarce (Rutz, Rasshofer, Biebl 2024,
        IEEE COMCAS).
    """

    on: bool = False
    rate: float = 14.0
    latency: float = 0.07
    reach: float = 90.0
    half_beam_deg: float = 30.0
    azimuth_deg: float = 120.0
    range_limits: tuple[float, float] = (0.5, 70.0)
    range_noise: float = 0.2
    azimuth_noise_deg: float = 0.5
    rate_noise: float = 0.1
    fluctuation: float = 5.6
    reflections: float = 0.8
    false_alarms: float = 1.0
    ground: float = 4.0
    margin: float = 4.0
    fastest: float = 30.0
    film: tuple[float, float] = (-23.0, 7.0)
    concrete: tuple[float, float] = (-12.0, 6.0)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            number = isinstance(value, int | float)
            if name in ("latency", "false_alarms") and number and not 0.0 <= value < np.inf:
                raise ValueError(f"radar.{name} is {value}, expected a finite number >= 0")
            if name not in ("on", "latency", "false_alarms") and number and not 0.0 < value < np.inf:
                raise ValueError(f"radar.{name} is {value}, expected a finite number above 0")
            if name in ("film", "concrete") and not (np.isfinite(value).all() and value[1] >= 0.0):
                raise ValueError(f"radar.{name} is {value} dB, expected two finite numbers, the second >= 0")
        if isinstance(self.azimuth_deg, int | float) and self.azimuth_deg > 360.0:
            raise ValueError(f"radar.azimuth_deg is {self.azimuth_deg}, expected at most 360")
        if not 0.0 < self.range_limits[0] < self.range_limits[1] < np.inf:
            raise ValueError(f"radar.range_limits is {self.range_limits} m, expected two numbers, the smaller first")

    @property
    def half_view(self) -> float:
        """Half of the view, rad."""
        return float(np.radians(0.5 * self.azimuth_deg))

    def material(self, klass: int) -> tuple[float, float]:
        """Reflectivity and the spread of its offset, dB, of a class."""
        return {BAG: self.film, BARRIER: self.concrete}[klass]

    def floor(self, distance: Array, azimuth: Array) -> Array:
        """Least cross-section that is heard at a place, dBsm."""
        return 40.0 * np.log10(distance / self.reach) + 6.0 * (azimuth / np.radians(self.half_beam_deg)) ** 2


class Sources(NamedTuple):
    """Reflectors as the radar sees them: floor (m,), and mean and deviation (m, 4) of what it would detect."""

    floor: Array
    mean: Array
    deviation: Array


def sources_of(
    radar: Radar,
    solids: Solids,
    reflectivity: Array,
    velocity: Array,
    pose: Pose,
    moving: Array,
    blur: Array | None = None,
) -> Sources:
    """Solids as sources.

    Parameters
    ----------
    radar : Radar
        Whose.
    solids : Solids
        Of m sources.
    reflectivity : (m,)
        Of the material with the object's offset, dB.
    velocity : (m, 2)
        Of the solids, m/s.
    pose, moving : Pose, (2,)
        Of the radar, and its velocity in the same coordinates, m/s.
    blur : (m, 2, 2), optional
        Covariance of the solids' places, which widens the source; none by default.
    """
    away = np.stack([solids.x - pose.x, solids.y - pose.y], axis=1)
    distance = np.maximum(np.hypot(*away.T), CLOSEST)
    sight = away / distance[:, None]
    azimuth = (np.arctan2(away[:, 1], away[:, 0]) - pose.yaw + np.pi) % (2.0 * np.pi) - np.pi
    c, s = np.abs(np.cos(solids.yaw - pose.yaw - azimuth)), np.abs(np.sin(solids.yaw - pose.yaw - azimuth))
    along = ((solids.hx * c) ** 2 + (solids.hy * s) ** 2) / 3.0  # a body's even spread has variance h²/3
    across = ((solids.hx * s) ** 2 + (solids.hy * c) ** 2) / 3.0
    if blur is not None:
        aside = np.stack([-sight[:, 1], sight[:, 0]], axis=1)
        along = along + np.einsum("mi,mij,mj->m", sight, blur, sight)
        across = across + np.einsum("mi,mij,mj->m", aside, blur, aside)
    silhouette = 2.0 * (solids.hx * s + solids.hy * c) * 2.0 * solids.hz * solids.fill
    section = reflectivity + 10.0 * np.log10(4.0 * silhouette)
    rate = np.einsum("mi,mi->m", velocity - moving, sight)
    deviation = np.stack(
        [
            np.sqrt(radar.range_noise**2 + along),
            np.sqrt(np.radians(radar.azimuth_noise_deg) ** 2 + across / distance**2),
            np.full(len(distance), radar.rate_noise),
            np.full(len(distance), radar.fluctuation),
        ],
        axis=1,
    )
    return Sources(radar.floor(distance, azimuth), np.stack([distance, azimuth, rate, section], axis=1), deviation)


def bounds(radar: Radar, sources: Sources) -> tuple[Array, Array]:
    """The view of each source: low and high (m, 4) between which its detections lie."""
    low, high = np.full_like(sources.mean, -np.inf), np.full_like(sources.mean, np.inf)
    low[:, RANGE], high[:, RANGE] = radar.range_limits
    low[:, AZIMUTH], high[:, AZIMUTH] = -radar.half_view, radar.half_view
    low[:, SECTION] = sources.floor
    return low, high


def expected(radar: Radar, sources: Sources) -> Array:
    """mu_m: detections expected of each source, (m,)."""
    low, high = ((b - sources.mean) / sources.deviation for b in bounds(radar, sources))
    return radar.reflections * np.prod(ndtr(-low) - ndtr(-high), axis=1)


def intensity(radar: Radar, sources: Sources, z: Array) -> Array:
    """lambda_m(z) of each source at detections (n, 4): (m, n)."""
    low, high = bounds(radar, sources)
    seen = ((z >= low[:, None]) & (z <= high[:, None])).all(axis=2)
    off = (z - sources.mean[:, None]) / sources.deviation[:, None]
    scale = (2.0 * np.pi) ** 2 * np.prod(sources.deviation, axis=1)
    return np.where(seen, radar.reflections * np.exp(-0.5 * (off**2).sum(axis=2)) / scale[:, None], 0.0)


def ground_rate(azimuth: Array, pose: Pose, moving: Array) -> Array:
    """Range rate of what stands still, m/s."""
    return -(moving[0] * np.cos(azimuth + pose.yaw) + moving[1] * np.sin(azimuth + pose.yaw))


def clutter_intensity(radar: Radar, pose: Pose, moving: Array, z: Array) -> Array:
    """Expected clutter per unit of z at detections (n, 4): (n,)."""
    r, a, v, s = z.T
    near, far = radar.range_limits
    excess = (s - radar.floor(np.maximum(r, CLOSEST), a)) / radar.margin
    seen = (r >= near) & (r <= far) & (np.abs(a) <= radar.half_view)
    even = radar.false_alarms * (np.abs(v) <= radar.fastest) / (2.0 * radar.fastest)
    still = (v - ground_rate(a, pose, moving)) / radar.rate_noise
    road = radar.ground * np.exp(-0.5 * still**2) / (np.sqrt(2.0 * np.pi) * radar.rate_noise)
    place = 1.0 / ((far - near) * 2.0 * radar.half_view)
    gumbel = np.exp(-excess - np.exp(np.minimum(-excess, 700.0))) / radar.margin
    return np.where(seen, (even + road) * place * gumbel, 0.0)


def sample(radar: Radar, sources: Sources, pose: Pose, moving: Array, rng: np.random.Generator) -> Array:
    """Draw the detections (n, 4) of one scan; their order says nothing."""
    found = np.repeat(np.arange(len(sources.floor)), rng.poisson(expected(radar, sources)))
    low, high = (ndtr((b[found] - sources.mean[found]) / sources.deviation[found]) for b in bounds(radar, sources))
    u = low + (high - low) * rng.random((len(found), 4))
    detected = sources.mean[found] + sources.deviation[found] * ndtri(u)
    both = np.concatenate([detected, sample_clutter(radar, pose, moving, rng)])
    return both[rng.permutation(len(both))]


def sample_clutter(radar: Radar, pose: Pose, moving: Array, rng: np.random.Generator) -> Array:
    """Draw clutter (n, 4)."""
    false, road = rng.poisson([radar.false_alarms, radar.ground])
    n = false + road
    r, a = rng.uniform(*radar.range_limits, n), rng.uniform(-radar.half_view, radar.half_view, n)
    any_rate = rng.uniform(-radar.fastest, radar.fastest, n)
    still = ground_rate(a, pose, moving) + radar.rate_noise * rng.standard_normal(n)
    v = np.where(np.arange(n) < false, any_rate, still)
    return np.stack([r, a, v, radar.floor(r, a) + rng.gumbel(0.0, radar.margin, n)], axis=1)


def background(radar: Radar, mapped: Sources, pose: Pose, moving: Array, z: Array) -> Array:
    """b(z) of the known map and clutter at detections (n, 4): (n,)."""
    return np.maximum(intensity(radar, mapped, z).sum(axis=0) + clutter_intensity(radar, pose, moving, z), TINY)


def log_density(radar: Radar, sources: Sources, pose: Pose, moving: Array, z: Array) -> float:
    """ln p(Z) of a scan's detections (n, 4), all sources and clutter together."""
    total = expected(radar, sources).sum() + radar.false_alarms + radar.ground
    return float(np.log(background(radar, sources, pose, moving, z)).sum() - total)


def object_log_ratios(radar: Radar, scan: RadarScan, objects: Sources) -> Array:
    """ln p(Z | object and background) - ln p(Z | background) for each of many imagined objects: (m,)."""
    reach = NEAR * objects.deviation
    low, high = (objects.mean - reach).min(axis=0), (objects.mean + reach).max(axis=0)
    near = ((scan.detections > low) & (scan.detections < high))[:, : RATE + 1].all(axis=1)
    ratio = intensity(radar, objects, scan.detections[near]) / scan.background[near]
    return np.log1p(ratio).sum(axis=1) - expected(radar, objects)
