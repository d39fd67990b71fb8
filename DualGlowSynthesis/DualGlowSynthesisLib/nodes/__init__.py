"""Nodes of the scene: results, what belongs to which MRI, how it is shown, marked and exported."""
