"""What the pages about machines tell people to type exists: commands, files, parameters."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from cfnlint.decode import cfn_yaml

import infra
from gapless.cli import app

DOCS = Path(__file__).parents[3] / "docs"
PAGES = [
    DOCS / "how-to/put-a-home-on-s3.md",
    DOCS / "how-to/two-vms-by-hand.md",
    DOCS / "explanation/sqs-and-s3.md",
]
TEMPLATE: dict[str, Any] = cfn_yaml.loads(infra.cloudformation_template())
TYPED = [
    line
    for page in PAGES
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
SWEEPS = sorted({line.removeprefix("$ ") for line in TYPED if line.startswith("$ sweep ")})
MENTIONED = sorted(
    {
        " ".join(words.split())
        for page in PAGES
        for words in re.findall(r"`(sweep [^`]+)`", page.read_text())
    }
)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def everything() -> str:
    return "\n".join(page.read_text() for page in PAGES)


@pytest.mark.parametrize("typed", SWEEPS)
def test_every_sweep_command_is_one(typed: str) -> None:
    _, name, *words = shlex.split(typed, comments=True)
    with COMMANDS[name].make_context(name, words):
        pass


@pytest.mark.parametrize("mentioned", MENTIONED)
def test_every_command_and_option_that_is_mentioned_exists(mentioned: str) -> None:
    _, name, *words = shlex.split(mentioned)
    known = {option for each in COMMANDS[name].params for option in each.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_the_pages_tell_enough_commands_to_make_this_worth_a_test() -> None:
    told = {shlex.split(each)[1] for each in SWEEPS}
    assert told >= {"run", "submit", "node", "aggregate", "status", "reconcile", "results"}
    assert told >= {"pause", "resume", "cancel", "remove"}


def test_every_file_that_is_printed_is_there() -> None:
    named = re.findall(r"python -m infra (\S+)", everything())
    assert set(named) == {infra.CLOUDFORMATION, *infra.UNITS}
    for name in named:
        assert infra.file_text(name)


def test_every_parameter_of_the_template_is_explained_with_its_default() -> None:
    page = PAGES[0].read_text()
    for name, parameter in TEMPLATE["Parameters"].items():
        (row,) = re.findall(rf"^\| `{name}` \|.*\|$", page, re.MULTILINE)
        if name not in {"BucketName", "SubmitterArns"}:
            assert str(parameter["Default"]) in row


def test_every_output_that_people_need_is_named_as_the_template_names_it() -> None:
    for name in ("SubmitterRole", "NodeProfile", "AggregatorProfile"):
        assert name in TEMPLATE["Outputs"]
        assert f"`{name}`" in everything()


@pytest.mark.parametrize("unit", infra.UNITS)
def test_the_units_paths_are_those_of_the_page(unit: str) -> None:
    page = PAGES[1].read_text()
    assert "python3 -m venv /opt/gapless" in page
    text = infra.systemd_unit(unit)
    assert "ExecStart=/opt/gapless/bin/sweep " in text
    assert f"sudo tee /etc/systemd/system/{unit}" in page
    assert "EnvironmentFile=/etc/gapless/gapless.env" in text
    assert "sudo tee /etc/gapless/gapless.env" in page


def test_the_page_tells_the_units_own_times() -> None:
    unit = infra.systemd_unit("gapless-node.service")
    assert "--grace 60s" in unit
    assert "TimeoutStopSec=180" in unit
    page = " ".join(PAGES[1].read_text().split())
    assert "finish for a minute" in page
    assert "within the unit's three minutes" in page
