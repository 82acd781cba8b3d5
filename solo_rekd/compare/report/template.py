"""The templates of pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def load_template(folder: Path, **filters: Callable[..., Any]) -> Template:
    """Loads `page.html.j2`; it escapes its values and fails where one is missing.

    Args:
        folder: folder of the template.
        filters: filters that it uses, by name.
    """
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template("page.html.j2")
