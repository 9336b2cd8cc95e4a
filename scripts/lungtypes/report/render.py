"""Fills the HTML template that all pages share: escapes every text, refuses a name that is missing, and a script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lungtypes.report.blocks import Section, Viewer
from lungtypes.report.style import data_uri

TEMPLATE = "page.html.j2"


def render_page(*, sections: Iterable[Section], **content: object) -> str:
    """The page's HTML; ``content`` is what page.html.j2 names. No script runs but those of the viewers."""
    sections = tuple(sections)
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "trusted": Markup}
    hashes = [script_hash(script) for script in _scripts(sections)]
    return environment.get_template(TEMPLATE).render(sections=sections, script_hashes=hashes, **content)


def script_hash(script: str) -> str:
    """The name by which a Content-Security-Policy allows an inline script, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _scripts(sections: Iterable[Section]) -> list[str]:
    viewers = [block for section in sections for block in section.blocks if isinstance(block, Viewer)]
    return list(dict.fromkeys(script for viewer in viewers for script in viewer.scripts))
