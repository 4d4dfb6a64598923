"""Search without Ray: search space, population based training, results."""
