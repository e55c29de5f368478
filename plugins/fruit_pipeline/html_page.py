"""Fills the templates of the report and of the pages in Airflow's UI.

All that a template puts in is escaped, and what it asks for must have been given. No page has scripts.
"""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_page(template: str, policy: str, **values: object) -> str:
    """Returns an HTML page that needs no other files. `policy` is its Content-Security-Policy."""
    return _environment().get_template(template).render(values, policy=policy)


# It is not made on import, because the DAG file imports this module for a link and needs no template.
@cache
def _environment() -> Environment:
    environment = Environment(
        # Templates are found beside the modules, in a zip, too.
        loader=PackageLoader("fruit_pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": _number, "percent": _percent, "euros": _euros}
    return environment


def _number(value: float | None, decimals: int = 0) -> str:
    return "none" if value is None else f"{value:,.{decimals}f}"


def _percent(share: float | None, decimals: int = 2) -> str:
    return "none" if share is None else f"{share:.{decimals}%}"


def _euros(value: float | None) -> str:
    return "price not known" if value is None else f"{value:.2f} EUR"
