"""Speed against baselines and floors, as ratios in one run: `make bench`."""
