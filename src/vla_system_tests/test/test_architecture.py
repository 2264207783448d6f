"""The shape of the repository: import arrows, style, types, manifests."""

from pathlib import Path
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = sorted(
    path.parent for path in (*ROOT.glob('src/*/package.xml'), ROOT / 'launch' / 'package.xml')
)
# How a module that is imported is called in a package.xml.
ROSDEP_KEYS = {
    'cv2': 'python3-opencv',
    'yaml': 'python3-yaml',
    'zmq': 'python3-zmq',
    'numpy': 'python3-numpy',
    'torch': 'python3-torch',
    'psutil': 'python3-psutil',
    'transformers': 'python3-transformers-pip',
    'mujoco': 'python3-mujoco-pip',
    'rich': 'python3-rich',
    'rosbags': 'python3-rosbags-pip',
    'h5py': 'python3-h5py',
    'matplotlib': 'python3-matplotlib',
    'zstandard': 'python3-zstandard',
}


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_arrows_point_one_way():
    script = Path(sys.executable).parent / 'lint-imports'
    result = run(str(script), '--no-cache')
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff_finds_nothing():
    result = run(sys.executable, '-m', 'ruff', 'check', '.')
    assert result.returncode == 0, result.stdout


def test_core_is_strictly_typed():
    result = run(sys.executable, '-m', 'mypy', str(ROOT / 'src' / 'vla_core' / 'vla_core'))
    assert result.returncode == 0, result.stdout


def test_launch_folder_never_shadows_the_launch_module():
    assert not (ROOT / 'launch' / '__init__.py').exists()


@pytest.mark.parametrize('package', PACKAGES, ids=lambda path: path.name)
def test_package_manifest_is_complete(package):
    root = ElementTree.parse(package / 'package.xml').getroot()
    assert root.get('format') == '3'
    assert root.findtext('license') == 'Apache-2.0'
    assert root.findtext('description').strip()


def imported_modules(package):
    pattern = re.compile(r'^\s*(?:from|import) ([a-zA-Z0-9_]+)', re.MULTILINE)
    sources = (package / package.name).rglob('*.py')
    return {name for path in sources for name in pattern.findall(path.read_text())}


@pytest.mark.parametrize(
    'package',
    [path for path in PACKAGES if (path / path.name).is_dir()],
    ids=lambda path: path.name,
)
def test_package_manifest_names_what_the_code_imports(package):
    root = ElementTree.parse(package / 'package.xml').getroot()
    declared = {element.text for element in root if element.tag.endswith('depend')}
    suite = {path.name for path in PACKAGES}
    needed = {ROSDEP_KEYS[name] for name in imported_modules(package) if name in ROSDEP_KEYS}
    needed |= {
        name
        for name in imported_modules(package)
        if name in suite or name == 'rclpy' or name.endswith('_msgs')
    } - {package.name}
    assert needed <= declared, f'package.xml lacks {sorted(needed - declared)}'
