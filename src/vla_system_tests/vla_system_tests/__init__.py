"""Launch and whole-system tests: rates, faults, shutdown, architecture."""
