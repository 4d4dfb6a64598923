"""The configs of the commands: extraction, training and search."""
