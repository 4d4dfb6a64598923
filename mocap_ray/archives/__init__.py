"""One file per motion archive, and the table that names them (floor 2)."""
