"""The slow side: images in, vision-language features with their lineage out.

`run` is the body of the VLM node's one worker thread; the executor's thread feeds the inbox and
sets the task. Deliberately knows no ROS and no torch: the encoder and the publishing are passed
in.
"""

from collections.abc import Callable
from dataclasses import dataclass
import threading
import time

import numpy as np

from vla_core.counters import Counters
from vla_core.timebase import Clock
from vla_inference.engine.image_inbox import ImageInbox
from vla_inference.engine.jpeg import BadImage, decode_jpeg
from vla_inference.engine.records import EncodedViews, Encoder, FeatureSet, Frame, ImageSet

LOOK_PERIOD_S = 0.5  # how long one wait for images lasts
MOST_FAILURES = 5  # passes that fail in a row before the process is given up for a restart


@dataclass(frozen=True)
class WorkerSettings:
    """What every pass needs to know."""

    width: int  # the images' size for the model, pixels
    height: int
    checkpoint_hash: str
    contract_hash: str


class VlmWorker:
    """Runs one pass after the other, in one thread; `task` may be set from any.

    Counters: passes, rejected (images that do not decode), not_finite and encode_failed (passes
    without a result).
    """

    def __init__(
        self,
        inbox: ImageInbox,
        encoder: Encoder,
        settings: WorkerSettings,
        publish: Callable[[FeatureSet], None],
        clock: Clock,
        task: str = '',
        on_error: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.inbox = inbox
        self.task = task
        self.counters = Counters()
        self.last: FeatureSet | None = None
        self._encoder = encoder
        self._settings = settings
        self._publish = publish
        self._clock = clock
        self._on_error = on_error
        self._decoded: dict[str, tuple[Frame, np.ndarray]] = {}
        self._passes = 0
        self._failures = 0

    def warm_up(self) -> float:
        """Run one pass on black images, so that the first real one is as fast as the others;
        return its duration, s.
        """
        black = np.zeros((self._settings.height, self._settings.width, 3), np.uint8)
        started_s = time.perf_counter()
        self._encoder.encode([black] * len(self.inbox.views), self.task)
        return time.perf_counter() - started_s

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Raises the encoder's error after MOST_FAILURES failures in a
        row.
        """
        while not stop.is_set():
            images = self.inbox.wait_for_set(stop, LOOK_PERIOD_S)
            if images is not None:
                self.process(images)

    def process(self, images: ImageSet) -> FeatureSet | None:
        """Run one pass and publish; None if it had no result (counted)."""
        started_ns, begin_s = self._clock.now_ns(), time.perf_counter()
        decoded = self._decode(images)
        if decoded is None:
            return None
        frames, pictures, stale = decoded
        decode_s = time.perf_counter() - begin_s
        task = self.task
        result = self._encode(pictures, task)
        if result is None:
            return None
        self._passes += 1
        self.counters.add('passes')
        stages_s = {'decode': decode_s, **result.stages, 'total': time.perf_counter() - begin_s}
        self.last = self._feature_set(frames, stale, result.tokens, task, started_ns, stages_s)
        self._publish(self.last)
        return self.last

    def _decode(
        self, images: ImageSet
    ) -> tuple[list[Frame], list[np.ndarray], tuple[str, ...]] | None:
        """Decode what is new; a picture that does not decode is replaced by the view's last good
        one.
        """
        stale = set(images.stale_views)
        for frame in images.frames:
            known = self._decoded.get(frame.view)
            if known is not None and known[0] == frame:
                continue
            try:
                picture = decode_jpeg(frame.jpeg, self._settings.width, self._settings.height)
            except BadImage as error:
                self.counters.add('rejected')
                self._on_error(f'image of {frame.view} refused: {error}')
                stale.add(frame.view)
                continue
            self._decoded[frame.view] = (frame, picture)
        if any(frame.view not in self._decoded for frame in images.frames):
            return None  # a view without a single good picture: there is nothing to run on
        pairs = [self._decoded[frame.view] for frame in images.frames]
        order = tuple(frame.view for frame in images.frames if frame.view in stale)
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs], order

    def _encode(self, pictures: list[np.ndarray], task: str) -> EncodedViews | None:
        try:
            result = self._encoder.encode(pictures, task)
        except Exception as error:
            self._failed('encode_failed', f'pass failed: {type(error).__name__}: {error}')
            if self._failures >= MOST_FAILURES:
                raise
            return None
        if not np.isfinite(result.tokens).all():
            self._failed('not_finite', 'pass gave features that are not finite')
            return None
        self._failures = 0
        return result

    def _failed(self, kind: str, text: str) -> None:
        self._failures += 1
        self.counters.add(kind)
        self._on_error(text)

    def _feature_set(
        self,
        frames: list[Frame],
        stale: tuple[str, ...],
        tokens: np.ndarray,
        task: str,
        started_ns: int,
        stages_s: dict[str, float],
    ) -> FeatureSet:
        return FeatureSet(
            feature_id=self._passes,
            tokens=tokens,
            task=task,
            checkpoint_hash=self._settings.checkpoint_hash,
            contract_hash=self._settings.contract_hash,
            views=tuple(frame.view for frame in frames),
            view_stamps_ns=tuple(frame.stamp_ns for frame in frames),
            started_ns=started_ns,
            published_ns=self._clock.now_ns(),
            stale_views=stale,
            stages_s=stages_s,
            images_received=self.inbox.counters.get('received'),
            images_overwritten=self.inbox.counters.get('overwritten'),
            images_rejected=self.counters.get('rejected')
            + self.inbox.counters.get('unknown_view'),
        )
