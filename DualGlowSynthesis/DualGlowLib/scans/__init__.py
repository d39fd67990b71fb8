"""Scans: reading and writing volumes, and the way of a T1 to the model's grid and back to the patient."""
