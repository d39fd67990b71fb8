"""The preparation of whole cohorts, in processes that may be killed at any time."""
