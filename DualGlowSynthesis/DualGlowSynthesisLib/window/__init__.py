"""The window of DualGlow Synthesis: its sections, and what is computed when."""
