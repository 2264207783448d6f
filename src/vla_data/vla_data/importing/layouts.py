"""Which legacy layout a path has, and the recordings below it.

Called by `vla import`. Deliberately no deep search: a path is a recording, or a folder of
recordings, or a folder of such folders.
"""

from collections.abc import Callable
from pathlib import Path

from vla_data.importing.collector import is_collector, read_collector
from vla_data.importing.hdf5 import is_v4, read_v4
from vla_data.importing.options import ImportOptions
from vla_data.importing.recv_all import is_recv_all, read_recv_all
from vla_data.importing.report import LegacyDataError
from vla_data.importing.streams import LegacyEpisode

Reader = Callable[[Path, ImportOptions], LegacyEpisode]
DEPTH = 3
LAYOUTS: dict[str, tuple[Callable[[Path], bool], Reader]] = {
    'collector': (is_collector, read_collector),
    'recv_all': (is_recv_all, read_recv_all),
    'v4': (is_v4, read_v4),
}


def layout_of(path: Path) -> str | None:
    """Return the layout of one recording, None when the path is none."""
    return next((name for name, (fits, _) in LAYOUTS.items() if fits(path)), None)


def find_recordings(path: Path) -> list[tuple[Path, str]]:
    """Return (path, layout) of every recording at or below a path, by name.

    LegacyDataError when there is none, naming what was looked for.
    """
    if not path.exists():
        raise LegacyDataError(path, 'no such file or folder')
    found = _search(path, DEPTH)
    if not found:
        raise LegacyDataError(
            path,
            'no legacy recording: expected a collector episode (metadata.json, images/), a '
            'receiver session (View*/, robot_state_*.csv) or a v4 file (.h5, .hdf5)',
        )
    return found


def read_recording(path: Path, layout: str, options: ImportOptions) -> LegacyEpisode:
    """Read one recording of a known layout."""
    return LAYOUTS[layout][1](path, options)


def _search(path: Path, depth: int) -> list[tuple[Path, str]]:
    layout = layout_of(path)
    if layout is not None:
        return [(path, layout)]
    if depth == 0 or not path.is_dir():
        return []
    return [item for child in sorted(path.iterdir()) for item in _search(child, depth - 1)]
