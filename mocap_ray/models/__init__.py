"""Pose priors, one file each, and the table that names them (floor 3)."""
