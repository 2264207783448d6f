"""Run `colcon test` over all packages and close with one line: `N passed, N failed, N skipped`.

Called by `make test` and `make test-system` inside the workspace's environment. The counts are read from the result files
colcon wrote; a package whose tests left no result file counts as a failure. It deliberately decides nothing about tests.
"""
import argparse
import os
from pathlib import Path
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / 'build'


def packages_with_tests():
    """Return the names of the packages that have test modules."""
    return sorted(path.name for path in (ROOT / 'src').iterdir() if any(path.glob('test/test_*.py')))


def has_slow_tests(package):
    """Say whether a package has tests that only `make test-system` runs."""
    return any('mark.slow' in path.read_text() for path in (ROOT / 'src' / package / 'test').glob('test_*.py'))


def result_file(package):
    """Return where colcon's pytest step writes a package's results."""
    return BUILD / package / 'pytest.xml'


def talks(package):
    """Say whether a package has to do with ROS nodes: its tests have deadlines, so they get the machine to themselves."""
    needs = (ROOT / 'src' / package / 'package.xml').read_text()
    return any(name in needs for name in ('rclpy', 'vla_ros', 'vla_bringup'))


def run_colcon(packages, marker, executor):
    """Run the packages' tests; return colcon's exit code."""
    if not packages:
        return 0
    for package in packages:
        result_file(package).unlink(missing_ok=True)
    command = [sys.executable, '-m', 'colcon', '--log-base', str(ROOT / 'log'), 'test', '--base-paths', 'src', 'launch',
               '--merge-install', '--packages-select', *packages, '--event-handlers', 'console_direct+',
               *executor, '--return-code-on-test-failure', '--pytest-args', '-m', marker, '-q', '-rfEs']
    # A shell's own ROS settings must not leak into the tests; each test process picks its own domain.
    environment = {key: value for key, value in os.environ.items() if key != 'ROS_DOMAIN_ID'}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def count(package):
    """Return (passed, failed, skipped) of one package."""
    try:
        suites = ElementTree.parse(result_file(package)).getroot().iter('testsuite')
    except (FileNotFoundError, ElementTree.ParseError):
        print(f'{package}: its tests left no result file', file=sys.stderr)
        return 0, 1, 0
    passed = failed = skipped = 0
    for suite in suites:
        bad = int(suite.get('failures', 0)) + int(suite.get('errors', 0))
        left_out = int(suite.get('skipped', 0))
        failed, skipped = failed + bad, skipped + left_out
        passed += int(suite.get('tests', 0)) - bad - left_out
    return passed, failed, skipped


def main():
    """Run, count, print the closing line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--slow', action='store_true', help='run the tests marked slow instead of the others')
    slow = parser.parse_args().slow
    packages = [name for name in packages_with_tests() if not slow or has_slow_tests(name)]
    marker = 'slow' if slow else 'not slow'
    quiet = [name for name in packages if not talks(name)]
    code = run_colcon(quiet, marker, ['--executor', 'parallel', '--parallel-workers', '2'])
    code = run_colcon([name for name in packages if talks(name)], marker, ['--executor', 'sequential']) or code
    passed, failed, skipped = (sum(column) for column in zip(*map(count, packages)))
    if code and not failed:
        print(f'colcon test ended with exit code {code} although no test failed: see {ROOT / "log"}', file=sys.stderr)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed or code or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
