"""What MkDocs needs beside docs/: pages that live elsewhere in the repository or in the code, and links to files.

The pages of docs/ are written to be read on GitHub too. Their links to files outside docs/ lead to the page that the
site makes of the file, else to the file in the repository.
"""

import posixpath
import re
from pathlib import Path

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click
from typer.core import TyperGroup

from evenclip.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md",
    "reference/config.md": "config/README.md",
}  # fmt: skip
"""Pages of the site -> their files in the repository."""
PUBLIC = {
    "evenclip.audit": "evenclip.balance.api.audit",
    "evenclip.balance": "evenclip.balance.api.balance",
    "evenclip.balance.M4Balancer": "evenclip.balance.estimator.M4Balancer",
    "evenclip.balance.BalanceOptions": "evenclip.balance.options.BalanceOptions",
    "evenclip.evaluate": "evenclip.evaluate.arrays.evaluate",
    "Evaluation, which evenclip.evaluate returns": "evenclip.evaluate.arrays.Evaluation",
    "evenclip.export.sampler": "evenclip.export.base.sampler",
}
"""What reference/api.md describes."""
_CODE = re.compile(r"^( *)(```|~~~).*?^\1\2|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\(\s*)([^)\s#]+)(#[^)\s]*)?(\s*\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for uri, path in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "reference/api.md", content=api_page()))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def api_page() -> str:
    """The functions and classes of `evenclip` that people call, for mkdocstrings."""
    entries = [f"::: {path}\n    options:\n      heading: {name}\n" for name, path in PUBLIC.items()]
    return "# Functions and classes\n\n" + "\n".join(entries)


def commands_page() -> str:
    """The commands by panel of `evenclip --help`, then each in full; without those of the workflow alone."""
    group = _without_hidden(typer.main.get_command(app))
    panels: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        line = f"| [`evenclip {name}`](#evenclip-{name}) | {(command.help or '').splitlines()[0]} |"
        panels.setdefault(command.rich_help_panel or "Others", []).append(line)
    lines = ["# Commands", "", f"{group.help} `evenclip --install-completion` makes the shell complete them."]
    for panel, rows in panels.items():
        lines += ["", f"**{panel}**", "", "| command | what it does |", "|---|---|", *rows]
    context = typer.Context(group, info_name="evenclip")
    parts = [
        get_docs_for_click(obj=command, ctx=context, indent=1, name=name, call_prefix="evenclip")
        for name, command in group.commands.items()
    ]
    return "\n".join([*lines, "", *parts])


def _without_hidden(group: TyperGroup) -> TyperGroup:
    group.commands = {
        name: _without_hidden(command) if isinstance(command, TyperGroup) else command
        for name, command in group.commands.items()
        if not command.hidden
    }
    return group


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each relative link to its page of the site, else to the file in the repository."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]  # it would list this page alone
    source = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    uri_of = {path: uri for uri, path in PAGES.items()}

    def link(match: re.Match) -> str:
        start, target, anchor, end = match.groups(default="")
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = uri_of.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if uri and files.get_file_from_path(uri):
            new = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        elif (ROOT / path).exists():
            new = f"{config.repo_url.rstrip('/')}/blob/main/{path}"
        else:
            new = target  # MkDocs says that it leads nowhere
        return f"{start}{new}{anchor}{end}"

    parts = []
    position = 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(link, markdown[position : code.start()]), code[0]]
        position = code.end()
    return "".join([*parts, _LINK.sub(link, markdown[position:])])
