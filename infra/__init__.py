"""Infrastructure: the cloud template and the units of machines, as files of this package.

Knows nothing of sweeps, queues or homes; what the files allow and start is checked by tests against
what the programs call. `python -m infra NAME` prints one, for machines that have the wheel only.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["CLOUDFORMATION", "UNITS", "cloudformation_template", "file_text", "systemd_unit"]

CLOUDFORMATION = "cloudformation.yaml"
"""The bucket and the roles of a home on S3."""

UNITS = ("gapless-node.service", "gapless-aggregator.service")
"""The systemd units of machines made by hand."""


def cloudformation_template() -> str:
    """Give the CloudFormation template (YAML)."""
    return file_text(CLOUDFORMATION)


def systemd_unit(name: str) -> str:
    """Give the text of one of UNITS; KeyError when there is no such unit."""
    if name not in UNITS:
        raise KeyError(f"there is no unit {name!r}; there are {', '.join(UNITS)}")
    return file_text(name)


def file_text(name: str) -> str:
    """Give the text of the template or of a unit by its file name; KeyError for anything else."""
    if name == CLOUDFORMATION:
        place = files(__name__)
    elif name in UNITS:
        place = files(__name__) / "systemd"
    else:
        known = ", ".join((CLOUDFORMATION, *UNITS))
        raise KeyError(f"there is no file {name!r}; there are {known}")
    return (place / name).read_text(encoding="utf-8")
