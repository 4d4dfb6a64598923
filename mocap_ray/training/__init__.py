"""Training in plain torch, without Ray: fit, evaluate, checkpoints, metrics (floor 5)."""
