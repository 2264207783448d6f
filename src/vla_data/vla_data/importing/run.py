"""One legacy recording into one episode folder, whole or not at all.

Called by `vla import` for each recording. The episode is made in a hidden folder beside its place
and moved there when it is complete, so that an interrupted import leaves no half episode.
"""

from pathlib import Path
import tempfile

from vla_core.contract import Contract
from vla_core.errors import VlaError
from vla_data.importing.layouts import read_recording
from vla_data.importing.options import ImportOptions
from vla_data.importing.report import ImportReport, LegacyDataError
from vla_data.importing.write import episode_info, write_episode
from vla_data.recording.writer import EpisodeWriter


def import_recording(
    path: Path, layout: str, options: ImportOptions, contract: Contract, out: Path
) -> tuple[Path, ImportReport]:
    """Import one recording below `out`; return the episode's folder and the report.

    VlaError in one line when the recording cannot be used, or the folder is there already.
    """
    episode = read_recording(path, layout, options)
    if not (episode.images or episode.robot or episode.sensor):
        raise LegacyDataError(path, 'holds nothing usable: ' + _absences(episode.report))
    target = out / _safe(episode.name)
    if target.exists():
        raise VlaError(f'{target}: exists already; import into another folder, or remove it')
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='.import-', dir=out) as hidden:
            made = Path(hidden, target.name)
            with EpisodeWriter(made, episode_info(episode, contract, options)) as writer:
                write_episode(episode, contract, options, writer)
            made.rename(target)
    except OSError as error:
        raise VlaError(f'{target}: cannot be written ({error.strerror or error})') from error
    return target, episode.report


def _absences(report: ImportReport) -> str:
    absent = [item.text for item in report.findings if item.action == 'absent']
    return '; '.join(absent) or 'no stream at all'


def _safe(name: str) -> str:
    return ''.join(char if char.isalnum() or char in '-_.' else '_' for char in name)
