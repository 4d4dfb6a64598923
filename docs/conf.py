"""The documentation site: `make docs` builds it with Sphinx.

Sphinx, because it checks every link and anchor, reads Markdown (MyST) and Google docstrings, and is maintained; MkDocs
has had no release since 2024. The theme, furo, uses the fonts of the system, so pages load nothing from other servers.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from mocap_ray.version import __version__  # noqa: E402

project = "mocap_ray"
author = "the mocap_ray authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings", "generated"]
exclude_patterns = ["_ext"]
master_doc = "index"

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
add_module_names = False
smartquotes_action = "D"  # dashes; `...` stays as it is, because it also stands in shapes

html_theme = "furo"
html_title = f"mocap_ray {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "footer_icons": [],
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1b5e8c", "color-brand-content": "#1b5e8c"},
    "dark_css_variables": {"color-brand-primary": "#7cc0ee", "color-brand-content": "#7cc0ee"},
}
