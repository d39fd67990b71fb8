"""The atlas: the MNI152 template that ships, reference regions, and the regions that results are reported for."""
