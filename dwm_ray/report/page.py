"""HTML pages: one template per kind of report, rendered into one self-contained file."""

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dwm_ray.report.table import NOTHING, format_count, format_seconds


def render_page(template: str, **context: Any) -> str:
    """Return the HTML of a template of this package; everything except the SVG of figures is escaped."""
    environment = Environment(
        loader=PackageLoader("dwm_ray.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": format_count, "seconds": format_seconds, "svg": Markup, "fact": fact}
    environment.filters |= {"json": lambda value: json.dumps(value, indent=2, default=str)}
    return environment.get_template(template).render(**context)


def fact(value: Any) -> str:
    """Return a value of a record, such as environment.json, as text."""
    if value is None or value == []:
        return NOTHING
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return format_count(value) if type(value) is int else str(value)
