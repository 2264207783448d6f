"""The vla command: up, monitor, sim, bench, checkpoint."""
