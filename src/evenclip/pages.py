"""Page templates of the report and the cards: the package's only Jinja environment."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

# characters that end a table cell or begin a code span, emphasis, a link, a tag or an entity
_MARKDOWN = re.compile(r"[\\`*\[\]<|]|&(?=#?\w+;)")


def render(template: Path, content: Mapping[str, Any], **filters: Callable) -> str:
    """Fill a template; values are escaped for HTML or Markdown.

    Parameters
    ----------
    template : Path
        `<name>.html.j2` or `<name>.md.j2`.
    content : mapping
        Variables of the template; an undefined one is an error.
    **filters : callable
        Jinja filters by name; a result of type `Markup` is not escaped.

    A page of HTML has the common style sheet in ``style``.
    """
    return _template(template, tuple(filters.items())).render(content, style=_style())


@cache
def _style() -> Markup:
    return Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))


@cache
def _template(path: Path, filters: tuple[tuple[str, Callable], ...]) -> jinja2.Template:
    is_html = path.name.endswith(".html.j2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=is_html,
        finalize=None if is_html else as_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"code": code_span} | dict(filters)
    return environment.get_template(path.name)


def as_markdown(value: Any) -> Any:
    """Escape a value as one line of Markdown, also valid in a table."""
    if isinstance(value, Markup | jinja2.Undefined):
        return value
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(str(value).split("\n")))


def code_span(text: str) -> Markup:
    """Markdown code span, also valid in a table; backticks become apostrophes."""
    return Markup("`" + " ".join(text.split("\n")).replace("`", "'").replace("|", r"\|") + "`")
