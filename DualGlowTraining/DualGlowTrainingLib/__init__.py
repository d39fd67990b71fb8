"""The window of DualGlow Training: what is not the module file itself."""
