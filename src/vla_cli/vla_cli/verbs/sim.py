"""The simulated lab alone; its options are those of vla_sim."""


def run_raw(argv: list[str]) -> int:
    """Hand the options to vla_sim."""
    from vla_sim.main import main

    return main(argv) or 0
