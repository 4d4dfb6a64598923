"""Tests of the archives; helpers are imported as `archives.rawzip`, with `tests/` on the path."""
