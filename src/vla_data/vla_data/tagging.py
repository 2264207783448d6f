"""Changing what is known about a finished episode: outcome, tags, notes.

Used by `vla episodes tag` and by the recorder, when somebody judges an episode that has ended by
itself. Both copies are changed, in metadata.yaml and inside the MCAP file; messages are never
touched. Deliberately knows no command line.
"""

from dataclasses import replace
import os
from pathlib import Path
from typing import Any

from vla_data.episode import EpisodeInfo, has_info, info_from_strings, RECORD
from vla_data.errors import BagError
from vla_data.recording import bag_metadata, mcap_file, state
from vla_data.recording.outfile import lock
from vla_data.recovery import repair


def read_info(folder: Path) -> EpisodeInfo:
    """Return the episode's info from metadata.yaml; empty for a bag that has none."""
    custom = bag_metadata.custom_data(bag_metadata.read(folder))
    return info_from_strings(custom) if has_info(custom) else EpisodeInfo()


def change(folder: Path | str, **changes: Any) -> EpisodeInfo:
    """Set fields of EpisodeInfo, in both places; return the new info.

    Repairs the bag first if that is needed. BagError when it cannot be read or written.
    """
    folder = Path(folder)
    repair(folder)
    information = bag_metadata.read(folder)
    if information is None:
        raise BagError(folder, 'is no episode: it has no metadata.yaml')
    custom = bag_metadata.custom_data(information)
    info = replace(info_from_strings(custom), **changes)
    foreign = {key: value for key, value in custom.items() if not key.startswith('vla.')}
    told = state.with_state(info, state.state_of(custom) or state.FINISHED)
    try:
        bag_metadata.replace_custom(folder, {**foreign, **told})
        first = folder / Path(information['relative_file_paths'][0]).name
        if first.suffix == '.mcap':
            _replace_record(first, told)
    except OSError as error:
        raise BagError(folder, f'cannot be changed ({error.strerror})') from error
    return info


def change_tags(folder: Path | str, add: tuple[str, ...], remove: tuple[str, ...]) -> EpisodeInfo:
    """Add and remove tags; the order of the others stays."""
    repair(folder)
    tags = [tag for tag in read_info(Path(folder)).tags if tag not in remove]
    tags += [tag for tag in dict.fromkeys(add) if tag not in tags]
    return change(folder, tags=tuple(tags))


def _replace_record(file: Path, custom: dict[str, str]) -> None:
    """Put a newer metadata record before the end of the file; the newest one counts."""
    with file.open('r+b') as stream:
        if not lock(stream.fileno()):
            raise BagError(file, 'is in use by another process')
        size = os.fstat(stream.fileno()).st_size
        content = mcap_file.read_summary(stream, size) or mcap_file.scan(stream, size)
        if mcap_file.read_metadata(stream, content, RECORD) != custom:
            mcap_file.write_end(stream, content, {RECORD: custom})
            os.fsync(stream.fileno())
