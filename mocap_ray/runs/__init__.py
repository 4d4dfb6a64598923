"""What one can ask for: the configs of extraction, training and search."""
