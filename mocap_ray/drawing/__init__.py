"""SVG charts and stick figures that pages, data cards and TensorBoard share."""
