"""The driver nodes: parameters, topics, wiring."""
