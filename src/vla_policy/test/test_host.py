"""Settings of the process."""

import platform
import subprocess
import sys


def test_memory_setting_is_taken_by_glibc_and_refused_quietly_elsewhere():
    code = (
        'import sys; from vla_policy.host import keep_freed_memory; sys.exit(keep_freed_memory())'
    )
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, check=False)
    assert found.stderr == b''
    assert found.returncode == (platform.libc_ver()[0] == 'glibc')
