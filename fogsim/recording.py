"""One tick's truth, measurements, beliefs and choice put into a Frame."""

from __future__ import annotations

from math import ceil

import numpy as np

from filters.models.lidar_echo import THING
from filters.policy import REASONS
from filters.spec import CLASSES, FEATURES, Belief, Pose
from filters.streams import stream
from fogsim.driving import Choice
from fogsim.errors import UserError
from fogsim.followers import Followers
from fogsim.frame import DETECTION, DETECTIONS, MAX_TRACKS, POINTS, SENSORS, Frame
from fogsim.perception.perceive import Percept
from fogsim.readings import Readings
from fogsim.scenario import Scenario
from fogsim.sensors.lidar import Returns
from fogsim.world import world as worlds

NO_LOOK = np.full(len(FEATURES), np.nan)


def frame_of(
    world: worlds.World,
    pose: np.ndarray,
    estimate: Pose,
    scenario: Scenario,
    returns: Returns,
    readings: Readings,
    percepts: list[Percept],
    followers: Followers,
    beliefs: list[list[Belief]],
    visibility: float,
    choice: Choice,
    opened: bool,
    rest: float,
) -> Frame:
    """The record of a tick; `visibility` m is perception's, `opened` whether the choice was open before it, `rest` s
    what is not a filter's time.
    """
    return Frame(
        time=np.array(world.time),
        ego_pose=pose,
        ego_speed=np.array(world.ego.speed),
        odometry=np.array([estimate.x, estimate.y, estimate.yaw]),
        action=np.array(choice.action, np.int8),
        at_decision_point=np.array(choice.open and not opened),
        collided=np.array(worlds.collided(world, scenario)),
        visibility=np.array(world.visibility),
        visibility_estimate=np.array(visibility),
        outside_card=np.array(scenario.card.outside(visibility)),
        **truth(world, pose, scenario, returns),
        features=slots(
            np.array([NO_LOOK if p.features is None else p.features.values for p in percepts], np.float32),
            (len(FEATURES),),
        ),
        **belief_fields(followers, beliefs, len(percepts), world.time),
        shadow_action=choice.shadow,
        expected_loss=choice.losses,
        in_path=choice.q,
        loss_table=choice.table,
        threshold=np.array(choice.decision.threshold),
        reason=np.array(REASONS.index(choice.decision.reason), np.int8),
        range=returns.range,
        power=returns.power,
        label=returns.label,
        **reading_fields(readings, detections_kept(scenario)),
        filter_ms=np.array([1e3 * s for s in (*followers.seconds, rest)][: len(beliefs)], np.float32),
        decision_ms=np.array(1e3 * choice.seconds, np.float32),
    )


def slots(values: np.ndarray, shape: tuple[int, ...], empty: float = np.nan) -> np.ndarray:
    """Values of the candidates (n, ...) in an array of MAX_TRACKS slots, `empty` in the rest."""
    result = np.full((MAX_TRACKS, *shape), empty, values.dtype)
    result[: len(values)] = values
    return result


def truth(world: worlds.World, pose: np.ndarray, scenario: Scenario, returns: Returns) -> dict[str, np.ndarray]:
    """What truly is, for scoring and drawing."""
    things, boxes = world.things, worlds.boxes_of(world, scenario)
    positions = np.array([t.position for t in things])
    size = 2.0 * np.stack([boxes.hx, boxes.hy, boxes.hz], axis=1)
    echoes = np.array([(returns.label == THING + k).sum() for k in range(len(things))], np.int32)
    return {
        "track_id": slots(np.arange(len(things), dtype=np.int16), (), -1),
        "truth_class": slots(np.array([t.kind for t in things], np.int8), (), -1),
        "truth_position": slots(positions, (2,)),
        "truth_velocity": slots(np.array([t.velocity for t in things]), (2,)),
        "truth_size": slots(size, (3,)),
        "truth_yaw": slots(boxes.yaw, ()),
        "distance_left": slots(positions[:, 0] - pose[0], ()),
        "object_echoes": slots(echoes, (), 0),
    }


def detections_kept(scenario: Scenario) -> int:
    """Rows of a frame for the radar's detections: as many as a tick can bring, one empty row without a radar."""
    return DETECTIONS * ceil(scenario.radar.rate * scenario.dt) if scenario.radar.on else 1


def reading_fields(readings: Readings, kept: int) -> dict[str, np.ndarray]:
    """What the sensors beside the lidar said.

    Raises
    ------
    UserError
        If the radar detected more in a tick than a frame keeps.
    """
    rows = [np.column_stack([np.full(len(s.detections), t), s.detections]) for t, s in readings.radar]
    found = sum(map(len, rows))
    if found > kept:
        raise UserError(f"found {found} radar detections in a tick, expected up to {kept}: lower radar.ground")
    detected = np.concatenate([*rows, np.full((kept - found, len(DETECTION)), np.nan)])
    seen = readings.visibility[-1][1] if readings.visibility else np.nan
    return {"radar": detected.astype(np.float32), "visibility_reading": np.array(seen, np.float32)}


def belief_fields(
    followers: Followers, beliefs: list[list[Belief]], candidates: int, time: float
) -> dict[str, np.ndarray]:
    """Beliefs and infos as arrays (belief, track, ...); the fused row has no info of its own."""
    n = len(beliefs)
    fields = {
        "log_probs": np.full((n, MAX_TRACKS, len(CLASSES)), np.nan),
        "position_mean": np.full((n, MAX_TRACKS, 2), np.nan),
        "position_covariance": np.full((n, MAX_TRACKS, 2, 2), np.nan),
        "epistemic": np.full((n, MAX_TRACKS), np.nan, np.float32),
        "log_evidence": np.full((n, MAX_TRACKS, len(CLASSES)), np.nan),
        "sensor_evidence": np.full((n, MAX_TRACKS, len(SENSORS), len(CLASSES)), np.nan),
        "ess": np.full((n, MAX_TRACKS), np.nan, np.float32),
        "nis": np.full((n, MAX_TRACKS), np.nan, np.float32),
        "nis_dof": np.zeros((n, MAX_TRACKS), np.int8),
        "status": np.zeros((n, MAX_TRACKS), np.int8),
        "points": np.full((n, MAX_TRACKS, POINTS, 2), np.nan, np.float32),
    }
    for i, row in enumerate(beliefs):
        for k, belief in enumerate(row):
            fields["log_probs"][i, k] = belief.log_probs
            fields["position_mean"][i, k] = belief.position.mean
            fields["position_covariance"][i, k] = belief.position.covariance
            fields["epistemic"][i, k] = belief.epistemic
            if belief.points is not None:
                fields["points"][i, k] = draw_points(belief, f"{i}/{k}/{time:.3f}")
    for i, followed in enumerate(followers.rows):
        for k in range(candidates):
            info = followed[k].info
            fields["log_evidence"][i, k] = info.log_evidence
            for sensor, evidence in followed[k].evidence.items():
                fields["sensor_evidence"][i, k, SENSORS.index(sensor)] = evidence
            fields["ess"][i, k], fields["nis"][i, k], fields["status"][i, k] = info.ess, info.nis, info.status
            fields["nis_dof"][i, k] = info.dof
    return fields


def draw_points(belief: Belief, name: str) -> np.ndarray:
    """POINTS equally weighted draws of a weighted point belief, for drawing only."""
    assert belief.points is not None
    weights = np.exp(belief.points.log_weights)
    chosen = stream(0, "drawing", name).choice(len(weights), POINTS, p=weights / weights.sum())
    return belief.points.points[chosen, :2]
