"""A search without Ray: its space, its population and its results."""
