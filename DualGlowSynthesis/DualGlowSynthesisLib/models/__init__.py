"""The models that the window offers, and their download."""
