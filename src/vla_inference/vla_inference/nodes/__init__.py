"""Thin lifecycle nodes around the engines: parameters, topics, wiring."""
