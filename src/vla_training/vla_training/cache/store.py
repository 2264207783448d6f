"""Features on disk: safetensors shards of one encoder, each with the keys of what it holds.

Written by `vla cache`, read by training. A shard appears whole or not at all (written beside,
synced, renamed) and tells its own keys, so there is no index that could disagree with it: the
index is read from the shards when the folder is opened. A killed run loses its unfinished shard,
no more. Deliberately computes no feature and no key.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
import fcntl
import json
import os
from os import PathLike
from pathlib import Path
import shutil
from typing import Any
import uuid

import numpy as np

from vla_core.disk import PARTIAL
from vla_core.errors import VlaError
from vla_training.cache.files import replace_file
from vla_training.cache.identity import EncoderIdentity, feature_key, identity_of, KEY_BYTES

FEATURES, ABOUT, LOCK = 'features', 'about.json', '.lock'
_SUFFIX = '.safetensors'
_FORMATS = ('float32', 'bfloat16', 'float16')
_KEEP_FREE = 256 * 1024**2  # bytes of the disk that are left to others


class FeatureCache:
    """The features of one encoder. One thread; may be pickled: files are opened when needed."""

    def __init__(self, folder: str | PathLike[str], identity: EncoderIdentity) -> None:
        """Open `folder` for one encoder, whether or not anything of it is there yet."""
        self.root, self.identity = Path(folder), identity
        self.folder = self.root / FEATURES / identity.name
        self._places: dict[bytes, tuple[str, int]] = {}  # key -> shard, row
        self._known: set[str] = set()
        self._open: dict[str, object] = {}
        self._size: tuple[Path, list[int]] | None = None  # (T, D), and the shard that tells
        self.refresh()

    @classmethod
    def for_checkpoint(
        cls, folder: str | PathLike[str], checkpoint: str | PathLike[str]
    ) -> 'FeatureCache':
        """Open what `vla cache` made for a checkpoint. VlaError where there is nothing."""
        there = cls.filled(folder, checkpoint)
        if there is None:
            raise VlaError(
                f'{folder}: holds no features of {checkpoint}; make them with: vla cache '
                f'--checkpoint {checkpoint} --episodes DIR --out {folder}'
            )
        return there

    @classmethod
    def filled(
        cls, folder: str | PathLike[str], checkpoint: str | PathLike[str]
    ) -> 'FeatureCache | None':
        """Open what is there of a checkpoint, in the number format it has; None: nothing is.

        VlaError where there are several formats: training takes one.
        """
        identity = identity_of(checkpoint, _FORMATS[0])
        found = [cls(folder, replace(identity, dtype=name)) for name in _FORMATS]
        filled = [cache for cache in found if len(cache)]
        if len(filled) > 1:
            formats = ' and '.join(cache.identity.dtype for cache in filled)
            places = ' or '.join(f'{cache.folder} ({cache.identity.dtype})' for cache in filled)
            raise VlaError(
                f'{folder}: holds features in {formats}, and training takes one: remove {places}; '
                'vla cache --dtype NAME goes on with one'
            )
        return filled[0] if filled else None

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def key(self, task: str, pictures: Iterable[bytes]) -> bytes:
        """Key of pictures (their digests, in model order) under a task."""
        return feature_key(self.identity, task, tuple(pictures))

    def get(self, key: bytes) -> np.ndarray:
        """Features (T, D) float16; KeyError where they are not there."""
        shard, row = self._places[key]
        return self._shard(shard).get_slice('tokens')[row]

    def refresh(self) -> None:
        """Take up shards that have come since. VlaError names a damaged one."""
        for path in sorted(self.folder.glob(f'*{_SUFFIX}')):
            if path.name in self._known or path.name.startswith('.'):
                continue
            keys = self._shard(path.name).get_tensor('keys')
            for row, key in enumerate(keys):
                self._places.setdefault(key.tobytes(), (path.name, row))
            self._known.add(path.name)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, '_open': {}}

    def _shard(self, name: str) -> Any:  # of a class of safetensors' own extension
        if name not in self._open:
            from safetensors import safe_open, SafetensorError

            path = self.folder / name
            try:
                file = safe_open(path, framework='numpy')
                self._check(path, file.get_slice('tokens'), file.get_slice('keys'))
            except (OSError, SafetensorError) as error:
                raise VlaError(
                    f'{path}: is damaged ({error}); delete it and run vla cache again'
                ) from error
            self._open[name] = file
        return self._open[name]

    def _check(self, path: Path, tokens: Any, keys: Any) -> None:
        """VlaError where a shard holds something else, or other features than the rest."""
        shape, types = tokens.get_shape(), (tokens.get_dtype(), keys.get_dtype())
        whole = len(shape) == 3 and keys.get_shape() == [shape[0], KEY_BYTES]
        if not whole or types != ('F16', 'U8'):
            raise VlaError(f'{path}: is no shard of features; delete it and run vla cache again')
        other, size = self._size or (path, shape[1:])
        if shape[1:] != size:
            raise VlaError(
                f'{path}: holds features of {shape[1]} x {shape[2]}, {other} of {size[0]} x '
                f'{size[1]}; delete both and run vla cache again'
            )
        self._size = other, size


class SizeLimit:
    """How large the whole cache may grow. One thread."""

    def __init__(self, root: Path, max_bytes: float) -> None:
        self._root, self._max_bytes = root, max_bytes

    def check(self, more_bytes: int) -> None:
        """Raise VlaError where `more_bytes` would exceed the limit, or fill the disk."""
        self._root.mkdir(parents=True, exist_ok=True)
        present = folder_bytes(self._root)
        if present + more_bytes > self._max_bytes:
            raise VlaError(
                f'{self._root}: holds {present / 1e9:.2f} GB and would exceed --max-gb '
                f'{self._max_bytes / 1e9:g}; allow more, or delete old folders in '
                f'{self._root / FEATURES}. What is done stays'
            )
        free = shutil.disk_usage(self._root).free
        if more_bytes + _KEEP_FREE > free:
            raise VlaError(
                f'{self._root}: the disk has {free / 1e9:.2f} GB left, too little for another '
                f'{more_bytes / 1e6:.0f} MB; make room. What is done stays'
            )


class ShardWriter:
    """Collects features and writes them shard by shard; the last at `close`. One thread."""

    def __init__(
        self, cache: FeatureCache, limit: Callable[[int], None] = lambda size: None,
        shard_sets: int = 256,
    ) -> None:  # fmt: skip
        """`limit` is asked before every shard, with its size in bytes."""
        self._cache, self._limit, self._shard_sets = cache, limit, shard_sets
        self._rows: dict[bytes, np.ndarray] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows or key in self._cache

    def add(self, key: bytes, tokens: np.ndarray) -> None:
        """Take in features (T, D) float16 of one key."""
        self._rows[key] = np.asarray(tokens, np.float16)
        if len(self._rows) >= self._shard_sets:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected as one shard."""
        if not self._rows:
            return
        tokens = np.stack(list(self._rows.values()))
        keys = np.frombuffer(b''.join(self._rows), np.uint8).reshape(-1, KEY_BYTES)
        self._limit(tokens.nbytes + keys.nbytes)
        write_shard(self._cache.folder, self._cache.identity, keys, tokens)
        self._rows.clear()
        self._cache.refresh()


def write_shard(
    folder: Path, identity: EncoderIdentity, keys: np.ndarray, tokens: np.ndarray
) -> Path:
    """Write keys (N, 32) uint8 and tokens (N, T, D) float16 as a new file; return it."""
    from safetensors.numpy import save_file

    about = folder / ABOUT
    if not about.exists():
        replace_file(about, lambda path: path.write_text(json.dumps(asdict(identity), indent=1)))
    target = folder / f'{uuid.uuid4().hex[:16]}{_SUFFIX}'
    replace_file(target, lambda path: save_file({'keys': keys.copy(), 'tokens': tokens}, path))
    return target


def folder_bytes(root: Path) -> int:
    """Bytes of all files at and below `root`."""
    return sum(
        os.stat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(root)
        for name in names
        if os.path.exists(os.path.join(folder, name))
    )


class WriteLock:
    """One process tree writes into a folder at a time; removes what killed ones left."""

    def __init__(self, root: Path) -> None:
        """VlaError where another run holds the folder, or it cannot be made."""
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._file = (root / LOCK).open('w')
        except OSError as error:
            raise VlaError(f'{root}: cannot be written to ({error.strerror})') from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise VlaError(f'{root}: another vla cache is writing there; wait for it') from error
        self.removed = _remove_partial(root)

    def __enter__(self) -> 'WriteLock':
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _remove_partial(root: Path) -> int:
    """Remove unfinished files and folders of killed runs; return how many."""
    found = list(root.rglob(f'{PARTIAL}*'))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(found)
