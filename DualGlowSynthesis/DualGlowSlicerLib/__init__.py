"""What both modules use in Slicer: packages, messages, small helpers, the worker process, volumes as arrays."""
