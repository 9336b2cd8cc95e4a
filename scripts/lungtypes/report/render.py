"""Fills the HTML template that all pages share: escapes every text, refuses a name that is missing."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lungtypes.report.style import data_uri

TEMPLATE = "page.html.j2"


def render_page(**content: object) -> str:
    """The page's HTML; ``content`` is what page.html.j2 names."""
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "trusted": Markup}
    return environment.get_template(TEMPLATE).render(**content)
