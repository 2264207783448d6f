"""What a cached feature depends on, and the key that follows from it.

Used by everything that writes or reads the feature cache. Whatever could change a feature is part
of its key: weights, adapter, processor, pooling, size of the pictures, number format, instruction
and the pictures themselves. A change can therefore only miss, never hit something stale.
Deliberately loads no weights: a checkpoint's manifest already tells their hashes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
from os import PathLike
from pathlib import Path

from vla_core.errors import VlaError
from vla_policy import manifest
from vla_policy.checkpoint import Manifest, read_manifest
from vla_policy.checkpoint_format import BACKBONE, POOLING

FORMAT = 1  # of how pictures become features in this code; raise it when that changes
KEY_BYTES = 32


@dataclass(frozen=True)
class EncoderIdentity:
    """Everything but task and pictures. The same parts, the same features."""

    backbone: str  # weights, configuration, tokenizer and processor settings
    adapter: str  # '' without one
    pooling: str  # kind, sizes and weights
    width: int  # pixels that pictures are decoded to
    height: int
    dtype: str
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """64 hexadecimal digits over all parts."""
        return _digest(asdict(self))

    @property
    def name(self) -> str:
        """Short form, for folders and people."""
        return self.digest[:16]


def identity_of(
    checkpoint: str | PathLike[str], dtype: str, adapter: Mapping[str, str] | None = None
) -> EncoderIdentity:
    """Return the identity of a checkpoint's encoder computing in `dtype` ('float32', ...).

    `adapter`: name -> sha256 of the files of an adapter that is not merged. Raises
    CheckpointError, VlaError where the backbone is a hub name that this machine does not hold.
    """
    info = read_manifest(checkpoint)
    pooling = {'config': asdict(info.policy.pooling)}
    if POOLING in info.files:
        pooling['weights'] = info.files[POOLING].sha256
    return EncoderIdentity(
        backbone=_digest({'kind': info.policy.backbone.kind, 'files': _backbone_files(info)}),
        adapter=_digest(adapter) if adapter else '',
        pooling=_digest(pooling),
        width=info.contract.images.width,
        height=info.contract.images.height,
        dtype=dtype,
    )


def picture_digest(jpeg: bytes) -> bytes:
    """Sha256 (32 bytes) of one JPEG as it was recorded."""
    return hashlib.sha256(jpeg).digest()


def feature_key(identity: EncoderIdentity, task: str, pictures: Sequence[bytes]) -> bytes:
    """Key (32 bytes) of the features of one picture a view, in model order, under `task`.

    pictures: `picture_digest` of each.
    """
    digest = hashlib.sha256(bytes.fromhex(identity.digest))
    text = task.encode()
    digest.update(len(text).to_bytes(8, 'little') + text)
    digest.update(len(pictures).to_bytes(8, 'little'))
    for picture in pictures:
        digest.update(picture)
    return digest.digest()


def _backbone_files(info: Manifest) -> dict[str, str]:
    """Relative name -> sha256 of what the backbone is loaded from."""
    config = info.policy.backbone
    if config.source is None:
        prefix = f'{BACKBONE}/'
        return {
            name.removeprefix(prefix): entry.sha256
            for name, entry in info.files.items()
            if name.startswith(prefix)
        }
    return dict(config.files) or _hub_files(config.source)


def _hub_files(source: str) -> dict[str, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(source, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise VlaError(
            f'{source}: this machine does not hold the backbone; download it first'
        ) from error
    return {
        path.name: manifest.hash_file(path).sha256
        for path in sorted(folder.iterdir())
        if path.suffix in ('.json', '.safetensors')
    }


def _digest(parts: Mapping[str, object]) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()
