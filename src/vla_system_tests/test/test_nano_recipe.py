"""`make nano` as a script: its stages and their order, what it takes up again, what it refuses.

A stand-in for `vla` writes down what it was asked for; stages are tested where they are.
"""

from pathlib import Path
import shutil
import subprocess

import pytest

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 20
STAND_IN = """#!/bin/bash
echo "$*" >> "$(dirname "$0")/asked"
[ "$1" != "$(cat "$(dirname "$0")/fails" 2> /dev/null)" ] || exit 1
while [ $# -gt 0 ]; do
  case "$1" in --out) mkdir -p "$2" ;; out=*) mkdir -p "${1#out=}" ;; esac
  shift
done
"""


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / 'tools').mkdir()
    shutil.copy(ROOT / 'tools/nano.sh', tmp_path / 'tools')
    vla = tmp_path / 'vla'
    vla.write_text(STAND_IN)
    vla.chmod(0o755)
    return tmp_path


def make(checkout, **variables):
    """Run the script; return it, and what was asked for since the last time."""
    (checkout / 'asked').write_text('')
    done = subprocess.run(
        [checkout / 'tools/nano.sh'], env={'PATH': '/usr/bin:/bin', **variables},
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return done, [line.split() for line in (checkout / 'asked').read_text().splitlines()]


def verbs(asked):
    return ' '.join(words[0] for words in asked)


def test_each_round_is_driven_by_the_policy_of_the_round_before_and_learns_from_all(checkout):
    done, asked = make(checkout)
    assert done.returncode == 0, done.stderr
    assert verbs(asked) == (
        'sim sim checkpoint pretrain cache train dagger train dagger train eval eval'
    )
    first, second = (words for words in asked if words[0] == 'dagger')
    work = f'{checkout}/build/nano'
    assert f'{work}/cloned/best' in first and f'{work}/run-1/best' in second
    assert '300000' in first and '340000' in second
    assert f'data.corrections=[{work}/corrections-1,{work}/corrections-2]' in asked[-3]
    assert all(f'{work}/run-2/best' in words for words in asked[-2:])


def test_what_was_done_is_not_done_again(checkout):
    (checkout / 'fails').write_text('dagger')
    done, asked = make(checkout)
    assert done.returncode == 1 and asked[-1][0] == 'dagger'
    (checkout / 'fails').unlink()
    done, asked = make(checkout)
    assert done.returncode == 0
    assert verbs(asked) == 'cache dagger train dagger train eval eval'


@pytest.mark.parametrize('variable', ['NANO_ROUNDS', 'NANO_CORRECTIONS'])
def test_without_corrections_the_clone_is_evaluated(checkout, variable):
    done, asked = make(checkout, **{variable: '0'})
    assert done.returncode == 0, done.stderr
    assert verbs(asked) == 'sim sim checkpoint pretrain cache train eval eval'
    assert f'{checkout}/build/nano/cloned/best' in asked[-1]


def test_a_folder_that_another_simulator_began_is_refused_by_name(checkout):
    make(checkout)
    (checkout / 'build/nano/lab').write_text('of last year\n')
    done, asked = make(checkout)
    assert done.returncode == 1 and not asked
    assert 'another version of src/vla_sim: remove it' in done.stderr
