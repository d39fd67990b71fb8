"""Dynamic PET: which of its time frames lie in a window after injection, their mean, and how the head moved."""
