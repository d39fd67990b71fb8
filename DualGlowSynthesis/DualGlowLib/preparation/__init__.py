"""Preparation: a T1 and a PET to the model's grid and back, and the verdict on each."""
