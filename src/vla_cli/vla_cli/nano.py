"""The demo's checkpoint: made once, made anew when contract or layout has changed.

Used by `vla demo` and `vla bench live`. The creation runs in a process of its own: torch would
stay in memory here.
"""

import json
from pathlib import Path
import shutil
import subprocess
import sys

from vla_cli import workspace
from vla_cli.arguments import say
from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_policy.version import POLICY_FORMAT

PRESET = 'nano'


def ensure_checkpoint(root: Path) -> Path:
    """Return the demo's checkpoint, made anew when it is missing or for another contract."""
    folder = root / 'build' / 'checkpoints' / PRESET
    if fits(folder):
        return folder
    say(f'vla: making the {PRESET} checkpoint (once, about ten seconds)')
    if folder.exists():
        shutil.rmtree(folder)
    create = ('checkpoint', 'create', '--preset', PRESET, '--out', str(folder))
    command = [sys.executable, '-m', 'vla_cli.main', *create]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        tail = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
        raise VlaError(f'the {PRESET} checkpoint could not be made: {" ".join(tail)}')
    return folder


def fits(folder: Path) -> bool:
    """Say whether the folder holds a complete checkpoint for this code and contract."""
    try:
        policy = json.loads((folder / 'policy.json').read_text())
    except (OSError, ValueError):
        return False
    wanted = {
        'format': POLICY_FORMAT,
        'contract_hash': load_contract(workspace.default_contract()).hash,
    }
    same = all(policy.get(key) == value for key, value in wanted.items())
    return same and (folder / 'manifest.json').is_file()
