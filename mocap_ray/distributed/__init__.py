"""The only package that imports ray (floor 6)."""
