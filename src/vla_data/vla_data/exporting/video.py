"""Videos of one camera as LeRobot keeps them: many episodes in one MP4, one frame a tick.

Called by the LeRobot export. H.264 with a key frame every second frame and no B-frames, so that
any frame is found fast and exactly. A new file is begun between episodes when one grows too big.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

CODEC = 'libx264'
KEY_EVERY = 2  # frames, as LeRobot's own videos
PIXELS = 'yuv420p'


class VideoFiles:
    """Frames of one camera, episode after episode. One thread."""

    def __init__(
        self, folder: Path, pattern: str, rate_hz: int, limit_bytes: int, quality: int
    ) -> None:
        """`pattern` holds {file_index}; `quality` is x264's constant rate factor."""
        self._folder, self._pattern = folder, pattern
        self._rate_hz, self._limit_bytes, self._quality = rate_hz, limit_bytes, quality
        self.file_index = -1
        self.frames = 0  # in the current file
        self._container: Any = None
        self._size: tuple[int, int] | None = None

    @property
    def path(self) -> Path:
        """The current file."""
        return self._folder / self._pattern.format(file_index=self.file_index)

    def begin_episode(self) -> float:
        """Go on in the file, or begin one; return the time in it, s, where the episode begins."""
        full = self._container is not None and self.path.stat().st_size >= self._limit_bytes
        if full:
            self.close()
        if self._container is None:
            self.file_index += 1
            self.frames = 0
        return self.frames / self._rate_hz

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Add one frame (H, W, 3); all frames of a camera have one size, even numbers."""
        if self._container is None:
            self._open(rgb.shape[1], rgb.shape[0])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format='rgb24')
        frame.pts, frame.time_base = self.frames, Fraction(1, self._rate_hz)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._container is None:
            return
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        self._container = None

    def _open(self, width: int, height: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self.path), 'w')
        options = {'crf': str(self._quality), 'preset': 'veryfast', 'g': str(KEY_EVERY), 'bf': '0'}
        self._stream = self._container.add_stream(CODEC, self._rate_hz, options=options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = PIXELS
        self._stream.time_base = Fraction(1, self._rate_hz)


def video_info(width: int, height: int, rate_hz: int) -> dict[str, Any]:
    """What LeRobot's info.json says of such a video."""
    return {
        'video.height': height,
        'video.width': width,
        'video.codec': 'h264',
        'video.pix_fmt': PIXELS,
        'video.is_depth_map': False,
        'video.fps': rate_hz,
        'video.channels': 3,
        'has_audio': False,
    }
