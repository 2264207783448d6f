"""Show the robot and its safety gate, or tell the driver what to do.

  status   what the robot and the gate are doing
  recover  after power-on, an error or a stop of the robot: clear it, activate, home; MOVES when
           homing
  enable   let the expert's chunks move the robot; refused while anything stands against it
  disable  let nothing through any more
  stop     emergency stop by software: nothing moves until reset and enable
  reset    leave a stop of the gate, when its cause is gone
  withdraw pull the needle out along its own axis, without any policy, at the gate's withdrawal
           speed; from any state but an emergency stop; MOVES, and ends stopped

The stop button of the robot is the one to rely on; `stop` needs a working computer.
"""

from vla_cli.arguments import complain, Parser, say, UsageError
from vla_core.errors import did_you_mean

ACTIONS = ('status', 'recover', 'enable', 'disable', 'stop', 'reset', 'withdraw')
_SERVICE = {'stop': 'emergency_stop'}


def action(text: str) -> str:
    """Return an action, for argparse's `type`; a wrong one names the nearest."""
    if text not in ACTIONS:
        raise UsageError(
            f'vla robot: {text} is not one of {", ".join(ACTIONS)}{did_you_mean(text, ACTIONS)}'
        )
    return text


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('action', type=action, metavar='ACTION', help=', '.join(ACTIONS))
    parser.add_argument('--namespace', default='', help='ROS namespace of the stack')


def run(args) -> int:
    """Show or do it."""
    from vla_cli.environment import prepare

    prepare()
    from vla_cli.operator.link import OperatorLink

    with OperatorLink(args.namespace, complain) as link:
        if args.action == 'status':
            say('\n'.join(link.status().lines()))
        else:
            say(link.call(_SERVICE.get(args.action, args.action)))
    return 0
