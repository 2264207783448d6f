"""tools/bootstrap.py: what it checks, and what it says when something is missing."""

import importlib.util
import os
from pathlib import Path
import re
import subprocess
import sys
import types

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bootstrap():
    spec = importlib.util.spec_from_file_location('bootstrap', ROOT / 'tools' / 'bootstrap.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_old_python_is_refused_with_what_to_install(bootstrap, monkeypatch):
    monkeypatch.setattr(bootstrap.sys, 'version_info', (3, 9, 2))
    monkeypatch.setattr(bootstrap.shutil, 'which', lambda name: None)
    with pytest.raises(bootstrap.SetupError, match='needs 3.11, 3.12, 3.13.*apt-get install'):
        bootstrap.find_python()


def test_another_ros_distribution_is_refused(bootstrap, monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(bootstrap.SetupError, match='humble.*Jazzy'):
        bootstrap.with_ros()


def test_missing_system_packages_are_named_in_a_command_when_not_allowed(bootstrap, monkeypatch):
    monkeypatch.setattr(bootstrap, 'missing_system_packages', lambda python: ['libegl1', 'cmake'])
    monkeypatch.setattr(bootstrap.os, 'geteuid', lambda: 1000)
    refused = types.SimpleNamespace(returncode=1)
    monkeypatch.setattr(bootstrap.subprocess, 'run', lambda *args, **kwargs: refused)
    with pytest.raises(bootstrap.SetupError, match='sudo apt-get install -y .*libegl1 cmake'):
        bootstrap.install_system_packages('python3')


def test_no_system_package_is_missing_on_this_machine(bootstrap):
    assert bootstrap.missing_system_packages(sys.executable) == []


def test_every_locked_requirement_is_pinned_exactly(bootstrap):
    for ros in (False, True):
        lines = bootstrap.locked_requirements(ros)
        names = [line.split('==')[0].lower() for line in lines]
        assert all(re.fullmatch(r'[\w.-]+==[\w.+]+', line) for line in lines)
        assert len(names) == len(set(names)), 'a package is pinned twice'
        assert 'torch' in names and 'numpy' in names


def test_ros_comes_from_wheels_only_where_it_is_not_sourced(bootstrap):
    assert any(line.startswith('ros-rclpy') for line in bootstrap.locked_requirements(False))
    assert not any(line.startswith('ros-') for line in bootstrap.locked_requirements(True))


def test_a_failing_step_ends_with_its_log_and_exit_code_one(
    bootstrap, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(bootstrap, 'BUILD_LOG', tmp_path / 'log' / 'bootstrap.log')
    monkeypatch.setattr(bootstrap, 'with_ros', lambda: False)
    monkeypatch.setattr(
        bootstrap,
        'find_python',
        lambda: bootstrap.run([sys.executable, '-c', 'raise SystemExit("boom")']),
    )
    assert bootstrap.main() == 1
    shown = capsys.readouterr().err
    assert 'boom' in shown and 'bootstrap.log' in shown and 'Traceback' not in shown


def copy_of_vla(folder):
    """The command in a workspace of nothing else."""
    (folder / 'tools').mkdir()
    for name in ('vla', 'tools/env.sh'):
        (folder / name).write_text((ROOT / name).read_text())


def run_vla(folder):
    return subprocess.run(
        ['bash', str(folder / 'vla')], capture_output=True, text=True, check=False, timeout=30
    )


def test_vla_without_a_build_says_make_setup(tmp_path):
    copy_of_vla(tmp_path)
    result = run_vla(tmp_path)
    assert result.returncode == 1
    assert 'make setup' in result.stderr and len(result.stderr.splitlines()) == 1


BUILT_S, BEFORE_S, AFTER_S = 1_700_000_100, 1_700_000_000, 1_700_000_200


@pytest.fixture
def built(tmp_path):
    """A workspace whose `vla` prints `started`, built after all of its sources."""
    copy_of_vla(tmp_path)
    stub = tmp_path / '.venv' / 'bin' / 'python'
    sources = ('src/a/package.xml', 'src/a/setup.py', 'src/a/a/code.py', 'launch/config/a.yaml')
    for name in (*sources, 'install/setup.bash', 'install/share/vla_bringup/config/a.yaml'):
        write(tmp_path / name, BEFORE_S)
    write(tmp_path / 'install' / '.build-stamp', BUILT_S)
    write(stub, BEFORE_S)
    stub.write_text('#!/bin/sh\necho started\n')
    stub.chmod(0o755)
    return tmp_path


def write(path, time_s):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time_s, time_s))


def test_vla_starts_when_only_code_and_installed_files_are_newer_than_the_build(built):
    for name in ('src/a/a/code.py', 'src/a/a/more.py', 'launch/config/a.yaml'):
        write(built / name, AFTER_S)  # they are linked to, not copied
    result = run_vla(built)
    assert (result.returncode, result.stdout, result.stderr) == (0, 'started\n', '')


@pytest.mark.parametrize(
    'name', ['src/a/msg/New.msg', 'src/a/setup.py', 'src/b/package.xml', 'launch/config/new.yaml']
)
def test_vla_says_make_setup_when_the_build_lacks_a_source(built, name):
    write(built / name, AFTER_S)
    result = run_vla(built)
    assert (result.returncode, result.stdout) == (1, '')
    assert name in result.stderr and "run 'make setup'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_environment_is_the_same_when_set_up_from_inside_it(bootstrap):
    assert '.venv' not in bootstrap.find_python()
