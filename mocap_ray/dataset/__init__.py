"""From recordings to a Parquet data set on disk, and back, without Ray."""
