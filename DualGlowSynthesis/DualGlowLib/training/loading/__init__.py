"""The cases of a run that don't fit into memory: on disk, and as batches that are read ahead."""
