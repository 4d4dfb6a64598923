"""What a person looks at: self-contained HTML pages of data sets, priors and searches."""

TEMPLATES = "pages/templates"
"""Where the pages' templates lie below the package."""
