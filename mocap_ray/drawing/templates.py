"""The one Jinja environment: pages in HTML, which are escaped, and cards in Markdown, which are not.

Each room keeps its templates in its own folder; their names are relative to the package root, such as
`pages/templates/dataset.html.j2`. All pages extend `drawing/templates/base.html.j2`, which has the head, the content
security policy, the styles and the footer.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from mocap_ray import wording
from mocap_ray.version import __version__

SHARED = "drawing/templates"


@cache
def environment() -> jinja2.Environment:
    """The environment; an undefined value in a template is an error."""
    result = jinja2.Environment(
        loader=jinja2.PackageLoader("mocap_ray", ""),
        undefined=jinja2.StrictUndefined,
        autoescape=lambda name: name is None or ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    result.filters.update(
        number=wording.number,
        counted=wording.counted,
        duration=wording.duration,
        byte_size=wording.byte_size,
        listed=wording.listed,
    )
    return result


def render(name: str, /, **values: Any) -> str:
    """Render a template; values in `.html.j2` are escaped, in `.md.j2` not.

    Raises:
        jinja2.UndefinedError: the template uses a value that was not passed.
    """
    return environment().get_template(name).render(**values)


def asset(name: str) -> Markup:
    """The text of a stylesheet or script in a templates folder."""
    loader = environment().loader
    assert loader is not None
    return Markup(loader.get_source(environment(), name)[0])


def render_page(
    name: str,
    /,
    *,
    title: str,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    **values: Any,
) -> str:
    """Render a self-contained page: a template that extends the base.

    The browser runs exactly these scripts: the content security policy has their hashes and allows nothing else, so
    that text injected into the page cannot run. It also forbids all network access.

    Args:
        name: name of the template, relative to the package root.
        title: title of the browser tab.
        styles: names of stylesheets, added after the shared ones.
        scripts: names of scripts, run in this order at the end of the page.
        data: data for the scripts, as JSON in the element `data`.
        values: values for the template.
    """
    code = [asset(script) for script in scripts]
    return render(
        name,
        title=title,
        version=__version__,
        css=Markup("").join(
            asset(style) for style in (f"{SHARED}/base.css", f"{SHARED}/figures.css", *styles)
        ),
        scripts=code,
        policy=_policy(code),
        data=data,
        **values,
    )


def _policy(scripts: Sequence[str]) -> str:
    """Allow styles and pictures inside the page and these scripts, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{text}'" for text in hashes)
    script = f"script-src {allowed}; " if allowed else ""
    return f"default-src 'none'; style-src 'unsafe-inline'; {script}img-src data:"
