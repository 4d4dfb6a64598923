"""What a person looks at in a browser: pages of data sets, priors and searches."""
