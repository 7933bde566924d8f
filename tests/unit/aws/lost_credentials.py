"""Credentials that a program had and that cannot be had any more, in every way they are given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gapless.aws import Trouble
from tests.services.servers import free_port

__all__ = ["LOSSES", "Loss", "ProfileFile"]

_REGION_LINE = "[profile lab]\nregion = eu-central-1\n"
_KEYS = "aws_access_key_id = lab-key\naws_secret_access_key = lab-secret\n"


class ProfileFile:
    """The settings of a person whose credentials come from a profile; `give` makes them good."""

    def __init__(self, folder: Path, environment: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.environment = environment
        self._file = folder / "config"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.delenv(name)
        environment.setenv("AWS_CONFIG_FILE", str(self._file))
        environment.setenv("AWS_PROFILE", "lab")
        self.give()

    def give(self) -> None:
        self.write(_REGION_LINE + _KEYS)

    def write(self, text: str) -> None:
        self._file.write_text(text)

    def let_a_process_say(self, command: str) -> None:
        """Have credentials come from a process that is this shell command."""
        process = self.folder / "process"
        process.write_text(f"#!/bin/sh\n{command}\n")
        process.chmod(0o755)
        self.write(f"{_REGION_LINE}credential_process = {process}\n")


@dataclass(frozen=True)
class Loss:
    """A way to lose them. `words`: what the error says; `trouble`: what it means."""

    words: str
    trouble: Trouble = Trouble.CREDENTIALS

    def happen(self, profile: ProfileFile) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class _Rewritten(Loss):
    text: str = ""

    def happen(self, profile: ProfileFile) -> None:
        profile.write(self.text)


@dataclass(frozen=True)
class _Process(Loss):
    command: str = ""

    def happen(self, profile: ProfileFile) -> None:
        profile.let_a_process_say(self.command)


@dataclass(frozen=True)
class _NoProcess(Loss):
    def happen(self, profile: ProfileFile) -> None:
        profile.write(f"{_REGION_LINE}credential_process = {profile.folder}/missing\n")


@dataclass(frozen=True)
class _NoToken(Loss):
    def happen(self, profile: ProfileFile) -> None:
        profile.write(
            f"{_REGION_LINE}role_arn = arn:aws:iam::000000000000:role/lab\n"
            f"web_identity_token_file = {profile.folder}/missing\n"
        )


@dataclass(frozen=True)
class _Container(Loss):
    token_file: str = ""

    def happen(self, profile: ProfileFile) -> None:
        profile.write(_REGION_LINE)
        url = f"http://127.0.0.1:{free_port()}/"
        profile.environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        if self.token_file:
            profile.environment.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", self.token_file)


def _said(**more: str) -> str:
    keys = {"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "t", **more}
    return f"echo '{json.dumps(keys)}'"


_PAST = _said(Expiration=(datetime.now(UTC) - timedelta(hours=1)).isoformat())

LOSSES: dict[str, Loss] = {
    "the profile is gone": _Rewritten(r"profile \(lab\) could not be found", text="[default]\n"),
    "the file is half written": _Rewritten("Unable to parse config file", text="[profile la"),
    "the profile holds no keys": _Rewritten("Unable to locate credentials", text=_REGION_LINE),
    "the profile holds half the keys": _Rewritten(
        "Partial credentials", text=f"{_REGION_LINE}aws_access_key_id = k\n"
    ),
    "the process says nothing": _Process("JSONDecodeError: Expecting value", command=""),
    "the process says something else": _Process("AttributeError", command="echo '[]'"),
    "the process fails": _Process("log in first", command="echo log in first >&2; exit 1"),
    "the process gives expired ones": _Process("still expired", command=_PAST),
    "the process is not there": _NoProcess("FileNotFoundError.*missing"),
    "the token file is not there": _NoToken("FileNotFoundError.*missing"),
    "the endpoint is away": _Container("from container-role", Trouble.AWAY),
    "the endpoint's token file is not there": _Container(
        "FileNotFoundError.*/nowhere", token_file="/nowhere"
    ),
}
