"""Import legacy recordings into episodes: collector folders, recv_all_* sessions, v4 HDF5 files.

PATH is a recording or a folder of them. What the files do not say is never guessed: where it
matters the import stops with the option that decides it. Everything dropped, changed or taken on
somebody's word is printed and kept in the episode's metadata.

  vla import /data/old/recv_all_20251027_170308 --out episodes --task "insert the needle"
  vla import /data/v4 --out episodes --rebuild-times 15 --sensor-rate 700
"""

import argparse
import json
from pathlib import Path

from vla_cli import workspace
from vla_cli.arguments import complain, Parser, positive, say


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('paths', type=Path, nargs='+', metavar='PATH', help='recording, or folder')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='of the episodes')
    parser.add_argument('--task', default='', metavar='TEXT', help='the instruction, for all')
    parser.add_argument('--operator', default='', metavar='NAME', help='who demonstrated')
    parser.add_argument('--notes', default='', metavar='TEXT', help='anything worth keeping')
    parser.add_argument(
        '--contract', type=Path, metavar='FILE', help='contract (launch/config/contract)'
    )
    parser.add_argument(
        '--clock', type=pair, action='append', default=[], metavar='SOURCE=KIND',
        help='robot|sensor|cameras = trusted|estimated|receive: how stamps become our time',
    )  # fmt: skip
    parser.add_argument(
        '--offset', type=timed, action='append', default=[], metavar='SOURCE=S',
        help='seconds to add to the stamps of robot, sensor or cameras',
    )  # fmt: skip
    parser.add_argument(
        '--rebuild-times', type=positive, metavar='HZ',
        help='frames of files with float32 times are evenly spaced at this rate',
    )  # fmt: skip
    parser.add_argument(
        '--sensor-rate', type=positive, metavar='HZ', help='and their sensor samples at this one'
    )
    parser.add_argument(
        '--view', type=pair, action='append', default=[], metavar='CAMERA=VIEW',
        help='which view a legacy camera is: camera1=view3, View2=view1',
    )  # fmt: skip
    parser.add_argument(
        '--force-scale', type=float, default=1.0, metavar='N', help='N per unit (%(default)s)'
    )
    parser.add_argument('--json', action='store_true', help='the report as JSON, for programs')


def run(args: argparse.Namespace) -> int:
    """Import every recording; exit code 1 when one could not be."""
    from vla_core.contract import load_contract
    from vla_core.errors import VlaError
    from vla_data.importing.layouts import find_recordings
    from vla_data.importing.options import ImportOptions
    from vla_data.importing.run import import_recording

    options = ImportOptions(
        task=args.task, operator=args.operator, notes=args.notes, clocks=dict(args.clock),
        offsets_s=dict(args.offset), rebuild_hz=args.rebuild_times, sensor_hz=args.sensor_rate,
        views=dict(args.view), force_scale=args.force_scale,
    )  # fmt: skip
    contract = load_contract(args.contract or workspace.default_contract())
    found = [item for path in args.paths for item in find_recordings(path)]
    reports, failed = [], 0
    for path, layout in found:
        try:
            target, report = import_recording(path, layout, options, contract, args.out)
        except VlaError as error:
            failed += 1
            complain(str(error))
            continue
        reports.append({'episode': str(target), **report.to_dict()})
        if not args.json:
            say('\n'.join([*report.lines(), f'  -> {target}']))
    if args.json:
        say(json.dumps(reports, indent=1))
    elif len(found) > 1:
        say(f'{len(reports)} imported, {failed} refused')
    return 1 if failed else 0


def pair(text: str) -> tuple[str, str]:
    """Return NAME=VALUE as two texts, for argparse's `type`."""
    name, equals, value = text.partition('=')
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=VALUE')
    return name, value


def timed(text: str) -> tuple[str, float]:
    """Return SOURCE=SECONDS, for argparse's `type`."""
    name, value = pair(text)
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{value!r} is not a number of seconds') from None
