"""Cases among what other programs make of a BIDS directory."""
