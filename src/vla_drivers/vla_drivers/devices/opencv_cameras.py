"""Local cameras by OpenCV: a V4L2 index, a video file (loops) or a URL for each view.

Used by camera_driver with device 'opencv'. The source is raw, so JPEG is made here. Deliberately
not synchronised: each camera runs in a thread of its own, and every image has its own stamp.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import os
import queue
import threading
import time

import cv2

from vla_core.counters import Counters
from vla_core.errors import DeviceError
from vla_core.timebase import NS
from vla_core.wire.camera_frame import CameraFrame
from vla_drivers.backoff import Backoff
from vla_drivers.devices.base import CameraReading

QUEUED_IMAGES = 50
OPEN_TIMEOUT_MS = 3000
# OpenCV and FFmpeg write lines of their own for an absent camera; the DeviceError says more.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # AV_LOG_QUIET; read at the first capture
_JOIN_S = 2.0


@dataclass(frozen=True)
class CaptureSettings:
    """What is asked of every camera; width and height 0 leave the camera's own."""

    rate_hz: float
    jpeg_quality: int
    width: int = 0
    height: int = 0


class OpenCvCameras:
    """All local cameras together. `read` runs in the reader's thread, each camera in its own."""

    def __init__(self, sources: Mapping[str, str], settings: CaptureSettings):
        self.counters = Counters()
        self._readings: queue.Queue[CameraReading] = queue.Queue(QUEUED_IMAGES)
        self._stop = threading.Event()
        self._cameras = [
            _Camera(view, source, settings, self._put, self.counters, self._stop)
            for view, source in sources.items()
        ]

    def open(self) -> None:
        """Open every camera; DeviceError names the first that is absent."""
        self._stop.clear()
        opened = []
        try:
            for camera in self._cameras:
                camera.open()
                opened.append(camera)
        except DeviceError:
            for camera in opened:
                camera.close()
            raise
        for camera in self._cameras:
            camera.start()

    def read(self, timeout_s: float) -> list[CameraReading]:
        """Return the images that have been taken."""
        readings = []
        try:
            readings.append(self._readings.get(timeout=timeout_s))
            while True:
                readings.append(self._readings.get_nowait())
        except queue.Empty:
            return readings

    def discard_pending(self) -> int:
        """Throw away old images."""
        return len(self.read(0.001))

    def close(self) -> None:
        """Stop the threads and give the cameras back."""
        self._stop.set()
        for camera in self._cameras:
            camera.close()

    def describe(self) -> dict[str, str]:
        """State of every camera."""
        return {f'{camera.view} ({camera.source})': camera.state for camera in self._cameras}

    def _put(self, reading: CameraReading) -> None:
        while True:
            try:
                return self._readings.put_nowait(reading)
            except queue.Full:
                try:
                    self._readings.get_nowait()
                    self.counters.add('overwritten')
                except queue.Empty:
                    continue


class _Camera:
    """One camera and its thread. A camera that fails is reopened with back-off."""

    def __init__(self, view, source, settings, put, counters, stop):
        self.view, self.source = view, source
        self._settings, self._put, self._counters, self._stop = settings, put, counters, stop
        self._capture: cv2.VideoCapture | None = None
        self._thread: threading.Thread | None = None
        self._is_file = '://' not in source and not source.isdigit()
        self.state = 'closed'

    def open(self) -> None:
        index = int(self.source) if self.source.isdigit() else None
        if index is not None:
            capture = cv2.VideoCapture(index)
        else:
            capture = cv2.VideoCapture(
                self.source,
                cv2.CAP_FFMPEG,
                [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                    OPEN_TIMEOUT_MS,
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                    OPEN_TIMEOUT_MS,
                ],
            )
        if not capture.isOpened():
            capture.release()
            raise DeviceError(self._advice())
        for name, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self._settings.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self._settings.height),
        ):
            if value and not self._is_file:
                capture.set(name, value)
        self._capture, self.state = capture, 'open'

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=f'camera {self.view}', daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            self._thread = None
        if self._capture is not None:
            self._capture.release()
            self._capture = None
        self.state = 'closed'

    def _advice(self) -> str:
        if self.source.isdigit():
            return (
                f'camera {self.view}: /dev/video{self.source} cannot be opened: plug it in, '
                'free it, '
                'or set parameter opencv_sources (v4l2-ctl --list-devices shows what there is)'
            )
        what = 'video file' if self._is_file else 'URL'
        return (
            f'camera {self.view}: {what} {self.source} cannot be opened: check it and set '
            'parameter opencv_sources'
        )

    def _run(self) -> None:
        backoff = Backoff()
        due_ns = time.monotonic_ns()
        while not self._stop.is_set():
            if self._capture is None and not self._reopen(backoff):
                continue
            frame = self._grab(due_ns)
            if frame is None:
                self._lost(backoff)
                continue
            backoff.reset()
            due_ns = self._take(frame, due_ns)

    def _grab(self, due_ns: int):
        """Return (image, stamp_ns) of the frame that is due, None when the camera fails."""
        if self._is_file:  # a file gives its frames at once: wait for the time of the next one
            self._stop.wait(max(0, due_ns - time.monotonic_ns()) / NS)
        while self._capture.grab():
            stamp_ns = time.time_ns()
            # A live camera's frames are all grabbed, to keep its buffer fresh; few are decoded.
            if self._is_file or time.monotonic_ns() >= due_ns or self._stop.is_set():
                good, image = self._capture.retrieve()
                return (image, stamp_ns) if good else None
        return None

    def _take(self, frame, due_ns: int) -> int:
        image, stamp_ns = frame
        quality = [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality]
        good, jpeg = cv2.imencode('.jpg', image, quality)
        if good:
            self._put(
                CameraReading(CameraFrame(self.view, stamp_ns, None, jpeg.tobytes()), stamp_ns)
            )
        else:
            self._counters.add('not_encoded')
        period_ns = round(NS / self._settings.rate_hz)
        return max(
            due_ns + period_ns, time.monotonic_ns() - period_ns
        )  # never catches up in a burst

    def _lost(self, backoff: Backoff) -> None:
        if self._is_file and backoff.failures == 0:
            # The end of the file: begin again. Only a file that yields nothing at all gets
            # further.
            self._counters.add('looped')
            backoff.next_s()
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            return
        self._counters.add('read_failed')
        self._capture.release()
        self._capture = None

    def _reopen(self, backoff: Backoff) -> bool:
        wait_s = backoff.next_s()
        self.state = f'lost; trying again in {wait_s:.1f} s (attempt {backoff.failures})'
        if self._stop.wait(wait_s):
            return False
        try:
            self.open()
        except DeviceError:
            self._counters.add('reopen_failed')
            return False
        self._counters.add('reopened')
        return True
