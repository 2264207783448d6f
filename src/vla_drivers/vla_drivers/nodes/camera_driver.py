"""Camera driver node: JPEG images of five views, from the legacy camera host or from local
cameras.

Started by stack.yaml and the launch files. The JPEG passes through untouched. Logic is in
devices/zmq_cameras.py, devices/opencv_cameras.py and camera_stream.py.
"""

from dataclasses import dataclass
import time

from sensor_msgs.msg import CompressedImage

from vla_core.errors import ConfigError
from vla_core.health import HealthItem
from vla_drivers.camera_stream import CameraLimits, CameraStream, parse_assignments
from vla_drivers.devices.zmq_cameras import ZmqCameras
from vla_drivers.nodes.device_node import DeviceNode
from vla_ros import convert, qos
from vla_ros.params import param
from vla_ros.spin import run_node

BENIGN = ('ignored', 'connected', 'discarded_at_start', 'looped')


@dataclass(frozen=True)
class Parameters:
    """Parameters; values in launch/config/camera_driver.yaml."""

    device: str = param(
        'where images come from: the camera host, or cameras of this machine',
        one_of=('network', 'opencv'),
    )
    bind: str = param('network: local address to listen at; 0.0.0.0 for all interfaces')
    port: int = param('network: TCP port to listen at', low=1, high=65535)
    cameras: list[str] = param(
        "network: 'view: NAME [NAME...]', every name the view's camera has had"
    )
    ignored: list[str] = param('network: names or patterns of cameras to count and ignore')
    opencv_sources: list[str] = param(
        "opencv: 'view: SOURCE', an index of V4L2, a file (loops) or a URL"
    )
    jpeg_quality: int = param('opencv: quality of the JPEG made here', low=1, high=100)
    capture_width: int = param('opencv: width to ask for, pixels; 0: as it is', low=0, high=8192)
    capture_height: int = param('opencv: height to ask for, pixels; 0: as it is', low=0, high=8192)
    clock: str = param('clock model of the camera host', one_of=('trusted', 'estimated'))
    rate_hz: float = param('nominal rate of one view, Hz', low=0.1, high=240.0)
    warn_share: float = param('warn below this share of the nominal rate', low=0.0, high=1.0)
    error_share: float = param('error below this share of the nominal rate', low=0.0, high=1.0)
    frozen_s: float = param('the same picture for this long is an error, s', low=0.1, high=3600.0)
    late_s: float = param(
        'an image older than this on arrival counts as late, s', low=0.0, high=60.0
    )
    clock_warn_s: float = param('warn when the clocks differ by more, s', low=0.0, high=60.0)


class CameraDriver(DeviceNode):
    """Threads: `_on_readings` publishes from the reader's thread, everything else from the
    executor's.
    """

    def __init__(self, **kwargs):
        super().__init__('camera_driver', Parameters, 'cameras', **kwargs)

    def configure(self) -> None:
        """Bind the port or open the cameras, and create one topic a view."""
        params = self.params
        if params.device == 'network':
            self._names = parse_assignments(params.cameras, 'cameras')
            device = ZmqCameras(params.bind, params.port)
        else:
            self._names, device = self._local_cameras()
        self._open(device, BENIGN)
        self._images = {
            view: self.add_publisher(
                CompressedImage, f'cameras/{view}/image_raw/compressed', qos.IMAGES
            )
            for view in self._names
        }

    def activate(self) -> None:
        """Begin to read."""
        params = self.params
        limits = CameraLimits(
            params.rate_hz, params.warn_share, params.error_share, params.frozen_s, params.late_s
        )
        self._read(
            lambda clock: CameraStream(
                self._names, params.ignored, clock, limits, self._device.counters
            )
        )

    def _stream_health(self) -> list[HealthItem]:
        return self._stream.health(time.time_ns())

    def _local_cameras(self):
        # OpenCV costs 60 MB and is only wanted here.
        from vla_drivers.devices.opencv_cameras import CaptureSettings, OpenCvCameras

        params = self.params
        sources = parse_assignments(params.opencv_sources, 'opencv_sources')
        for view, names in sources.items():
            if len(names) != 1:
                raise ConfigError(
                    'parameters of camera_driver',
                    'opencv_sources',
                    f'{view}: {names}',
                    'expected one source a view',
                )
        settings = CaptureSettings(
            params.rate_hz, params.jpeg_quality, params.capture_width, params.capture_height
        )
        cameras = OpenCvCameras({view: names[0] for view, names in sources.items()}, settings)
        return {view: [view] for view in sources}, cameras

    def _on_readings(self, readings: list) -> None:
        for image in self._stream.accept(readings):
            self._images[image.view].publish(
                convert.compressed_image(image.stamp_ns, image.view, image.jpeg)
            )


def main(args=None) -> int:
    """Entry point."""
    return run_node(CameraDriver, args)
