"""The demo's checkpoint: the trained one that is shipped, or an untrained one made here.

Used by `vla demo` and `vla bench live`. An untrained one is made where contract or layout have
changed since the shipped one was trained; that runs in a process of its own: torch would stay in
memory here.
"""

import json
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

from vla_cli import workspace
from vla_cli.arguments import say
from vla_core.contract import load_contract
from vla_core.errors import VlaError
from vla_policy.version import POLICY_FORMAT

PRESET = 'nano'
SHIPPED = f'checkpoints/{PRESET}/manifest.json'


def ensure_checkpoint(root: Path) -> Path:
    """Return the shipped checkpoint where it fits, else an untrained one, made anew if need be."""
    shipped = workspace.find_shipped(SHIPPED)
    if shipped is not None and fits(shipped.parent):
        return shipped.parent
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


def is_trained(folder: Path) -> bool:
    """Say whether a checkpoint claims to be trained; False where it cannot be read."""
    return _policy(folder).get('trained') is True


def fits(folder: Path) -> bool:
    """Say whether the folder holds a complete checkpoint for this code and contract."""
    policy = _policy(folder)
    wanted = {
        'format': POLICY_FORMAT,
        'contract_hash': load_contract(workspace.default_contract()).hash,
    }
    same = all(policy.get(key) == value for key, value in wanted.items())
    return same and (folder / 'manifest.json').is_file()


def _policy(folder: Path) -> dict[str, Any]:
    """What policy.json says; nothing where it cannot be read."""
    try:
        policy = json.loads((folder / 'policy.json').read_text())
    except (OSError, ValueError):
        return {}
    return policy if isinstance(policy, dict) else {}
