"""Inputs become published Parquet shards with receipts; what a shard holds is the business of a `Product`."""
