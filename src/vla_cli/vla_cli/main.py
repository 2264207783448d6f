"""The `vla` command: finds the verb and runs it."""


def main() -> int:
    """Run the verb named on the command line; return the exit code."""
    raise SystemExit('vla: no verbs yet')


if __name__ == '__main__':
    main()
