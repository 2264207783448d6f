"""What all episodes of a recorder have in common: contract, calibration, software version.

Called by the recorder node when it is configured, so that a wrong file is told before an episode
depends on it. Deliberately no ROS.
"""

from pathlib import Path
import subprocess

from vla_core.config import load_yaml
from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_data.episode import EpisodeInfo

VERSION = '0.1.0'  # a test compares it with package.xml


def common_info(contract: Path, calibration: Path | None) -> EpisodeInfo:
    """Return what is known before any episode. ConfigError names the file that is wrong."""
    loaded = load_contract(contract)
    try:
        text = contract.read_text(encoding='utf-8')
    except OSError as error:
        raise VlaError(f'{contract}: cannot be read ({error.strerror})') from error
    return EpisodeInfo(
        contract_yaml=text,
        contract_hash=loaded.hash,
        software_version=software_version(),
        calibration=load_yaml(calibration) if calibration is not None else {},
        source='live',
    )


def software_version() -> str:
    """Return version and, in a checkout, commit, with '+changes' where files differ from it."""
    folder = Path(__file__).resolve().parent
    commit = _git(folder, 'rev-parse', '--short=12', 'HEAD')
    if not commit:
        return VERSION
    changes = '+changes' if _git(folder, 'status', '--porcelain', '-uno') else ''
    return f'{VERSION} {commit}{changes}'


def _git(folder: Path, *words: str) -> str:
    try:
        result = subprocess.run(
            ['git', '-C', str(folder), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=5.0,
        )
    except (OSError, subprocess.TimeoutExpired):  # no git, or a file system that hangs
        return ''
    return result.stdout.strip() if result.returncode == 0 else ''
