"""Synthesis: from a prepared T1 to the distribution of its PETs, and how likely a given one is."""
