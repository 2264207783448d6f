"""Engine records <-> messages: fills every field of VLFeatureInfo, ActionChunk and Lineage.

Called by the nodes' worker threads (to messages) and the expert's executor thread (from messages).
Pure; deliberately judges nothing.
"""

import math

from vla_inference.engine.records import Chunk, FeatureSet, Lineage
from vla_msgs.msg import ActionChunk, VLFeatureInfo, VLFeatures
from vla_msgs.msg import Lineage as LineageMsg
from vla_ros import convert

STAGES = ('decode', 'preprocess', 'vision', 'language', 'pool', 'total')


def features_message(made: FeatureSet) -> VLFeatures:
    """FeatureSet -> VLFeatures, with its info."""
    message = VLFeatures(info=info_message(made))
    message.header = message.info.header
    convert.set_features(message, made.tokens)
    return message


def info_message(made: FeatureSet) -> VLFeatureInfo:
    """FeatureSet -> VLFeatureInfo, without the features' shape."""
    oldest_ns, newest_ns = min(made.view_stamps_ns), max(made.view_stamps_ns)
    info = VLFeatureInfo(
        feature_id=made.feature_id,
        checkpoint_hash=made.checkpoint_hash,
        contract_hash=made.contract_hash,
        task=made.task,
        views=list(made.views),
        view_stamps=convert.to_times(made.view_stamps_ns),
        stale_views=list(made.stale_views),
        started_stamp=convert.to_time(made.started_ns),
        published_stamp=convert.to_time(made.published_ns),
        image_age_s=(made.published_ns - oldest_ns) / 1e9,
        view_skew_s=(newest_ns - oldest_ns) / 1e9,
        images_received_total=made.images_received,
        images_overwritten_total=made.images_overwritten,
        images_rejected_total=made.images_rejected,
    )
    info.header.stamp = convert.to_time(oldest_ns)
    for stage in STAGES:
        setattr(info, f'{stage}_s', float(made.stages_s.get(stage, math.nan)))
    return info


def feature_set(message: VLFeatures) -> FeatureSet:
    """VLFeatures -> FeatureSet; the tokens share the message's memory. WireFormatError on a bad
    shape.
    """
    info = message.info
    return FeatureSet(
        feature_id=info.feature_id,
        tokens=convert.features_array(message),
        task=info.task,
        checkpoint_hash=info.checkpoint_hash,
        contract_hash=info.contract_hash,
        views=tuple(info.views),
        view_stamps_ns=tuple(convert.to_ns(stamp) for stamp in info.view_stamps),
        started_ns=convert.to_ns(info.started_stamp),
        published_ns=convert.to_ns(info.published_stamp),
        stale_views=tuple(info.stale_views),
        stages_s={stage: getattr(info, f'{stage}_s') for stage in STAGES},
        images_received=info.images_received_total,
        images_overwritten=info.images_overwritten_total,
        images_rejected=info.images_rejected_total,
    )


def lineage_message(line: Lineage) -> LineageMsg:
    """Lineage -> vla_msgs/Lineage."""
    return LineageMsg(
        feature_id=line.feature_id,
        views=list(line.views),
        view_stamps=convert.to_times(line.view_stamps_ns),
        features_stamp=convert.to_time(line.features_ns),
        sensor_first=convert.to_time(line.sensor_first_ns),
        sensor_last=convert.to_time(line.sensor_last_ns),
        robot_stamp=convert.to_time(line.robot_ns),
        sensor_samples=line.sensor_samples,
        sensor_fill=line.sensor_fill,
        sensor_max_gap_s=line.sensor_max_gap_s,
        image_age_s=line.image_age_s,
        feature_age_s=line.feature_age_s,
        sensor_age_s=line.sensor_age_s,
        robot_age_s=line.robot_age_s,
        earlier_feature_ids=list(line.earlier_feature_ids),
        earlier_image_age_s=line.earlier_image_age_s,
    )


def chunk_message(
    chunk: Chunk, frame: str, checkpoint_hash: str, contract_hash: str
) -> ActionChunk:
    """Chunk -> ActionChunk in `frame`."""
    message = ActionChunk(
        chunk_id=chunk.chunk_id,
        committed_steps=chunk.committed_steps,
        reaction=int(chunk.reaction),
        reasons=list(chunk.reasons),
        task=chunk.task,
        checkpoint_hash=checkpoint_hash,
        contract_hash=contract_hash,
        lineage=lineage_message(chunk.lineage),
        published_stamp=convert.to_time(chunk.published_ns),
        tick_late_s=chunk.tick_late_s,
        snapshot_s=chunk.snapshot_s,
        inference_s=chunk.inference_s,
        total_s=chunk.total_s,
        deadline_misses_total=chunk.deadline_misses,
    )
    message.header.stamp = convert.to_time(chunk.tick_ns)
    message.header.frame_id = frame
    convert.set_chunk_steps(message, chunk.step_stamps_ns, chunk.delta)
    return message
