"""Make an untrained checkpoint of a preset: the same options and seed give the same files.

`nano` is built from nothing and runs on two CPU cores. `qwen2.5-vl-3b` needs the weights: from a
local folder (--backbone DIR) or from the hub.
"""

from pathlib import Path

from vla_cli import workspace
from vla_cli.arguments import Parser, say


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument('--preset', default='nano', help='nano or qwen2.5-vl-3b (%(default)s)')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='new folder')
    parser.add_argument('--seed', type=int, default=0, help='of the random weights (%(default)s)')
    parser.add_argument(
        '--head', default='flow', help='flow, diffusion or regression (%(default)s)'
    )
    parser.add_argument('--backbone', metavar='DIR|NAME', help='folder or hub name of the VLM')
    parser.add_argument(
        '--contract', type=Path, metavar='FILE', help='contract (launch/config/contract)'
    )


def run(args) -> int:
    """Create the checkpoint and print its hash."""
    contract = args.contract or workspace.default_contract()
    from vla_policy.checkpoint import create_checkpoint

    digest = create_checkpoint(
        args.preset, args.out, args.seed, contract, head=args.head, backbone=args.backbone
    )
    say(f'{args.out}: checkpoint {digest or ""}'.rstrip())
    return 0
