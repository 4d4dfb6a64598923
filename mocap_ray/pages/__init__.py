"""Self-contained HTML pages of data sets, priors and searches."""

TEMPLATES = "pages/templates"
"""Folder of the pages' templates, relative to the package root."""
