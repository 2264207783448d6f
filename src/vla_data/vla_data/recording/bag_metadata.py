"""metadata.yaml of a rosbag2 folder (version 9, Jazzy): written whole or not at all.

Used by the writer, the recovery and the tagging. It deliberately reads no message and judges
nothing; what is in `custom` is the caller's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vla_core.disk import replace_whole
from vla_data.errors import BagError

FILE_NAME = 'metadata.yaml'
VERSION = 9  # of the layout, written by ROS 2 Jazzy
INFORMATION = 'rosbag2_bagfile_information'
# CSafeLoader is ten times as fast; PyYAML may have been built without it.
_Loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


@dataclass(frozen=True)
class TopicCount:
    """One topic as metadata.yaml lists it. `qos`: offered profiles in rosbag2's spelling."""

    name: str
    type: str
    count: int
    qos: list[dict[str, Any]] = field(default_factory=list)
    type_hash: str = ''  # RIHS01_...


@dataclass(frozen=True)
class FileCount:
    """One storage file: its name, message count, first and last log time (ns, 0 when empty)."""

    name: str
    count: int = 0
    start_ns: int = 0
    end_ns: int = 0


def document(
    files: list[FileCount], topics: list[TopicCount], custom: Mapping[str, str]
) -> dict[str, Any]:
    """Return the content of metadata.yaml for an MCAP bag of these files, oldest first."""
    filled = [file for file in files if file.count]
    start_ns = min((file.start_ns for file in filled), default=0)
    end_ns = max((file.end_ns for file in filled), default=0)
    information = {
        'version': VERSION,
        'storage_identifier': 'mcap',
        'duration': {'nanoseconds': end_ns - start_ns},
        'starting_time': {'nanoseconds_since_epoch': start_ns},
        'message_count': sum(file.count for file in files),
        'topics_with_message_count': [_topic(topic) for topic in topics],
        'compression_format': '',  # rosbag2 does not count compression inside the MCAP
        'compression_mode': '',
        'relative_file_paths': [file.name for file in files],
        'files': [
            {
                'path': file.name,
                'starting_time': {'nanoseconds_since_epoch': file.start_ns},
                'duration': {'nanoseconds': file.end_ns - file.start_ns},
                'message_count': file.count,
            }
            for file in files
        ],
        'custom_data': dict(custom) or None,
        'ros_distro': 'jazzy',
    }
    return {INFORMATION: information}


def _topic(topic: TopicCount) -> dict[str, Any]:
    return {
        'topic_metadata': {
            'name': topic.name,
            'type': topic.type,
            'serialization_format': 'cdr',
            'offered_qos_profiles': topic.qos,
            'type_description_hash': topic.type_hash,
        },
        'message_count': topic.count,
    }


def to_text(content: Mapping[str, Any]) -> str:
    """Return the YAML text; long lines stay whole, so that a JSON value can be read by eye."""
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, width=10_000)


class _PlainDumper(yaml.SafeDumper):
    """No `&id001` anchors: rosbag2's reader must not need to know them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never an alias."""
        return True


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace metadata.yaml in one step; OSError when the disk refuses, the old one stays."""
    text = to_text(content)
    replace_whole(folder / FILE_NAME, lambda partial: partial.write_text(text, encoding='utf-8'))


def read(folder: Path) -> dict[str, Any] | None:
    """Return the inner map of metadata.yaml; None without such a file.

    BagError when the file is not what rosbag2 writes (torn, empty, another format).
    """
    path = folder / FILE_NAME
    try:
        content = yaml.load(path.read_text(encoding='utf-8'), Loader=_Loader)  # noqa: S506
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BagError(path, f'cannot be read ({error.strerror})') from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise BagError(path, f'is not YAML ({" ".join(str(error).split())[:120]})') from error
    information = content.get(INFORMATION) if isinstance(content, dict) else None
    paths = information.get('relative_file_paths') if isinstance(information, dict) else None
    if not isinstance(paths, list) or not all(isinstance(name, str) for name in paths):
        raise BagError(path, 'is no rosbag2 metadata')
    return information


def custom_data(information: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the custom map of a bag; empty when it has none."""
    custom = (information or {}).get('custom_data')
    return {str(k): str(v) for k, v in custom.items()} if isinstance(custom, dict) else {}


def replace_custom(folder: Path, custom: Mapping[str, str]) -> None:
    """Write other custom data into an existing metadata.yaml; everything else stays."""
    information = read(folder)
    if information is None:
        raise BagError(folder / FILE_NAME, 'no such file')
    write(folder, {INFORMATION: {**information, 'custom_data': dict(custom) or None}})
