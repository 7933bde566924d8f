"""Every command, option and public name is in the reference; links inside docs lead somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

import gapless

CHECKOUT = Path(__file__).parents[3]
REFERENCE = "\n".join(path.read_text() for path in (CHECKOUT / "docs/reference").glob("*.md"))
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]


def options_of_commands() -> list[tuple[str, str]]:
    from gapless.cli import app

    group = typer.main.get_command(app)
    found = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        if command.hidden:
            continue
        found.append((name, ""))
        found += [
            (name, option)
            for parameter in command.params
            if not getattr(parameter, "hidden", False)
            for option in parameter.opts
            if option.startswith("--")
        ]
    return found


@pytest.mark.parametrize(("command", "option"), options_of_commands())
def test_every_command_and_option_is_in_the_reference(command: str, option: str) -> None:
    pattern = rf"^## sweep {command}\b(.*?)(?=^## |\Z)"
    section = re.search(pattern, REFERENCE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/reference has no section '## sweep {command}'"
    assert option in section.group(0) or option in REFERENCE.split("## Options of several", 1)[-1]


@pytest.mark.parametrize("name", sorted(gapless.__all__))
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"`(gapless\.)?{name}\b", REFERENCE), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if ".to_pandas()" in page.read_text()],
    ids=lambda page: str(page.relative_to(CHECKOUT)),
)
def test_who_reads_of_pandas_reads_what_to_install_for_it(page: Path) -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    having = [
        extra
        for extra, needed in extras["optional-dependencies"].items()
        if any(each.startswith("pandas") for each in needed)
    ]
    text = page.read_text()
    assert any(re.search(rf"pip install '[^' ]*\[{extra}\]'", text) for extra in having)
    # A way of installing without pandas would leave the reader with MissingExtra.
    assert not re.search(r"pip install (gapless|\.)(\s|`|$)", text)


def test_the_readme_is_under_a_page() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 66
