"""Targets: what people write. Sweep files, tables, expressions, durations, addresses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gapless.declaration.csvtable import parse_table
from gapless.declaration.durations import format_duration, parse_duration, parse_size
from gapless.declaration.errors import DeclarationError
from gapless.declaration.expression import Expression
from gapless.declaration.limits import Limits
from gapless.declaration.runset import MAX_RUNS
from gapless.declaration.space import Space
from gapless.declaration.sweep import Declaration, Sweep
from gapless.declaration.sweepfile import parse_sweep_file
from gapless.declaration.target import command_mistakes, word_parts
from gapless.errors import MissingExtra, UserMistake
from gapless.storage.errors import HomeError
from gapless.wiring.address import S3Address, home_address
from gapless.wiring.ledger_address import checked_ledger, holds_secret, shown_ledger
from receipts.errors import UnsupportedLedger
from receipts.postgresql_address import read_address
from tests.fuzz.messages import text_of
from tests.fuzz.target import Target, WrongValue, holds

__all__ = ["WRITTEN"]

_GOLDEN = Path(__file__).parents[1] / "unit/sweepfile/golden"
_MOST_POINTS = 3_000


# ------------------------------------------------------------------------- sweep files


def _check_sweep_file(data: bytes) -> bool:
    try:
        sweep = parse_sweep_file(data, filename="sweep.toml", read=_read_table)
    except MissingExtra:
        return False
    except DeclarationError as error:
        lines = str(error).split("\n")
        holds(all(line.startswith("sweep.toml: ") for line in lines), f"no place: {lines}")
        holds(all(len(line) < 2_000 for line in lines), "a mistake told at great length")
        return False
    holds(1 <= sweep.replicates <= MAX_RUNS, "replicates that cannot be")
    try:
        candidates = sum(block.count for block in sweep.space._blocks)
    except DeclarationError:
        # A formula whose values cannot be is told when it is evaluated.
        return True
    if candidates <= _MOST_POINTS:
        _check_frozen(sweep)
    return True


def _check_frozen(sweep: Sweep) -> None:
    try:
        frozen = sweep.freeze()
    except (DeclarationError, MissingExtra):
        return
    declaration = Declaration.decode(frozen.declaration.encode())
    holds(declaration.encode() == frozen.declaration.encode(), "it reads back otherwise")
    holds(declaration.id == frozen.id, "it reads back as another sweep")
    holds(frozen.segment.count == len(sweep.space.freeze()) * sweep.replicates, "runs are missing")


def _read_table(name: str) -> bytes:
    if name == "corners.csv":
        return (_GOLDEN / "corners.csv").read_bytes()
    raise FileNotFoundError(2, "No such file or directory")


def _sweep_file_seeds() -> list[bytes]:
    return [
        (_GOLDEN / "sweep.toml").read_bytes(),
        b"""name = "walk"
command = ["./walk", "--alpha={alpha}", "{{x}}"]
replicates = 3
seed = 7
seed_mode = "common"
order = "declared"
run_time = "5 ms"
[fixed]
states = 19
none = { none = true }
[space]
where = "n * alpha < 12 and n != 3"
zip = [{ model = ["a", "b"], weights = [1.5, 2] }]
[space.grid]
n = { range = [1, 9, 2] }
alpha = { linspace = [0.0, 1.0, 5] }
[limits]
time = "10 min"
memory = "2 GB"
attempts = 3
retry_on = ["lost", "timeout"]
max_failures = "5%"
""",
        b"""name = "two"
function = "walk:f"
[[space]]
points = [{ x = 1, y = 2, corner = "a" }, { x = 2, y = 0.5, corner = "b" }]
[[space]]
table = "corners.csv"
[[space]]
[space.grid]
x = [1]
y = [7]
corner = ["c", "d"]
""",
    ]


def _sweep_file_hostile() -> list[bytes]:
    head = b'name = "walk"\nfunction = "w:f"\n'
    numbers = (b"9" * 5000, b"0x" + b"f" * 5000, b"1e999", b"-9" + b"9" * 400, b"0." + b"1" * 5000)
    keys = (
        *(b"seed", b"replicates", b"priority", b"run_time", b"fixed.a", b"limits.time"),
        *(b"limits.memory", b"limits.attempts", b"limits.max_failures", b"space.grid.a", b"name"),
        *(b"space.sample.n", b"space.sample.seed", b"other"),
    )
    grids = (
        b"space.grid.a = { linspace = [0, 1, 1000000000000] }",
        b"space.grid.a = { range = [0, 1e18] }",
        b"space.grid.a = { range = [0, 1, 5e-324] }",
        b"space.grid.a = { logspace = [0, 400, 10] }",
        b"space.grid.a = { geomspace = [1e-300, 1e300, 3] }",
        b'space.sample = { method = "random", n = 1000000000000, parameters = {} }',
    )
    return [
        *(head + key + b" = " + number + b"\n" for key in keys for number in numbers),
        *(head + grid for grid in grids),
        head + b"fixed.a = " + b"[" * 10**5,
        head + b"fixed.a = " + b"[" * 500 + b"]" * 500,
        head + b"fixed." + b"a." * 2000 + b"a = 1",
        head + b"".join(b"key%d = 1\n" % number for number in range(3000)),
        head + b'limits.max_failures = "' + b"9" * 5000 + b'%"',
        head + b'run_time = "' + b"9" * 10**6 + b' s"',
        head + b'space.where = "' + b"(" * 1000 + b'"\nspace.grid.a = [1]',
        b"\xff\xfe",
    ]


# ------------------------------------------------------------------------- tables


def _check_csv(data: bytes) -> bool:
    try:
        names, columns = parse_table(data, filename="t.csv")
    except DeclarationError as error:
        lines = str(error).split("\n")
        holds(len(lines) <= 11 and all(len(line) < 2_000 for line in lines), "too long a mistake")
        return False
    holds(len(names) == len(columns) >= 1, "a column without a name")
    holds(len({len(column) for column in columns}) == 1, "columns of several lengths")
    for column in columns:
        holds(len({type(value) for value in column}) == 1, "a column of several types")
        holds(all(type(v) is not float or math.isfinite(v) for v in column), "no finite number")
    return True


def _csv_seeds() -> list[bytes]:
    return [
        (_GOLDEN / "corners.csv").read_bytes(),
        b'a,b,c,d\n1,1.5,true,"x, y"\n2,-2e3,false,007\n',
        "\ufeffa\r\né\r\n".encode(),
    ]


def _csv_hostile() -> list[bytes]:
    return [
        b"a\n" + b"9" * 5000 + b"\n",
        b"a\n" + b"9" * 10**6 + b"\n",
        b"a\n1e" + b"9" * 400 + b"\n",
        b"a\n" + b"1\n" * 20_000,
        b'a\n"' + b"x" * 10**6,
        b",".join(b"c%d" % number for number in range(50_000)) + b"\n1",
        b"a\n\0\n",
    ]


# ------------------------------------------------------------------------- expressions


_POINTS: list[dict[str, Any]] = [
    {"n": 1, "x": 0.5, "s": "ab", "v": [1, 2], "m": None},
    {"n": -3, "x": -0.0, "s": "", "v": {"a": 1}, "m": 2.5},
    {"n": 2**62, "x": 1e308, "s": "é", "v": "t", "m": True},
    {"n": 0, "x": 5e-324, "s": "ab", "v": [], "m": 7},
]


def _check_expression(data: bytes) -> bool:
    """Whole columns give what each point gives, the first failure too."""
    text = text_of(data)
    try:
        expression = Expression(text, ("n", "x", "s", "v", "m"))
    except DeclarationError:
        return False
    expected: list[Any] | str
    try:
        expected = [point for point in _POINTS if expression.at(point)]
    except DeclarationError as error:
        expected = str(error)
    try:
        kept = list(Space.points(_POINTS).where(text))
    except DeclarationError as error:
        if isinstance(expected, list) and expected:
            raise WrongValue(f"it fails on columns only: {error}") from error
        return True
    holds(json.dumps(kept) == json.dumps(expected), f"columns give {kept!r}, points {expected!r}")
    return True


def _expression_seeds() -> list[bytes]:
    texts = (
        "n * x < 12",
        "m is not None and (m + n) ** 2 >= 4 or s in ['ab', 'c']",
        "len(v) > 0 and v[0] == 1",
        "not n % 2 and round(x, 3) <= max(n, 1, 2.5)",
        "hypot(x, n) // 1 > -1 if s else floor(sqrt(abs(n))) == 1",
        "1 < n <= 3 != x",
    )
    return [text.encode() for text in texts]


def _expression_hostile() -> list[bytes]:
    return [
        b"9**9**9**9 > n",
        b"n ** 4000 * n ** 4000 > 0",
        b"*".join([b"9**999"] * 280) + b" > n",
        b"(" * 999 + b"n" + b")" * 999,
        b"-" * 1999 + b"n",
        b"not " * 490 + b"n",
        b"n" + b"[0]" * 600,
        b"n" + b" < n" * 480,
        b"0x" + b"f" * 1990 + b" > n",
        b"'" + b"x" * 1900 + b"' * 9",
        b"1" * 5000 + b" > n",
        b"9" * 1990 + b" ** 2 > x",
        b"[" * 100 + b"n" + b"]" * 100 + b" == v",
        b"'\\d' == s",
    ]


# ------------------------------------------------------------------------- quantities and words


def _check_quantity(data: bytes) -> bool:
    text = text_of(data)
    decoded = False
    for parse in (parse_duration, parse_size):
        try:
            found = parse(text)
        except DeclarationError:
            continue
        decoded = True
        holds(0 < found < math.inf, f"{text!r} is {found}")
    if decoded:
        try:
            seconds = parse_duration(text)
        except DeclarationError:
            return True
        shown = format_duration(seconds)
        again = parse_duration(shown) if 1e-6 <= seconds < 8e7 else seconds
        holds(abs(again - seconds) <= 0.01 * seconds, f"{text!r} is written as {again} s")
    return decoded


def _check_limits(data: bytes) -> bool:
    try:
        value = json.loads(data)
        limits = Limits(**value)
    except (ValueError, TypeError, RecursionError):
        # BadLimits is a ValueError; TypeError: no such limit.
        return False
    allowed = limits.failures_allowed(1000)
    holds(allowed is None or allowed >= 0, f"{allowed} failures allowed")
    holds(1 <= limits.attempts <= 1000, "attempts that cannot be")
    return True


def _check_words(data: bytes) -> bool:
    text = text_of(data)
    try:
        parts = word_parts(text)
    except ValueError:
        holds(command_mistakes([text], ["alpha"]), "a bad word is no mistake")
        return False
    written = "".join(
        part.replace("{", "{{").replace("}", "}}") + ("" if name is None else f"{{{name}}}")
        for part, name in parts
    )
    holds(word_parts(written) == _joined(parts), f"{text!r} reads back otherwise")
    return True


def _joined(parts: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """Put texts together that escaped braces had cut."""
    joined: list[tuple[str, str | None]] = []
    for text, name in word_parts("".join(_escaped(*part) for part in parts)):
        joined.append((text, name))
    return joined


def _escaped(text: str, name: str | None) -> str:
    return text.replace("{", "{{").replace("}", "}}") + ("" if name is None else f"{{{name}}}")


# ------------------------------------------------------------------------- addresses


def _check_home_address(data: bytes) -> bool:
    text = text_of(data)
    try:
        found = home_address(text)
    except (UserMistake, HomeError):
        return False
    if isinstance(found, S3Address):
        holds(home_address(found.url) == found, "an address reads back otherwise")
        holds("/" not in found.slug and found.slug not in {"", ".", ".."}, "no name of a file")
    else:
        holds(found.is_absolute() and ".." not in found.parts, "a folder that is none")
    return True


def _check_ledger_address(data: bytes) -> bool:
    text = text_of(data)
    # Elsewhere the same letters are no password, but the name of something.
    secret = text.startswith(_SECRET) and text.count("sEcReT") == 1
    try:
        url = checked_ledger(text)
    except UserMistake as error:
        holds(not secret or "sEcReT" not in str(error), "a password is shown")
        return False
    shown = shown_ledger(url)
    if secret:
        holds(holds_secret(url), "a password is not noticed")
        holds("sEcReT@" not in shown, "a password is shown")
    try:
        address = read_address(url)
    except UnsupportedLedger as error:
        holds(not secret or "sEcReT" not in str(error), "a password is shown")
        return False
    if secret:
        holds("sEcReT@" not in address.shown, "a password is shown")
    return True


_SECRET = "postgresql+psycopg://u:sEcReT@localhost"


def _ledger_seeds() -> list[bytes]:
    return [
        b"postgresql+psycopg://u:sEcReT@localhost:5432/gapless?schema=mine&sslmode=require",
        b"postgres://u@[::1]/db?password=sEcReT",
        b"postgresql:///db?host=/var/run/postgresql",
    ]


WRITTEN = [
    Target(
        name="sweep-file",
        check=_check_sweep_file,
        seeds=_sweep_file_seeds,
        hostile=_sweep_file_hostile,
    ),
    Target(name="csv", check=_check_csv, seeds=_csv_seeds, hostile=_csv_hostile, ratio=256),
    Target(
        name="expression",
        check=_check_expression,
        seeds=_expression_seeds,
        hostile=_expression_hostile,
    ),
    Target(
        name="quantity",
        check=_check_quantity,
        seeds=lambda: [b"5 ms", b"10min", b".5 h", b"2 GB", b"512 MiB", b"3"],
        hostile=lambda: [
            b"9" * 10**6,
            b"9" * 10**6 + b" s",
            b" " * 10**6 + b"x",
            b"1." + b"0" * 39,
        ],
    ),
    Target(
        name="limits",
        check=_check_limits,
        seeds=lambda: [
            b'{"time_s": 5.5, "memory_bytes": 9, "attempts": 3, "max_failures": "5%"}',
            b'{"retry_on": ["lost", "failed"], "max_failures": 12}',
        ],
        hostile=lambda: [b'{"max_failures": "' + b"9" * 5000 + b'%"}', b'{"time_s": 1e400}'],
    ),
    Target(
        name="command-word",
        check=_check_words,
        seeds=lambda: [b"--alpha={alpha}", b"{{{n}}}", b"plain", b"{a}{b}"],
        hostile=lambda: [b"{" * 10**5, b"{a" * 10**5, b"{{" * 10**5, b"{a:" * 10**4],
    ),
    Target(
        name="home-address",
        check=_check_home_address,
        seeds=lambda: [b"s3://my-bucket/a/b", b"sweeps", b"~/x/../y", b"S3://bucket"],
        hostile=lambda: [b"s3://bucket/" + b"a/" * 10**5, b"/" * 10**5, b"a\0b", b"~nobody-here/x"],
    ),
    Target(
        name="ledger-address",
        check=_check_ledger_address,
        seeds=_ledger_seeds,
        hostile=lambda: [b"postgresql://" + b"a" * 10**6, b"postgresql://[", b"postgresql://h:x/"],
    ),
]
