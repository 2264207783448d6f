"""Image sets of one episode to features in the cache.

Called by `build` in each of its processes. Pictures are decoded and encoded exactly as the live
VLM node does it; a picture that cannot be decoded is replaced by the last good one of its view, as
there. Deliberately knows no processes and prints nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from vla_core.contract import Contract
from vla_data.bag_reader import Bag
from vla_inference.engine.jpeg import BadImage, decode_jpeg
from vla_training.cache.identity import picture_digest
from vla_training.cache.image_sets import image_sets, ImageSet
from vla_training.cache.store import FeatureCache, ShardWriter

# What stands for pictures in the key of features of black ones: no JPEG has it.
BLACK = b'black pictures'


class Tokens(Protocol):
    """Result of an encoder."""

    tokens: np.ndarray  # (T, D) float16


class Encoder(Protocol):
    """The vision-language model as the cache needs it."""

    def encode(self, images: Sequence[np.ndarray], task: str) -> Tokens:
        """Turn one (H, W, 3) uint8 RGB image a view, in model order, into features."""
        ...


@dataclass
class Encoded:
    """What was done for an episode."""

    sets: int = 0
    computed: int = 0  # the others were there already
    undecodable: int = 0  # pictures
    tasks: set[str] = field(default_factory=set)
    empty: list[Path] = field(default_factory=list)  # episodes that gave no set

    def __iadd__(self, other: 'Encoded') -> 'Encoded':
        self.sets += other.sets
        self.computed += other.computed
        self.undecodable += other.undecodable
        self.tasks |= other.tasks
        self.empty += other.empty
        return self


class SetEncoder:
    """Encodes what the cache lacks. One thread."""

    def __init__(self, encoder: Encoder, cache: FeatureCache, contract: Contract) -> None:
        self._encoder, self._cache, self._contract = encoder, cache, contract

    def episode(
        self, bag: Bag, writer: ShardWriter, done: Callable[[], None] = lambda: None
    ) -> Encoded:
        """Encode all image sets of a bag, and black pictures under each of its tasks.

        `done` is called after each set. Raises BagError, PolicyInputError.
        """
        result, before = Encoded(), [self._black()] * len(self._contract.views)
        for images in image_sets(bag, self._contract):
            result += self._set(images, writer, before)
            done()
        for task in sorted(result.tasks):
            key = black_key(self._cache, task, len(before))
            if key not in writer:
                black = [self._black()] * len(before)
                writer.add(key, self._encoder.encode(black, task).tokens)
        writer.flush()
        return result

    def _set(self, images: ImageSet, writer: ShardWriter, before: list[np.ndarray]) -> Encoded:
        """`before`: the last good picture of each view, which stands in for one that is damaged.

        Pictures of features that are there are decoded too: who goes on after a kill needs to
        know the last good ones.
        """
        result = Encoded(sets=1, tasks={images.task})
        for view, picture in enumerate(images.pictures):
            found = self._decode(picture.jpeg)
            if found is None:
                result.undecodable += 1
            else:
                before[view] = found
        key = self._cache.key(images.task, [picture_digest(p.jpeg) for p in images.pictures])
        if key not in writer:
            writer.add(key, self._encoder.encode(list(before), images.task).tokens)
            result.computed = 1
        return result

    def _decode(self, jpeg: bytes) -> np.ndarray | None:
        size = self._contract.images
        try:
            return decode_jpeg(jpeg, size.width, size.height)
        except BadImage:
            return None

    def _black(self) -> np.ndarray:
        return np.zeros((self._contract.images.height, self._contract.images.width, 3), np.uint8)


def black_key(cache: FeatureCache, task: str, views: int) -> bytes:
    """Key of the features of black pictures: what a policy without eyes is trained on."""
    return cache.key(task, [picture_digest(BLACK)] * views)
