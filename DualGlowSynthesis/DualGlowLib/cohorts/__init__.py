"""Whole cohorts: who is in them, and their preparation, in processes that may be killed at any time."""
