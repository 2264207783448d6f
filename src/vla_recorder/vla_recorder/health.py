"""What the recorder shows of itself: diagnostics items and the status message.

Called by the recorder node. It deliberately judges only the recording; whether a stream is as good
as the contract wants is the business of the nodes and of `vla episodes check`.
"""

from vla_core.health import HealthItem, Level
from vla_data.recording.session import Status
from vla_msgs.msg import RecorderStatus
from vla_ros.convert import to_time

_STATES = {
    'idle': RecorderStatus.IDLE,
    'recording': RecorderStatus.RECORDING,
    'ended': RecorderStatus.ENDED,
}
QUEUE_WARN_SHARE = 0.25
SETTLE_S = 3.0  # a stream at 1 Hz has come by then


def items(status: Status, tap, queue_bytes: int) -> list[HealthItem]:
    """Return the diagnostics items; `queue_bytes` is the bound of the queue."""
    return [_recording(status, queue_bytes), _topics(tap)]


def status_message(status: Status, tap, now_ns: int) -> RecorderStatus:
    """Status -> vla_msgs/RecorderStatus."""
    message = RecorderStatus(
        state=_STATES[status.state],
        path=str(status.path or ''),
        task=status.task,
        messages=status.messages,
        size=status.size_bytes,
        waiting=status.waiting_bytes,
        lost=status.lost,
        reason=status.reason,
    )
    message.header.stamp = to_time(now_ns)
    if status.state == 'recording':
        message.duration_s = max(0, now_ns - status.started_ns) / 1e9
        if message.duration_s > SETTLE_S:
            published = tap.published()
            message.silent = [name for name in status.silent if name in published]
    return message


def _recording(status: Status, queue_bytes: int) -> HealthItem:
    values = {
        'state': status.state,
        'path': str(status.path or ''),
        'messages': str(status.messages),
        'size_mb': f'{status.size_bytes / 1e6:.1f}',
        'waiting_mb': f'{status.waiting_bytes / 1e6:.2f}',
        'lost': str(status.lost),
    }
    if status.state == 'ended':
        return HealthItem('recording', Level.ERROR, status.reason, values)
    if status.waiting_bytes > QUEUE_WARN_SHARE * queue_bytes:
        text = f'the disk is slow: {status.waiting_bytes / 1e6:.0f} MB wait to be written'
        return HealthItem('recording', Level.WARN, text, values)
    if status.lost:
        return HealthItem('recording', Level.WARN, f'{status.lost} messages were lost', values)
    return HealthItem('recording', Level.OK, status.state, values)


def _topics(tap) -> HealthItem:
    refused = tap.unheard()
    if refused:
        text = f'{", ".join(refused)}: published with a QoS that the manifest does not fit'
        return HealthItem('topics', Level.WARN, text, {'unheard': ' '.join(refused)})
    return HealthItem('topics', Level.OK, f'{len(tap.published())} are published')
