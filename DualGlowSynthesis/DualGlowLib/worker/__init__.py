"""The process that computes for a window: ``server`` has the protocol, ``requests`` what can be asked."""
