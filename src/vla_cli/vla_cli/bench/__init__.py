"""The measurement of the running graph: records, figures, report."""
