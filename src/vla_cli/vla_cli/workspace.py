"""Where things are: the checkout, run folders, the installed stack description, executables.

Used by the verbs. It reads the environment that colcon's setup files made and imports nothing of
ROS.
"""

from datetime import datetime
import os
from pathlib import Path
import shutil

from vla_core.errors import VlaError
from vla_core.stack import Process

BRINGUP = 'vla_bringup'
LATEST = 'latest_run'  # `latest` belongs to colcon


def root() -> Path:
    """Return the checkout whose install folder is sourced; without one the current folder."""
    for prefix in os.environ.get('COLCON_PREFIX_PATH', '').split(os.pathsep):
        if prefix and (Path(prefix).parent / 'launch' / 'stack.yaml').is_file():
            return Path(prefix).parent
    return Path.cwd()


def prefixes() -> list[Path]:
    """Return the installation prefixes, the uppermost overlay first."""
    return [
        Path(item) for item in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if item
    ]


def default_stack() -> Path:
    """Return the installed stack.yaml."""
    for prefix in prefixes():
        path = prefix / 'share' / BRINGUP / 'stack.yaml'
        if path.is_file():
            return path
    raise VlaError(
        f'the package {BRINGUP} is not installed here: run `make setup`, or source '
        'install/setup.bash, or give --stack FILE'
    )


def default_contract() -> Path:
    """Return the installed contract of the demo's task."""
    return default_stack().parent / 'config' / 'contract' / 'insertion.yaml'


def default_manifest() -> Path:
    """Return the installed manifest of the topics of an episode."""
    return default_stack().parent / 'config' / 'recorder' / 'manifest.yaml'


def shipped(name: str) -> Path:
    """Return a file of launch/, installed or, where nothing is sourced, of the checkout."""
    found = find_shipped(name)
    if found is None:
        raise VlaError(f'{name} is not installed here: run `make setup`')
    return found


def find_shipped(name: str) -> Path | None:
    """Return what `shipped` does, None where there is no such file."""
    for folder in (
        *(prefix / 'share' / BRINGUP for prefix in prefixes()),
        Path(__file__).resolve().parents[3] / 'launch',
    ):
        if (folder / name).is_file():
            return folder / name
    return None


def find_executable(package: str, executable: str) -> str:
    """Return the path of a package's executable, or of one in PATH when `package` is ''."""
    if not package:
        found = shutil.which(executable)
        if found is None:
            raise VlaError(f'{executable} is not in PATH: source install/setup.bash')
        return found
    for prefix in prefixes():
        path = prefix / 'lib' / package / executable
        if os.access(path, os.X_OK):
            return str(path)
    raise VlaError(f'the package {package} has no executable {executable} here: run `make setup`')


def command(process: Process) -> tuple[str, ...]:
    """Return the whole command line of a process."""
    return (find_executable(process.package, process.executable), *process.command_tail)


def new_run_dir(log_dir: Path | None) -> Path:
    """Create the folder of this run, log/run-<date>-<time>, and point log/latest_run at it."""
    base = log_dir or root() / 'log'
    name = datetime.now().strftime('run-%Y%m%d-%H%M%S')
    try:
        for suffix in ('', *(f'-{number}' for number in range(2, 100))):
            path = base / (name + suffix)
            if not path.exists():
                path.mkdir(parents=True)
                break
        link = base / f'.{LATEST}.{os.getpid()}'
        link.symlink_to(path.name)
        os.replace(link, base / LATEST)
    except OSError as error:
        raise VlaError(
            f'{base}: cannot make a folder for logs there ({error.strerror}); give --log-dir DIR'
        ) from error
    return path


def latest_run_dir(log_dir: Path | None = None) -> Path:
    """Return the folder of the newest run, which may not exist."""
    return (log_dir or root() / 'log') / LATEST
