"""Layerstore measured beside distribution, on the machine at hand. docs/benchmarks.md says what the figures mean."""
