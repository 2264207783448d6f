"""The container files agree with the repository; no Docker engine is needed to see that."""

from pathlib import Path
import re

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / 'docker' / 'Dockerfile').read_text()
COMPOSE = yaml.safe_load((ROOT / 'docker' / 'compose.yaml').read_text())
STAGES = set(re.findall(r'^FROM \S+ AS (\w+)', DOCKERFILE, re.MULTILINE))


@pytest.mark.parametrize('source', re.findall(r'^COPY (\S+) ', DOCKERFILE, re.MULTILINE))
def test_everything_the_dockerfile_copies_exists(source):
    assert (ROOT / source).exists()


@pytest.mark.parametrize(
    'package',
    sorted(
        set(
            re.findall(
                r'\bvla_\w+', ' '.join(re.findall(r'--packages-select ([^\n]+)', DOCKERFILE))
            )
        )
    ),
)
def test_every_package_the_dockerfile_builds_is_copied(package):
    folder = 'launch' if package == 'vla_bringup' else f'src/{package}'
    assert re.search(rf'^COPY {folder} ', DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize(
    'name', [name for name, service in COMPOSE['services'].items() if 'build' in service]
)
def test_every_service_builds_a_stage_that_exists(name):
    assert COMPOSE['services'][name]['build']['target'] in STAGES


def test_every_service_shares_host_network_and_memory():
    for name, service in COMPOSE['services'].items():
        assert service['network_mode'] == 'host' and service['ipc'] == 'host', name


def test_the_driver_image_has_no_torch():
    stage = DOCKERFILE.split('FROM base AS drivers')[1].split('\nFROM ')[0]
    assert 'torch' not in stage


def test_pip_pins_of_the_images_come_from_the_lock_file():
    for line in re.findall(r'pip install[^\n]*', DOCKERFILE):
        assert '-c constraints.txt' in line and '==' not in line
