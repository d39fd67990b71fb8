"""Baselines that are networks, of MONAI's parts."""
