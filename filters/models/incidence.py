"""Where a beam meets a solid: (range, cosine of incidence), (inf, 0) if it misses; from inside it meets nothing.

Beams are taken to the solid's own axes in units of its half extents, where every solid of a kind is the same: the cube
[-1, 1]³, the unit ball, ... Ranges stay what they are; a normal n becomes n / half, of length |n / half|.
Solids are convex but the Jersey barrier, which is two convex prisms. What a convex solid keeps of a beam is what all
its half-spaces keep.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import NamedTuple

from filters.jit import jit
from filters.models.attitude import Matrix, Vector, relative, rotation, turn, turn_back
from filters.models.shapes import BOX, CYLINDER, ELLIPSOID, KNEE, LOWER_SLOPE, UPPER_SLOPE, Solids
from filters.spec import Pose

Meeting = tuple[float, float]
Span = tuple[float, float, float]  # where a beam enters and leaves, and the cosine where it enters
ALL = (-inf, inf, 0.0)


class Stance(NamedTuple):
    """A sensor as seen from one solid: the solid's kind and half extents, the sensor's place and its beams' axes."""

    kind: float
    half: Vector
    origin: Vector
    axes: Matrix


@jit
def standing(solids: Solids, i: int, pose: Pose, view: Matrix) -> Stance:
    """How a sensor at `pose`, whose rotation is `view`, stands to solid i."""
    own = rotation(solids.yaw[i], solids.pitch[i], solids.roll[i])
    x, y, z = turn_back(own, pose.x - solids.x[i], pose.y - solids.y[i], pose.z - solids.z[i])
    a, b, c = relative(own, view)
    u, v, w = 1.0 / solids.hx[i], 1.0 / solids.hy[i], 1.0 / solids.hz[i]
    axes = (a[0] * u, a[1] * u, a[2] * u), (b[0] * v, b[1] * v, b[2] * v), (c[0] * w, c[1] * w, c[2] * w)
    return Stance(solids.kind[i], (solids.hx[i], solids.hy[i], solids.hz[i]), (x * u, y * v, z * w), axes)


@jit
def meet(to: Stance, dx: float, dy: float, dz: float) -> Meeting:
    """A beam along the unit vector (dx, dy, dz) in the axes of a sensor standing so to a solid."""
    d = turn(to.axes, dx, dy, dz)
    if to.kind == BOX:
        return meet_box(to.origin, d, to.half)
    if to.kind == ELLIPSOID:
        return meet_ellipsoid(to.origin, d, to.half)
    if to.kind == CYLINDER:
        return meet_cylinder(to.origin, d, to.half)
    return meet_jersey(to.origin, d, to.half)


@jit
def meet_box(o: Vector, d: Vector, half: Vector) -> Meeting:
    """Slab test of |x|, |y|, |z| <= 1."""
    enter, leave, cosine = -inf, inf, 0.0
    for k in range(3):
        if d[k] == 0.0:
            if abs(o[k]) > 1.0:
                return inf, 0.0
            continue
        a, b = (-1.0 - o[k]) / d[k], (1.0 - o[k]) / d[k]
        if min(a, b) > enter:
            enter, cosine = min(a, b), abs(d[k]) * half[k]
        leave = min(leave, max(a, b))
    return (enter, cosine) if 0.0 < enter <= leave else (inf, 0.0)


@jit
def meet_ellipsoid(o: Vector, d: Vector, half: Vector) -> Meeting:
    """The smaller root of A t² + 2 B t + C = |o + t d|² - 1."""
    A, B = d[0] * d[0] + d[1] * d[1] + d[2] * d[2], o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    C = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0
    if C <= 0.0 or B >= 0.0 or B * B <= A * C:
        return inf, 0.0
    root = sqrt(B * B - A * C)
    t = C / (root - B)
    nx, ny, nz = (o[0] + t * d[0]) / half[0], (o[1] + t * d[1]) / half[1], (o[2] + t * d[2]) / half[2]
    return t, root / sqrt(nx * nx + ny * ny + nz * nz)


@jit
def meet_cylinder(o: Vector, d: Vector, half: Vector) -> Meeting:
    """The mantle x² + y² = 1, its roots as in `meet_ellipsoid`, between two ends."""
    A, B, C = d[0] * d[0] + d[1] * d[1], o[0] * d[0] + o[1] * d[1], o[0] * o[0] + o[1] * o[1] - 1.0
    span = ALL
    if B * B > A * C:
        root = sqrt(B * B - A * C)
        t = (-B - root) / A
        nx, ny = (o[0] + t * d[0]) / half[0], (o[1] + t * d[1]) / half[1]
        span = t, (root - B) / A, root / sqrt(nx * nx + ny * ny)
    elif C > 0.0:
        return inf, 0.0
    return first(slab(span, o[2], d[2], 1.0, half[2]))


@jit
def meet_jersey(o: Vector, d: Vector, half: Vector) -> Meeting:
    """The foot up to the knee, and the upper slopes continued down inside it, so that the two leave no crack."""
    ends = slab(ALL, o[1], d[1], 1.0, half[1])
    foot = slab(slab(ends, o[2], d[2], KNEE[1], half[2]), o[0], d[0], 1.0, half[0])
    foot = slopes(foot, o, d, LOWER_SLOPE, half)
    upper = slopes(slab(ends, o[2], d[2], 1.0, half[2]), o, d, UPPER_SLOPE, half)
    if foot[0] <= 0.0 <= foot[1] or upper[0] <= 0.0 <= upper[1]:
        return inf, 0.0
    a, b = first(foot), first(upper)
    return a if a[0] < b[0] else b


@jit
def slab(span: Span, o: float, d: float, high: float, half: float) -> Span:
    """The part of a span with -1 <= x <= high."""
    return cut(cut(span, o + 1.0, -d, half), high - o, d, half)


@jit
def slopes(span: Span, o: Vector, d: Vector, plane: Vector, half: Vector) -> Span:
    """The part of a span under both slopes of a roof along y: nx |x| + nz z <= m."""
    nx, nz, m = plane
    scale = 1.0 / sqrt((nx / half[0]) ** 2 + (nz / half[2]) ** 2)
    span = cut(span, m - nx * o[0] - nz * o[2], nx * d[0] + nz * d[2], scale)
    return cut(span, m + nx * o[0] - nz * o[2], nz * d[2] - nx * d[0], scale)


@jit
def cut(span: Span, gap: float, away: float, scale: float) -> Span:
    """The part of a span in a half-space n·x <= m: gap = m - n·o, away = n·d, scale = 1 / |n / half|."""
    enter, leave, cosine = span
    if away == 0.0:
        return span if gap >= 0.0 else (inf, -inf, 0.0)
    t = gap / away
    if away > 0.0:
        return enter, min(leave, t), cosine
    return (t, leave, -away * scale) if t > enter else span


@jit
def first(span: Span) -> Meeting:
    """Where a span begins, if it is ahead."""
    return (span[0], span[2]) if 0.0 < span[0] <= span[1] else (inf, 0.0)
