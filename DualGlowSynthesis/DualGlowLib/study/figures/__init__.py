"""Figures that need no cohort: an erased deficit, and the tasks in two dimensions."""
