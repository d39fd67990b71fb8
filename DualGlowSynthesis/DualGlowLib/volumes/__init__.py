"""Volumes: scans with their geometry, grids and lattices; reading and writing them, and the marks of synthetic ones."""
