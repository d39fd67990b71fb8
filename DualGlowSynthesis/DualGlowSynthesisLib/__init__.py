"""What the windows of DualGlow share: volume nodes as scans, and Python packages that Slicer lacks."""
