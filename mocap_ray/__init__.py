"""Archives of human motion in, one clean, typed Parquet data set out; see `docs/architecture.md`."""

__version__ = "0.1.0"
