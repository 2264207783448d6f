"""Batches with the pictures themselves, for stages whose encoder learns.

Used by `vla train`. The JPEGs of an episode are copied out of the bag once, into one file beside
the prepared arrays, so that any image set can be read at once; they are decoded as the live VLM
node does. Everything else is the data set of cached features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from vla_core.contract import Contract
from vla_data.bag_reader import open_bag
from vla_inference.engine.jpeg import BadImage, decode_jpeg
from vla_training.cache.files import DAMAGED, replace_file
from vla_training.cache.identity import picture_digest
from vla_training.cache.image_sets import image_sets
from vla_training.cache.store import FeatureCache
from vla_training.data.batch import Batch
from vla_training.data.dataset import EpisodeDataset
from vla_training.data.features import Features, Pick
from vla_training.data.prepared import episode_name

_FOLDER = 'pictures'


@dataclass(frozen=True, eq=False)
class PictureBatch(Batch):
    """B samples with the pictures that their features are to be made of, P passes each."""

    images: torch.Tensor  # (B, P, V, height, width, 3) uint8 RGB
    tasks: tuple[str, ...]  # (B,) instruction in force at the newest image set

    def to(self, device: torch.device | str) -> 'PictureBatch':
        """Move all tensors."""
        moved = super().to(device)
        parts = {item.name: getattr(moved, item.name) for item in fields(Batch)}
        return PictureBatch(**parts, images=self.images.to(device), tasks=self.tasks)


class PictureDataset(EpisodeDataset):
    """Samples as of `EpisodeDataset`, with pictures; `inputs.features` is empty. One thread."""

    def _open_features(self, cache: FeatureCache) -> Features:
        black = self.options.images == 'black'
        self._files = [
            None if black else PictureFile(path, cache.root, self._contract) for path in self.paths
        ]
        return _Empty()

    def _collate(self, picks: Sequence[Pick], absent: np.ndarray) -> PictureBatch:
        batch = super()._collate(picks, absent)
        parts = {item.name: getattr(batch, item.name) for item in fields(Batch)}
        images = np.stack([self._images(pick) for pick in picks])
        tasks = tuple(str(self._episodes[pick.episode].tasks[pick.images[0]]) for pick in picks)
        return PictureBatch(**parts, images=torch.from_numpy(images), tasks=tasks)

    def _images(self, pick: Pick) -> np.ndarray:
        """Pictures (P, V, height, width, 3) of a sample's image sets."""
        size, file = self._contract.images, self._files[pick.episode]
        digests = self._episodes[pick.episode].pictures[list(pick.images)]
        if file is None:
            return np.zeros((*digests.shape[:2], size.height, size.width, 3), np.uint8)
        return np.stack([[file.get(digest.tobytes()) for digest in seen] for seen in digests])


class PictureFile:
    """The JPEGs of one episode by their digest, copied out of its bag the first time."""

    def __init__(self, path: Path, root: Path, contract: Contract) -> None:
        self._size = contract.images
        copied = root / _FOLDER / f'{episode_name(path, contract)}.npz'
        try:
            self._read(copied)
        except DAMAGED:  # or not there yet
            _copy(path, copied, contract)
            self._read(copied)

    def _read(self, copied: Path) -> None:
        with np.load(copied, allow_pickle=False) as file:
            self._jpegs = file['jpegs']
            rows = zip(file['digests'], file['starts'].tolist(), file['stops'].tolist())
            self._places = {digest.tobytes(): (start, stop) for digest, start, stop in rows}

    def get(self, digest: bytes) -> np.ndarray:
        """Picture (height, width, 3) uint8 RGB at the model's size."""
        start, stop = self._places[digest]
        if start == stop:
            return np.zeros((self._size.height, self._size.width, 3), np.uint8)
        return decode_jpeg(self._jpegs[start:stop].tobytes(), self._size.width, self._size.height)


def _copy(path: Path, target: Path, contract: Contract) -> None:
    """Write the file; a picture that cannot be decoded becomes the last good one of its view."""
    kept: dict[bytes, bytes] = {}
    before = [b''] * len(contract.views)
    with open_bag(path) as bag:
        for images in image_sets(bag, contract):
            for view, picture in enumerate(images.pictures):
                digest = picture_digest(picture.jpeg)
                if digest not in kept:
                    kept[digest] = picture.jpeg if _good(picture.jpeg, contract) else before[view]
                before[view] = kept[digest]
    stops = np.cumsum([len(jpeg) for jpeg in kept.values()], dtype=np.int64)
    starts = stops - [len(jpeg) for jpeg in kept.values()]
    arrays = {
        'jpegs': np.frombuffer(b''.join(kept.values()), np.uint8),
        'digests': np.array([np.frombuffer(key, np.uint8) for key in kept]),
        'starts': starts,
        'stops': stops,
    }
    replace_file(target, lambda partial: np.savez(partial, **arrays))


def _good(jpeg: bytes, contract: Contract) -> bool:
    try:
        decode_jpeg(jpeg, contract.images.width, contract.images.height)
    except BadImage:
        return False
    return True


class _Empty:
    """Stands for features that the encoder makes."""

    def get(self, episode: int, images: int) -> np.ndarray:
        """Features (0, 0)."""
        return np.zeros((0, 0), np.float16)
