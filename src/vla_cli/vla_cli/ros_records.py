"""ROS messages to records: the only place where the tools read message fields.

Called by the monitor's and the benchmark's nodes.
"""

import math

from vla_cli.records import (
    ChunkRecord,
    CommandRecord,
    GoalRecord,
    PassRecord,
    RESULTS,
    RobotRecord,
    StatusRecord,
)
from vla_ros.convert import to_ns

_ROBOT_STATES = (
    'disconnected',
    'connected',
    'stale',
    'frozen',
    'error',
    'emergency stop',
    'not ready',
)


def pass_record(message) -> PassRecord:
    """vla_msgs/VLFeatureInfo -> PassRecord."""
    return PassRecord(
        feature_id=message.feature_id,
        started_ns=to_ns(message.started_stamp),
        published_ns=to_ns(message.published_stamp),
        total_s=message.total_s,
        stages_s=(
            message.decode_s,
            message.preprocess_s,
            message.vision_s,
            message.language_s,
            message.pool_s,
        ),
        view_stamps_ns=tuple(to_ns(stamp) for stamp in message.view_stamps),
        views=tuple(message.views),
        stale_views=tuple(message.stale_views),
        task=message.task,
        checkpoint_hash=message.checkpoint_hash,
        images_received=message.images_received_total,
        images_overwritten=message.images_overwritten_total,
        images_rejected=message.images_rejected_total,
    )


def chunk_record(message) -> ChunkRecord:
    """vla_msgs/ActionChunk -> ChunkRecord."""
    line = message.lineage
    return ChunkRecord(
        chunk_id=message.chunk_id,
        tick_ns=to_ns(message.header.stamp),
        published_ns=to_ns(message.published_stamp),
        reaction=message.reaction,
        reasons=tuple(message.reasons),
        task=message.task,
        checkpoint_hash=message.checkpoint_hash,
        view_stamps_ns=tuple(to_ns(stamp) for stamp in line.view_stamps),
        features_ns=to_ns(line.features_stamp),
        sensor_last_ns=to_ns(line.sensor_last),
        robot_ns=to_ns(line.robot_stamp),
        sensor_samples=line.sensor_samples,
        sensor_fill=line.sensor_fill,
        sensor_max_gap_s=line.sensor_max_gap_s,
        image_age_s=line.image_age_s,
        feature_age_s=line.feature_age_s,
        sensor_age_s=line.sensor_age_s,
        robot_age_s=line.robot_age_s,
        tick_late_s=message.tick_late_s,
        inference_s=message.inference_s,
        total_s=message.total_s,
        deadline_misses=message.deadline_misses_total,
    )


def status_records(message) -> list[StatusRecord]:
    """diagnostic_msgs/DiagnosticArray -> StatusRecords."""
    stamp_ns = to_ns(message.header.stamp)
    return [
        StatusRecord(
            name=status.name,
            level=level_number(status.level),
            message=status.message,
            values={item.key: item.value for item in status.values},
            stamp_ns=stamp_ns,
        )
        for status in message.status
    ]


def level_number(level) -> int:
    """DiagnosticStatus.level comes as one byte."""
    return level[0] if isinstance(level, bytes) else int(level)


def robot_record(message) -> RobotRecord:
    """vla_msgs/RobotStatus -> RobotRecord."""
    known = message.state < len(_ROBOT_STATES)
    state = _ROBOT_STATES[message.state] if known else str(message.state)
    return RobotRecord(
        state=state,
        detail=message.detail,
        device=message.device,
        state_hz=message.state_hz,
        error_code=message.error_code,
        activated=message.activated,
        homed=message.homed,
        recovery_needed=message.recovery_needed,
        gate=message.gate,
    )


def command_record(message) -> CommandRecord:
    """vla_msgs/CommandStatus -> CommandRecord."""
    velocity = list(message.velocity) or [0.0] * 6
    known = message.result < len(RESULTS)
    return CommandRecord(
        stamp_ns=to_ns(message.header.stamp),
        gate=message.gate,
        result=RESULTS[message.result] if known else str(message.result),
        reasons=tuple(message.reasons),
        values=tuple(message.values),
        limits=tuple(message.limits),
        chunk_id=message.chunk_id,
        step=message.step,
        speed_m_s=math.hypot(*velocity[:3]),
        turn_rad_s=math.hypot(*velocity[3:]),
        force_n=message.force_n,
        chunk_age_s=message.chunk_age_s,
        sensor_age_s=message.sensor_age_s,
        state_age_s=message.state_age_s,
        splice_ratio=message.splice_ratio,
        refused=message.refused_total,
        limited=message.limited_total,
        held=message.held_total,
        stopped=message.stopped_total,
    )


def goal_record(feedback, now_ns: int) -> GoalRecord:
    """Feedback of vla_msgs/ExecuteTask -> GoalRecord."""
    return GoalRecord(
        now_ns,
        feedback.elapsed_s,
        feedback.progress,
        feedback.held_s,
        feedback.surface_distance_m,
        feedback.force_n,
    )
