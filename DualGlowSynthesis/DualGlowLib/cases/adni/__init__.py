"""ADNI as the Image Data Archive gives it away: what its images are, where they lie, and which belong together."""
