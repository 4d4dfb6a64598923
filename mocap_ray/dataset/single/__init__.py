"""Single poses without a time axis, from annotation files of images and plain arrays: a product of its own."""
