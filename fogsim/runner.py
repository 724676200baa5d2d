"""run(scenario, seed) -> frames: the only loop."""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter

import numpy as np

from filters import FILTERS, known_filters
from filters.card import recalibrated
from filters.models.optics import MOST_ECHOES, echo_table
from filters.models.visibility import visibility_prior
from filters.spec import Belief, EgoMotion, Gaussian, Pose, Prior, Scan
from filters.streams import stream
from fogsim.background import Background, background_of
from fogsim.driving import PASSED, belief_names, choose, policy_of
from fogsim.errors import UserError, did_you_mean
from fogsim.followers import Followers
from fogsim.frame import JUDGE, MAX_TRACKS, POWER_UNIT, RANGE_UNIT, Dims, Frame
from fogsim.perception import perceive as perceiving
from fogsim.perception import tracks as tracking
from fogsim.readings import learn, measurements, readings_at
from fogsim.recording import detections_kept, frame_of
from fogsim.scenario import Hazard, Scenario
from fogsim.sensors import lidar as lidars
from fogsim.sensors import odometry, radar
from fogsim.sensors.schedule import Moment
from fogsim.world import ego as car
from fogsim.world import world as worlds
from fogsim.world.fog import extinction_along

EXACT = 0.01  # m: a place announced as exact is taken to be this uncertain
STILL = 0.5  # s at rest after which a run ends


def run(scenario: Scenario, seed: int) -> Generator[Frame, int | None, None]:
    """Drive one encounter and yield its frames; an action that is sent back is taken instead of the driver's.

    Parameters
    ----------
    scenario : Scenario
        The encounter.
    seed : int
        With the scenario it determines every frame but the wall times.

    Raises
    ------
    UserError
        If the scenario names an unknown filter or cannot run.
    """
    check(scenario)
    table, background = echo_table(scenario.assumed_optics), background_of(scenario)
    mapped = radar.no_reflectors() if scenario.street.scan else radar.reflectors(scenario.road)
    priors = [prior_of(scenario, h) for h in scenario.hazards]
    followers = Followers(scenario, priors, seed)
    fog = visibility_prior(scenario.fog.visibility, scenario.fog.spread)
    memory = perceiving.Perception(tuple(tracking.start(p.position) for p in priors), fog)
    world = worlds.start(scenario, seed)
    pose = car.front(scenario.ego, world.ego)
    motion = EgoMotion(np.zeros(3), np.zeros((3, 3)), Pose(0.0, 0.0, 0.0, 0.0))
    past: list[Moment] = []
    opened, still = False, 0.0
    policy = policy_of(scenario)
    state = policy.init()
    for tick in range(round(scenario.duration / scenario.dt)):
        if tick:
            before, pose = pose, car.front(scenario.ego, world.ego)
            motion = odometry.measure(
                before, pose, motion.pose, scenario.odometry, scenario.dt, stream(seed, "odometry", tick)
            )
            memory = perceiving.predict(memory, motion, scenario.dt, scenario.fog.drift)
        past.append(Moment(world, pose, motion.pose))
        returns = sweep(world, pose, scenario, background, stream(seed, "lidar", tick))
        readings = readings_at(past, mapped, scenario, seed)
        clock = perf_counter()
        memory = memory._replace(visibility=learn(memory.visibility, readings, scenario))
        scan = scan_of(returns, motion.pose, scenario, background)
        memory, percepts = perceiving.perceive(memory, scan, world.time, table)
        told = measurements(readings, [t.position for t in memory.tracks], world.time)
        percepts = [p._replace(readings=r) for p, r in zip(percepts, told, strict=True)]
        perceived = perf_counter()
        followers.step(percepts, motion if tick else None, scenario.dt, world.time)
        fused = perf_counter()
        visibility = float(np.exp(memory.visibility.mean))
        beliefs = believed(followers, scenario, visibility)
        delays = car.delays(world.ego, scenario.ego)
        choice = choose(beliefs, memory.tracks, motion, scenario, opened, policy, state, delays)
        state = choice.state
        rest = perceived - clock + perf_counter() - fused
        sent = yield frame_of(
            world,
            pose,
            motion.pose,
            scenario,
            returns,
            readings,
            percepts,
            followers,
            beliefs,
            visibility,
            choice,
            opened,
            rest,
        )
        opened |= choice.open
        still = still + scenario.dt if world.ego.speed < 0.05 else 0.0
        if still >= STILL or worlds.collided(world, scenario) or worlds.farthest_left(world, scenario) < -PASSED:
            break
        action = choice.action if sent is None else sent
        world = worlds.step(world, action, scenario, stream(seed, "motion", tick))


def believed(followers: Followers, scenario: Scenario, visibility: float) -> list[list[Belief]]:
    """What all beliefs say of every candidate, recalibrated where the scenario has a card."""
    maps = [scenario.card.of(name) for name in belief_names(scenario)]
    rows = zip(followers.beliefs(), maps, strict=True)
    return [[recalibrated(belief, found, visibility) for belief in row] for row, found in rows]


def check(scenario: Scenario) -> None:
    """Refuse what could not run, naming the remedy."""
    for name in scenario.filters:
        if name not in FILTERS and name not in known_filters():
            raise UserError(f"unknown filter {name!r}: {did_you_mean(name, list(known_filters()))}")
    if len(set(scenario.filters)) < len(scenario.filters):
        raise UserError(f"filters {','.join(scenario.filters)} name one twice, expected each once")
    if not 1 <= len(scenario.hazards) <= MAX_TRACKS:
        raise UserError(f"found {len(scenario.hazards)} hazards, expected 1 to {MAX_TRACKS}")
    driver, beliefs = scenario.driver, belief_names(scenario)
    pooled, known = (sorted(f for f in names if f != JUDGE) for names in (scenario.filters, scenario.card.filters))
    if scenario.card.encounters and pooled != known:
        raise UserError(f"the card is of the filters {','.join(known)}, found {','.join(pooled)}: calibrate with those")
    if driver.policy != "open_loop" and driver.belief not in beliefs:
        raise UserError(f"driver.belief {driver.belief!r}: {did_you_mean(driver.belief, list(beliefs))}")


def dims_of(scenario: Scenario) -> Dims:
    """The axes of a scenario's frames."""
    lidar = scenario.lidar
    echoes, beliefs = MOST_ECHOES[lidar.optics.mode], len(belief_names(scenario))
    return Dims(lidar.rings, lidar.columns, echoes, beliefs, detection=detections_kept(scenario))


def prior_of(scenario: Scenario, hazard: Hazard) -> Prior:
    """What filters are told of a hazard before it is seen."""
    p = hazard.barrier_probability
    spread = np.maximum([hazard.x_spread, hazard.y_spread], EXACT)
    place = Gaussian(np.array([hazard.x, hazard.y]), np.diag(spread**2))
    return Prior(np.log([1.0 - p, p]), place, scenario.fog.visibility, scenario.fog.spread)


def sweep(
    world: worlds.World, pose: np.ndarray, scenario: Scenario, background: Background, rng: np.random.Generator
) -> lidars.Returns:
    """What the true lidar returns."""
    at, directions = lidars.mounted(scenario.lidar, *pose), lidars.grid(scenario.lidar)
    fog = extinction_along(world.field, at, *directions, world.time)
    solids, slots = worlds.solids_of(world, scenario), worlds.slots_of(world, scenario)
    return lidars.scan(solids, background(at), at, fog, scenario.lidar, rng, slots)


def scan_of(returns: lidars.Returns | Frame, estimate: Pose, scenario: Scenario, background: Background) -> Scan:
    """The returns as filters get them: at the lidar's pose on ego's estimated one, beside the known map there."""
    elevation, azimuth = lidars.grid(scenario.lidar)
    pose = lidars.mounted(scenario.lidar, estimate.x, estimate.y, estimate.yaw)
    known = background(pose)
    return Scan(
        elevation,
        azimuth,
        pose,
        returns.range * RANGE_UNIT,
        returns.power * POWER_UNIT,
        np.ones(returns.range.shape[:2], bool),
        known._replace(reflectance=scenario.assumed.reflectance * known.reflectance),
    )
