"""The simulated lab alone, with the options of vla_sim; with --record, example episodes of it.

The options of `--record` are those of verbs/sim_record.py.
"""


def run_raw(argv: list[str]) -> int:
    """Hand the options to vla_sim, or to the generator of example episodes."""
    if any(word.split('=')[0] in ('--record', '--headless') for word in argv):
        from vla_cli.verbs import sim_record

        return sim_record.run_raw(argv)
    from vla_sim.main import main

    if '--help' in argv or '-h' in argv:
        from vla_cli.arguments import say

        say('example episodes: vla sim --record N --out DIR [--headless], see its own --help\n')
    return main(argv) or 0
