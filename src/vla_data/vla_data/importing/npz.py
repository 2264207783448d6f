"""Arrays out of .npz files without loading them whole and without pickle.

Called by the readers of the layouts: `np.load` would read a member of gigabytes at once. A stored
(uncompressed) member is mapped where it lies; a compressed one is unpacked to a temporary file.
"""

from pathlib import Path
import shutil
import struct
import tempfile
from typing import Any
import zipfile

import numpy as np
from numpy.typing import NDArray

from vla_data.importing.report import LegacyDataError

_LOCAL_HEADER = struct.Struct('<26xHH')  # of a ZIP member: lengths of the name and of the extra


class NpzFile:
    """One .npz file, open. A context manager; the arrays are valid until it is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise LegacyDataError(path, f'not a readable npz file ({error})') from error

    def __enter__(self) -> 'NpzFile':
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __contains__(self, name: str) -> bool:
        return f'{name}.npy' in self._zip.namelist()

    @property
    def names(self) -> list[str]:
        """Names of the arrays inside."""
        return [name.removesuffix('.npy') for name in self._zip.namelist()]

    def close(self) -> None:
        """Close the file and remove what was unpacked."""
        self._zip.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def array(self, name: str, dimensions: int) -> NDArray[Any]:
        """Map one array, read-only. LegacyDataError when it is missing, broken or not numbers."""
        if name not in self:
            raise LegacyDataError(self._path, f'no array {name!r} (has: {", ".join(self.names)})')
        try:
            array = self._map(self._zip.getinfo(f'{name}.npy'))
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, struct.error) as error:
            raise LegacyDataError(self._path, f'array {name!r} cannot be read: {error}') from error
        if array.ndim != dimensions or array.dtype.kind not in 'fiu':
            raise LegacyDataError(
                self._path,
                f'array {name!r} of shape {array.shape} and type {array.dtype}: expected numbers '
                f'in {dimensions} dimensions',
            )
        return array

    def _map(self, member: zipfile.ZipInfo) -> NDArray[Any]:
        if member.compress_type != zipfile.ZIP_STORED:
            return _map_npy(self._unpack(member), 0)
        with self._path.open('rb') as file:
            file.seek(member.header_offset)
            name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        return _map_npy(self._path, start)

    def _unpack(self, member: zipfile.ZipInfo) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix='vla-import-')
        target = Path(self._folder.name, Path(member.filename).name)
        with self._zip.open(member) as source, target.open('wb') as file:
            shutil.copyfileobj(source, file, 1 << 20)
        return target


def _map_npy(path: Path, start: int) -> NDArray[Any]:
    with path.open('rb') as file:
        file.seek(start)
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        offset = file.tell()
    if dtype.hasobject:
        raise ValueError('it holds pickled objects, which are never loaded')
    if 0 in shape:
        return np.zeros(shape, dtype)
    order = 'F' if fortran else 'C'
    return np.memmap(path, dtype, 'r', offset, shape, order)
