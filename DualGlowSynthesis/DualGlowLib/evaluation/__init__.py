"""Evaluation: a model on cases that it has not seen."""
