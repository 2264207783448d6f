"""Files that `vla eval` writes: tried before the run, and what stands at the head of the JSON.

Used by the verb. Whatever cannot be written is a VlaError that names the option. Deliberately
draws and measures nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError

SUFFIXES = {'plot': ('.png', '.pdf', '.svg'), 'video': ('.mp4', '.mov', '.mkv')}


def check_outputs(args) -> None:
    """VlaError for a file that could not be written after the run; changes none."""
    for option in ('json', 'plot', 'video'):
        path = getattr(args, option)
        if path is not None:
            with writing(option, path):
                _check(f'--{option} {path}', path, SUFFIXES.get(option, ()))


def _check(what: str, path: Path, suffixes: tuple[str, ...]) -> None:
    if path.is_dir():
        raise VlaError(f'{what}: is a folder; name a file in it')
    if suffixes and path.suffix.lower() not in suffixes:
        raise VlaError(f'{what}: expected a name that ends in {", ".join(suffixes)}')
    if not path.absolute().parent.is_dir():
        raise VlaError(f'{what}: the folder {path.parent} does not exist')
    new = not os.path.lexists(path)
    if new or path.is_file():
        path.open('ab').close()
    if new:
        path.unlink()


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """An OSError meanwhile is a VlaError that names the option."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise VlaError(f'--{option} {path}: cannot be written ({reason})') from error


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a result; VlaError where that fails."""
    with writing('json', path):
        path.write_text(json.dumps(data, indent=1) + '\n')


def header(args) -> dict[str, Any]:
    """Who is measured, on which seeds, by which code; `checkpoint_hash` as at the begin."""
    from vla_recorder.common import software_version

    who = args.policy or (str(args.checkpoint) if args.checkpoint else 'several')
    return {
        'policy': who,
        **identity(args.checkpoint),
        'seeds': [args.seeds[0], args.seeds[-1]],
        'live': args.live,
        'version': software_version(),
    }


def identity(folder: Path | None) -> dict[str, str | None]:
    """Path and hash of a checkpoint as `vla checkpoint show` prints it, None without one."""
    if folder is None:
        return {'checkpoint': None, 'checkpoint_hash': None}
    from vla_policy.checkpoint import read_manifest

    digest = read_manifest(folder).checkpoint_hash
    return {'checkpoint': str(folder), 'checkpoint_hash': digest}
