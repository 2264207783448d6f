"""What is wrong with the files of a bag, told before a library trips over it.

Called by `bag_reader` when a bag is opened. Looks at names, sizes, first and last bytes only;
deliberately reads no messages and repairs nothing: `recovery` does that.
"""

from pathlib import Path

from vla_data.errors import BagError

STORAGE_SUFFIXES = ('.mcap', '.db3')
MCAP_MAGIC = b'\x89MCAP0\r\n'
SQLITE_MAGIC = b'SQLite format 3\x00'
ROS1_MAGIC = b'#ROSBAG V2.0'
LEGACY_NAMES = ('robot_state*.csv', 'robot_states.*', 'sensor_data*.npz', 'metadata.json')


def check_path(path: Path) -> None:
    """Raise BagError unless `path` looks like a bag: a rosbag2 folder, or one .mcap or .db3."""
    if not path.exists():
        raise BagError(path, 'does not exist')
    if not path.is_dir():
        check_storage_file(path)
        return
    if not (path / 'metadata.yaml').is_file():
        raise _no_metadata(path)
    storage = [item for item in sorted(path.iterdir()) if is_storage(item)]
    if not storage:
        raise BagError(path, 'metadata.yaml is there but no .mcap or .db3 file')
    for item in storage:
        check_storage_file(item)


def is_storage(path: Path) -> bool:
    """Say whether the name is that of a bag's storage file, compressed as a whole or not."""
    stem = path.with_suffix('') if path.suffix == '.zstd' else path
    return stem.suffix in STORAGE_SUFFIXES


def check_storage_file(path: Path) -> None:
    """Raise BagError when a storage file is empty, cut off, or no storage file at all."""
    try:
        size = path.stat().st_size
        with path.open('rb') as file:
            head = file.read(16)
            file.seek(max(0, size - 8))
            tail = file.read(8)
    except OSError as error:
        raise BagError(path, f'cannot be read ({error.strerror})') from error
    if size == 0:
        raise BagError(path, 'is an empty file')
    if path.suffix == '.zstd':
        return
    if head.startswith(ROS1_MAGIC) or path.suffix == '.bag':
        raise BagError(path, 'is a ROS 1 bag', 'convert it with `rosbags-convert`')
    if path.suffix == '.mcap':
        _check_mcap(path, head, tail)
    elif path.suffix == '.db3':
        _check_sqlite(path, head, size)
    else:
        raise BagError(path, 'is not a bag: expected a rosbag2 folder, a .mcap or a .db3 file')


def _check_mcap(path: Path, head: bytes, tail: bytes) -> None:
    if not head.startswith(MCAP_MAGIC):
        raise BagError(path, 'is not an MCAP file (its first bytes are not MCAP)')
    if tail != MCAP_MAGIC:
        raise BagError(path, 'is cut off: the end of the MCAP file is missing')


def _check_sqlite(path: Path, head: bytes, size: int) -> None:
    if not head.startswith(SQLITE_MAGIC[: len(head)]) or len(head) < len(SQLITE_MAGIC):
        raise BagError(path, 'is not a SQLite file (its first bytes are not SQLite)')
    with path.open('rb') as file:
        file.seek(16)
        page = int.from_bytes(file.read(2), 'big')
        file.seek(28)
        pages = int.from_bytes(file.read(4), 'big')
    page = 65536 if page == 1 else page
    if pages and size < page * pages:
        raise BagError(path, f'is cut off: {size} of {page * pages} bytes are there')


def _no_metadata(path: Path) -> BagError:
    if any(is_storage(item) for item in path.iterdir()):
        return BagError(path, 'metadata.yaml is missing: the recording was not closed')
    if any(any(path.glob(pattern)) for pattern in LEGACY_NAMES):
        return BagError(path, 'is not a bag', 'older recordings are read by `vla import`')
    return BagError(path, 'is not a bag: neither metadata.yaml nor a .mcap or .db3 file in it')
