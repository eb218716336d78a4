"""Faults on both sides of the service, each a named case with its expected end; the laws are in `laws`."""
