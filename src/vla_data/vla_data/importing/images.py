"""JPEG folders of the legacy layouts: times out of file names, right eyes left out, files checked.

Called by the readers of the collector and `recv_all_*` layouts. Deliberately decodes no image: the
JPEG passes into the episode as it is.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import re

import numpy as np

from vla_data.importing import times
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.streams import ImageStream

# 'zed_<serial>_left_<t>', 'ZED_<serial>_left_<t>', 'oak_CAM_A_<t>', or the bare time.
_NAME = re.compile(r'(?:(?P<camera>.+)_)?(?P<time>\d+(?:\.\d+)?)')
_SUFFIXES = ('.jpg', '.jpeg')


@dataclass(frozen=True)
class NamedImage:
    """One image file with what its name says."""

    path: Path
    camera: str  # '' where the name is a bare time
    time_s: float


def view_of(folder: str, options: ImportOptions) -> str:
    """Return our name of a legacy view: 'View3' is 'view3' unless --view says otherwise."""
    return options.views.get(folder, folder.lower())


def read_view(
    view: str, folders: list[Path], options: ImportOptions, report: ImportReport
) -> ImageStream | None:
    """Read the image files of one view (its folder and those of its eyes); None without any.

    LegacyDataError when two different cameras lie in one view in equal numbers.
    """
    files = [path for folder in folders for path in _files(folder)]
    named = _one_camera(view, _parse(view, files, report), report)
    named.sort(key=lambda image: image.time_s)
    stamps = times.to_ns(np.array([image.time_s for image in named], np.float64))
    kept = times.in_order(stamps, view, report, 'images')
    if not len(kept):
        report.absent('no_images', view, 'no usable image')
        return None
    stamps = stamps[kept] + round(options.offsets_s.get('cameras', 0.0) * 1e9)
    paths = [named[index].path for index in kept]
    return ImageStream(view, stamps, JpegLoader(view, report, lambda index: _read(paths[index])))


class JpegLoader:
    """Loads the images of one view, checks that each is a whole JPEG, counts what is not."""

    def __init__(self, view, report, fetch):
        self._view = view
        self._report = report
        self._fetch = fetch

    def __call__(self, index: int) -> bytes | None:
        """Return the JPEG of an index; None, and one finding, when it cannot be used."""
        data = self._fetch(index)
        if data is not None and is_whole_jpeg(data):
            return data
        size = 'unreadable' if data is None else f'{len(data)} bytes'
        text = f'image {index} is not a whole JPEG ({size})'
        self._report.dropped('bad_jpeg', self._view, 1, text)
        return None


def is_whole_jpeg(data: bytes) -> bool:
    """Say whether the bytes begin and end as a JPEG does (zeros may follow, as on the wire)."""
    return data.startswith(b'\xff\xd8\xff') and data[-16:].rstrip(b'\0').endswith(b'\xff\xd9')


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None  # reported by the loader


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def _parse(view: str, files: list[Path], report: ImportReport) -> list[NamedImage]:
    """Names to cameras and times; right eyes and names without a time are counted, left out."""
    good, right, nameless = [], 0, 0
    for path in files:
        match = _NAME.fullmatch(path.stem)
        if _is_right(path, match):
            right += 1
        elif match is None or not times.is_unix(np.array([float(match['time'])]))[0]:
            nameless += 1
        else:
            good.append(NamedImage(path, match['camera'] or '', float(match['time'])))
    report.dropped('right_eye', view, right, 'right-eye images: the views are the left eyes')
    report.dropped('no_time_in_name', view, nameless, 'file names without a Unix time')
    return good


def _is_right(path: Path, match: re.Match | None) -> bool:
    camera = (match['camera'] or '') if match else path.stem
    return path.parent.name.lower() == 'right' or 'right' in camera.lower().split('_')


def _one_camera(view: str, named: list[NamedImage], report: ImportReport) -> list[NamedImage]:
    """Keep the images of one camera: another's in the same folder would mix two viewpoints."""
    cameras = Counter(image.camera.lower() for image in named)
    if len(cameras) < 2:
        return named
    (first, most), (_, next_most) = cameras.most_common(2)
    if most == next_most:
        listing = ', '.join(sorted(cameras))
        raise LegacyDataError(
            report.source, f'{view} holds equally many images of several cameras ({listing})'
        )
    others = sum(cameras.values()) - most
    report.dropped('other_camera', view, others, f'images of a camera other than {first!r}')
    return [image for image in named if image.camera.lower() == first]
