"""The benchmark of the vision-language model; its options are those of vla_policy.bench_vlm."""


def run_raw(argv: list[str]) -> int:
    """Hand the options to the benchmark."""
    from vla_policy.bench_vlm import main

    return main(argv) or 0
