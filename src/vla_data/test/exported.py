"""Episodes with a planted step, exported as a LeRobot dataset, for the export's tests."""

from dataclasses import replace

from legacy_folders import BINS, make_recv_all
from written import CONTRACT

from vla_core.contract import SensorSpec
from vla_data.bag_reader import open_bag
from vla_data.exporting.lerobot import export_lerobot, ExportSettings
from vla_data.importing.layouts import layout_of
from vla_data.importing.options import ImportOptions
from vla_data.importing.run import import_recording

NARROW = replace(CONTRACT, sensor=SensorSpec(channels=BINS + 1))
TASKS = ('insert the needle', 'withdraw the needle')


def make_episodes(root):
    """Two imported episodes of the same scene, the second without a sensor."""
    made = []
    for number, task in enumerate(TASKS):
        folder = make_recv_all(root / 'old', f'recv_all_{number}', sensor=number == 0)
        options = ImportOptions(task=task)
        path, _ = import_recording(folder, layout_of(folder), options, NARROW, root / 'episodes')
        made.append(path)
    return made


def export(paths, out, rate_hz=10, progress=lambda done, expected: None, **settings):
    bags = [open_bag(path) for path in paths]
    settings = {'width': 32, 'height': 24, 'quality': 4, **settings}
    return export_lerobot(bags, NARROW, out, ExportSettings(rate_hz, **settings), progress)
