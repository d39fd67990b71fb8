"""Training: cohorts in memory, the loop with checkpoints and resume, the model card."""
