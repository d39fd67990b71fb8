"""A trained model fitted to the scans of another site."""
