"""What a person at a terminal sees of it all (floor 7)."""
