"""What a test hears of a running graph: all messages of the topics that matter.

Used by the system tests only.
"""

from collections.abc import Callable, Iterator
import contextlib

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from vla_msgs.msg import ActionChunk, CommandStatus, RobotStatus, SensorBatch, VLFeatureInfo
from vla_ros import qos
from vla_ros.testing import Listener, ros_context, spinning, wait_for


class Ears(Listener):
    """Hears the small topics always, the large ones on request."""

    def __init__(self):
        super().__init__('system_test')
        self.chunks = self.hear(ActionChunk, 'action/chunk', qos.CHUNKS)
        self.infos = self.hear(VLFeatureInfo, 'vlm/info', qos.CHUNKS)
        self.robot = self.hear(RobotStatus, 'robot/status', qos.STATUS)
        self.commands = self.hear(CommandStatus, 'robot/command_status', qos.STATUS)
        self.diagnostics = self.hear(DiagnosticArray, '/diagnostics', qos.STATUS)
        self.task = self.create_publisher(String, 'task', qos.LATCHED)

    def hear_images(self, view: str) -> list:
        """Hear one camera."""
        return self.hear(CompressedImage, f'cameras/{view}/image_raw/compressed', qos.IMAGES)

    def hear_samples(self) -> list:
        """Hear the sensor."""
        return self.hear(SensorBatch, 'sensor/samples', qos.SENSOR_STREAM)

    def wait_for_chunk(
        self, wanted: Callable[[ActionChunk], bool], timeout_s: float, what: str
    ) -> ActionChunk:
        """Return the first chunk from now on that is as wanted."""
        begin = len(self.chunks)
        return wait_for(
            lambda: next((chunk for chunk in self.chunks[begin:] if wanted(chunk)), None),
            timeout_s,
            what,
        )

    def wait_until_used(self, timeout_s: float = 60.0) -> ActionChunk:
        """Return the first chunk from now on made of fresh inputs only."""
        return self.wait_for_chunk(
            lambda chunk: chunk.reaction == ActionChunk.USE, timeout_s, 'a chunk to use'
        )

    def diagnostic(self, name: str, key: str) -> str | None:
        """Return the newest value of a key of the diagnostics whose name contains `name`."""
        for array in reversed(self.diagnostics):
            for status in array.status:
                if name in status.name:
                    for value in status.values:
                        if value.key == key:
                            return value.value
        return None


@contextlib.contextmanager
def listening() -> Iterator[Ears]:
    """Ears on this process's ROS domain."""
    with ros_context():
        ears = Ears()
        with spinning(ears):
            yield ears
