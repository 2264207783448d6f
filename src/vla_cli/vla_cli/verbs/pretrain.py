"""Teach a small backbone to see, from rendered scenes of the simulated lab.

Large backbones come pretrained; `nano` is built from nothing, so it first learns where needle and
trocar are in random pictures. Then `vla cache` and `vla train` teach the policy. Scenes are
rendered first, and kept for the next run.
"""

from pathlib import Path

from vla_cli.arguments import Parser, positive, say, whole


def add_arguments(parser: Parser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        '--checkpoint', type=Path, required=True, metavar='DIR', help='an untrained checkpoint'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='the trained one')
    parser.add_argument(
        '--scenes', type=Path, required=True, metavar='DIR', help='folder of rendered scenes'
    )
    parser.add_argument(
        '--sets', type=whole(1), default=30_000, metavar='N', help='picture sets (%(default)s)'
    )
    parser.add_argument(
        '--jobs', type=whole(0, 256), default=1, metavar='N',
        help='rendering processes; 0: use what is there (%(default)s)',
    )  # fmt: skip
    parser.add_argument('--steps', type=whole(0), default=4000, metavar='N', help='(%(default)s)')
    parser.add_argument(
        '--trunk-steps', type=whole(0), default=2000, metavar='N',
        help='of the expert\'s trunk by itself, afterwards; 0: none (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--sensing-steps', type=whole(0), default=1500, metavar='N',
        help='of the sensor encoder by itself; 0: none (%(default)s)',
    )  # fmt: skip
    parser.add_argument('--batch', type=whole(1), default=8, metavar='N', help='(%(default)s)')
    parser.add_argument(
        '--learning-rate', type=positive, default=1e-3, metavar='R', help='(%(default)s)'
    )
    parser.add_argument(
        '--dtype', default='auto', choices=('auto', 'float32', 'bfloat16'),
        help='of the encoder\'s products; auto: bfloat16 where the CPU has it (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--resume', action='store_true', help='go on where a run of the same options was ended'
    )
    parser.add_argument('--seed', type=whole(0), default=0, metavar='N', help='(%(default)s)')
    parser.add_argument(
        '--threads', type=whole(1, 256), default=2, metavar='N', help='(%(default)s)'
    )
    parser.add_argument(
        '--task', default='insert the needle into the trocar', help='instruction (%(default)s)'
    )


def run(args) -> int:
    """Render, train, write."""
    import torch

    from vla_training.pretrain.pipeline import pretrain
    from vla_training.pretrain.rendering import RenderOptions
    from vla_training.pretrain.run import PretrainOptions
    from vla_training.pretrain.sensing import SensingOptions
    from vla_training.pretrain.trunk import TrunkOptions

    torch.set_num_threads(args.threads)
    options = PretrainOptions(
        steps=args.steps, batch=args.batch, learning_rate=args.learning_rate, seed=args.seed,
        dtype=args.dtype,
    )  # fmt: skip
    render = RenderOptions(args.sets, args.jobs)
    digest = pretrain(
        args.checkpoint, args.scenes, args.out, render, options,
        TrunkOptions(steps=args.trunk_steps, seed=args.seed),
        SensingOptions(steps=args.sensing_steps, seed=args.seed), args.task, say,
        resume=args.resume,
    )  # fmt: skip
    say(f'{args.out}: checkpoint {digest}')
    return 0
