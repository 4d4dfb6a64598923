"""Motion as typed values, and its processing: resampling, quality checks, features."""
