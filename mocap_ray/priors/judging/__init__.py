"""Judging a pose prior by held-out poses, beside the naive answers."""
