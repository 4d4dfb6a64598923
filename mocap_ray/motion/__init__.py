"""Motion as typed values, and what is done to it: resampling, quality, features."""
