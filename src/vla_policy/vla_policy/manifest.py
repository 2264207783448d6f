"""The manifest of a checkpoint: which files belong to it, their hashes, and the hash of the whole.

Used by `checkpoint` when writing and reading. A file that is missing, changed or foreign is an
error that names it. Deliberately knows nothing of what the files hold.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import hashlib
import json
from pathlib import Path
from typing import Any

from vla_policy.errors import CheckpointError

NAME = 'manifest.json'
FORMAT = 1
REMEDY = 'copy the checkpoint again or make a new one'


@dataclass(frozen=True)
class FileEntry:
    """One file of a checkpoint."""

    sha256: str
    size: int


def hash_file(path: Path) -> FileEntry:
    """Hash a file of any size."""
    with path.open('rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return FileEntry(digest, path.stat().st_size)


def list_files(folder: Path) -> list[str]:
    """Relative names of all files but the manifest, sorted."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())
    return sorted(name for name in files if name != NAME)


def checkpoint_hash(files: Mapping[str, FileEntry]) -> str:
    """Sixteen hexadecimal digits over the names and hashes of all files."""
    lines = ''.join(f'{name} {files[name].sha256}\n' for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def write(folder: Path) -> str:
    """Write the manifest of everything in `folder`; return the checkpoint's hash."""
    files = {name: hash_file(folder / name) for name in list_files(folder)}
    data = {
        'format': FORMAT,
        'checkpoint_hash': checkpoint_hash(files),
        'files': {
            name: {'sha256': entry.sha256, 'size': entry.size} for name, entry in files.items()
        },
    }
    (folder / NAME).write_text(json.dumps(data, indent=1) + '\n')
    return data['checkpoint_hash']


def read(folder: Path) -> tuple[str, dict[str, FileEntry]]:
    """Read the checkpoint's hash and files; nothing but the manifest itself is checked."""
    if not folder.is_dir():
        raise CheckpointError(
            folder,
            'no such checkpoint folder',
            'give the folder of a checkpoint, or make '
            'one with: vla checkpoint create --preset nano --out DIR',
        )
    path = folder / NAME
    if not path.is_file():
        raise CheckpointError(
            path, 'missing', 'this folder holds no complete checkpoint; ' + REMEDY
        )
    try:
        data = json.loads(path.read_text())
        files = {
            name: FileEntry(str(entry['sha256']), int(entry['size']))
            for name, entry in data['files'].items()
        }
        stated, version = data['checkpoint_hash'], data['format']
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise CheckpointError(path, f'not a manifest ({error!r})', REMEDY) from error
    if version != FORMAT:
        raise CheckpointError(
            path,
            f'has format {version}, this code reads {FORMAT}',
            'use the version of the code that made it',
        )
    if checkpoint_hash(files) != stated:
        raise CheckpointError(
            path, f'says hash {stated}, its files give {checkpoint_hash(files)}', REMEDY
        )
    return stated, files


def check_files(
    folder: Path,
    files: Mapping[str, FileEntry],
    prefixes: Iterable[str] = ('',),
    *,
    content: bool = True,
) -> None:
    """Check presence, size and, if `content`, hash of files whose names start with a prefix."""
    chosen = tuple(prefixes)
    for name, entry in files.items():
        if not name.startswith(chosen):
            continue
        path = folder / name
        if not path.is_file():
            raise CheckpointError(path, 'missing', REMEDY)
        if path.stat().st_size != entry.size:
            raise CheckpointError(
                path, f'has {path.stat().st_size} bytes, the manifest says {entry.size}', REMEDY
            )
        if content and (found := hash_file(path).sha256) != entry.sha256:
            raise CheckpointError(
                path, f'wrong hash {found[:16]}, the manifest says {entry.sha256[:16]}', REMEDY
            )
    for name in list_files(folder):
        if name.startswith(chosen) and name not in files:
            raise CheckpointError(
                folder / name,
                'does not belong to the checkpoint (not in the manifest)',
                'remove it',
            )


def as_json(data: Any) -> str:
    """Serialise in the one way that gives equal hashes for equal content."""
    return json.dumps(data, indent=1, sort_keys=True) + '\n'
