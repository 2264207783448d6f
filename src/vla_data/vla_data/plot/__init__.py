"""One page that shows a whole episode, as a PNG and as HTML that needs nothing else."""
