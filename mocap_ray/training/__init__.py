"""Training in plain torch, without Ray: fit, evaluate, checkpoints, metrics."""
