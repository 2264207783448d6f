#!/usr/bin/env python3
"""Turn a bare checkout into a built workspace. Called by the Makefile; standard library only.

Steps, each skipped when its result is there: check the Python version, install missing system packages, make `.venv` from
requirements.lock, point the ROS wheels' CMake files at this machine, `colcon build`. Every failure is one line that says
what to do, with exit code 1. It deliberately starts nothing.
"""
import ctypes.util
import hashlib
import os
from pathlib import Path
import platform
import shutil
import subprocess
import sys
import sysconfig

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / '.venv'
LOCK = ROOT / 'requirements.lock'
BUILD_LOG = ROOT / 'log' / 'bootstrap.log'
PYTHONS = ((3, 11), (3, 12), (3, 13))
# Files that decide what colcon builds; with --symlink-install a change in a .py file needs no build.
BUILD_INPUTS = ('package.xml', 'setup.py', 'setup.cfg', 'CMakeLists.txt', '*.msg', '*.srv', '*.action')


class SetupError(Exception):
    """Something the user has to mend; the message says how."""


def say(text):
    """Print one progress line at once."""
    print(f'[setup] {text}', flush=True)


def run(command, **kwargs):
    """Run a command into the log; a failure names the log and its last lines."""
    BUILD_LOG.parent.mkdir(exist_ok=True)
    with BUILD_LOG.open('ab') as log:
        result = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, **kwargs)
    if result.returncode != 0:
        tail = BUILD_LOG.read_text(errors='replace').splitlines()[-15:]
        raise SetupError('\n'.join(tail) + f'\n`{" ".join(map(str, command))}` failed; the whole log: {BUILD_LOG}')


def with_ros():
    """Say whether ROS 2 Jazzy is sourced in this shell; another distribution is refused."""
    distro = os.environ.get('ROS_DISTRO', '')
    if distro not in ('', 'jazzy'):
        raise SetupError(f'ROS 2 {distro} is sourced, this suite is for Jazzy: open a shell without it, or source Jazzy')
    return distro == 'jazzy'


def find_python():
    """Return an interpreter of a supported version: this one, or one from PATH.

    Never one that lives in a virtual environment, least of all our own, which may have to be made anew.
    """
    if sys.version_info[:2] in PYTHONS:
        return getattr(sys, '_base_executable', sys.executable)
    for major, minor in PYTHONS:
        found = shutil.which(f'python{major}.{minor}')
        if found and subprocess.run([found, '-c', ''], capture_output=True, check=False).returncode == 0:
            return found
    wanted = ', '.join(f'{a}.{b}' for a, b in PYTHONS)
    raise SetupError(f'Python {platform.python_version()} is not supported (needs {wanted}): '
                     'install one, e.g. `sudo apt-get install python3.11 python3.11-venv python3.11-dev`')


def missing_system_packages(python):
    """Return the Debian packages whose files are not there."""
    version = subprocess.run([python, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])'],
                             capture_output=True, text=True, check=True).stdout.strip()
    header = subprocess.run([python, '-c', 'import sysconfig, os; '
                             'print(os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))'],
                            capture_output=True, text=True, check=True).stdout.strip()
    venv = subprocess.run([python, '-c', 'import venv, ensurepip'], capture_output=True, check=False).returncode == 0
    checks = (
        ('cmake', shutil.which('cmake')), ('g++', shutil.which('g++')), ('make', shutil.which('make')),
        ('git', shutil.which('git')), (f'python{version}-dev', header == 'True'), (f'python{version}-venv', venv),
        ('libegl1', ctypes.util.find_library('EGL')), ('libgl1', ctypes.util.find_library('GL')),
        ('libgl1-mesa-dri', has_mesa_driver()),
    )
    return [name for name, present in checks if not present]


def has_mesa_driver():
    """Say whether a software GL driver is installed (Debian and Ubuntu put it in one of these)."""
    library = Path('/usr/lib') / (sysconfig.get_config_var('MULTIARCH') or f'{platform.machine()}-linux-gnu')
    return (library / 'dri').is_dir() or any(library.glob('libgallium-*.so'))


def install_system_packages(python):
    """Install what is missing as root or by passwordless sudo; otherwise say the exact command."""
    missing = missing_system_packages(python)
    if not missing:
        return
    command = ['apt-get', 'install', '-y', '--no-install-recommends', *missing]
    prefix = [] if os.geteuid() == 0 else ['sudo', '-n']
    allowed = shutil.which('apt-get') and (
        not prefix or (shutil.which('sudo')
                       and subprocess.run(['sudo', '-n', 'true'], capture_output=True, check=False).returncode == 0))
    if not allowed:
        raise SetupError(f'system packages are missing; run: sudo {" ".join(command)}')
    say(f'installing system packages: {" ".join(missing)}')
    environment = dict(os.environ, DEBIAN_FRONTEND='noninteractive')
    run([*prefix, 'apt-get', 'update'], env=environment)
    run([*prefix, *command], env=environment)


def locked_requirements(ros):
    """Return the pinned lines that apply here."""
    wanted, section, lines = {'common', 'with-ros' if ros else 'without-ros'}, None, []
    for line in LOCK.read_text().splitlines():
        if line.startswith('# ['):
            section = line.strip('# []')
        elif line and not line.startswith('#') and section in wanted:
            lines.append(line)
    return lines


def make_environment(python, ros):
    """Create `.venv` with the locked packages, unless the same lock made it already."""
    requirements = locked_requirements(ros)
    key = hashlib.sha256('\n'.join([os.path.realpath(python), str(ros), *requirements]).encode()).hexdigest()
    stamp = VENV / '.setup-stamp'
    if stamp.exists() and stamp.read_text() == key:
        return
    if not ros and platform.machine() != 'x86_64':
        raise SetupError(f'the ROS 2 wheels exist for x86-64 only, this is {platform.machine()}: '
                         'install ROS 2 Jazzy (docs.ros.org/en/jazzy) and source it first')
    say('making .venv and installing the locked packages (some minutes the first time)')
    extra = ['--system-site-packages'] if ros else []
    if not (VENV / 'bin' / 'python').exists() or stamp.exists():
        run([python, '-m', 'venv', '--clear', *extra, str(VENV)])
    chosen = VENV / 'requirements.txt'
    chosen.write_text('\n'.join(requirements) + '\n')
    run([str(VENV / 'bin' / 'pip'), 'install', '--disable-pip-version-check', '-r', str(chosen)])
    (VENV / 'COLCON_IGNORE').touch()
    if not ros:
        relocate_cmake()
    stamp.write_text(key)


def relocate_cmake():
    """Replace the wheels' build-machine paths in their CMake exports by this environment's own."""
    code = 'import numpy, sysconfig; print(sysconfig.get_paths()["include"]); print(numpy.get_include())'
    environment = dict(os.environ, _ROS_WHEELS_BOOTSTRAP_COMPLETE='1')
    include, numpy_include = subprocess.run([str(VENV / 'bin' / 'python'), '-c', code], env=environment,
                                            capture_output=True, text=True, check=True).stdout.split()
    version = '{}.{}'.format(*sys_version(VENV / 'bin' / 'python'))
    tag = 'cp' + version.replace('.', '')
    for path in (VENV / 'share').rglob('*.cmake'):
        text = path.read_text(errors='surrogateescape')
        mended = text.replace(f'/opt/python/{tag}-{tag}/lib/python{version}/site-packages/numpy/_core/include', numpy_include)
        mended = mended.replace(f'/opt/python/{tag}-{tag}/include/python{version}', include)
        if mended != text:
            path.write_text(mended, errors='surrogateescape')


def sys_version(python):
    """Return (major, minor) of an interpreter."""
    out = subprocess.run([str(python), '-c', 'import sys; print(*sys.version_info[:2])'], capture_output=True,
                         text=True, check=True, env=dict(os.environ, _ROS_WHEELS_BOOTSTRAP_COMPLETE='1')).stdout
    return tuple(int(part) for part in out.split())


def workspace_key():
    """Hash everything whose change needs a new build: manifests, messages, and the list of installed launch files."""
    digest = hashlib.sha256((VENV / '.setup-stamp').read_bytes())
    for base in (ROOT / 'src', ROOT / 'launch'):
        for pattern in BUILD_INPUTS:
            for path in sorted(base.rglob(pattern)):
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    installed = sorted(p for p in (ROOT / 'launch').rglob('*') if p.is_file() and '__pycache__' not in p.parts)
    digest.update('\n'.join(str(p.relative_to(ROOT)) for p in installed).encode())
    return digest.hexdigest()


def build_environment(ros):
    """Return the environment variables colcon needs."""
    environment = dict(os.environ, PATH=f'{VENV / "bin"}{os.pathsep}{os.environ["PATH"]}', VIRTUAL_ENV=str(VENV))
    if not ros:
        environment.update(AMENT_PREFIX_PATH=str(VENV), CMAKE_PREFIX_PATH=str(VENV))
    return environment


def build(ros):
    """Run colcon unless nothing it depends on changed."""
    stamp, key = ROOT / 'install' / '.build-stamp', workspace_key()
    if stamp.exists() and stamp.read_text() == key:
        stamp.touch()  # tools/env.sh compares times
        return
    say('building the packages (about a minute)')
    # Only the interface package is compiled: 'make' on two cores is bound by the compiler, not by colcon.
    run([str(VENV / 'bin' / 'python'), '-m', 'colcon', '--log-base', str(ROOT / 'log'), 'build', '--base-paths', 'src', 'launch',
         '--merge-install', '--symlink-install', '--metas', str(ROOT / 'colcon.meta'),
         '--cmake-args', f'-DPython3_EXECUTABLE={VENV / "bin" / "python"}'],
        cwd=ROOT, env=build_environment(ros))
    stamp.write_text(key)


def main():
    """Do every step; return the exit code."""
    os.chdir(ROOT)
    try:
        ros = with_ros()
        python = find_python()
        install_system_packages(python)
        make_environment(python, ros)
        build(ros)
    except SetupError as error:
        print(f'[setup] {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
