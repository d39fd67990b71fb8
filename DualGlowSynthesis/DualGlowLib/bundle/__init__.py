"""Bundles: a trained model on disk, with its card and checksums."""
