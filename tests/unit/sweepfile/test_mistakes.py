"""Bad sweep files: each mistake is one line that names file, key, what was found, what expected."""

from __future__ import annotations

import pytest

from gapless.declaration.errors import DeclarationError
from gapless.declaration.sweepfile import parse_sweep_file

HEAD = 'name = "walk"\nfunction = "walk:rms_error"\n'
GRID = "[space.grid]\nn = [1, 2]\n"
GOOD = HEAD + GRID

TABLES = {
    "ragged.csv": b"a,b\n1,2\n3\n4,5,6\n",
    "empty.csv": b"",
    "header.csv": b"a,b\n",
    "hole.csv": b"a,b\n1,\n",
    "nan.csv": b"a,b\n1,2.5\n3,nan\n",
    "latin.csv": b"a\n\xff\n",
    "quote.csv": b'a\n"1\n',
    "seed.csv": b"seed,b\n1,2\n",
    "twice.csv": b"a,a\n1,2\n",
}


def read(name: str) -> bytes:
    if name not in TABLES:
        raise FileNotFoundError(2, "No such file or directory", name)
    return TABLES[name]


def mistakes(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(DeclarationError) as caught:
        parse_sweep_file(data, filename="sweep.toml", read=read).freeze()
    lines = str(caught.value).splitlines()
    assert all(line.startswith("sweep.toml: ") for line in lines), lines
    return [line.removeprefix("sweep.toml: ") for line in lines]


def test_every_unknown_key_is_reported_at_once_with_its_path_and_the_nearest() -> None:
    found = mistakes(
        HEAD
        + "replicate = 3\n[[space]]\ngrid = { n = [1] }\n"
        + "[[space]]\ngird = { n = [1] }\ngrid = { n = [2] }\n"
        + '[space.sample]\nmetod = "sobol"\n[limits]\ntme = 3\n"odd key" = 1\n'
    )
    assert 'replicate: found an unknown key, expected "replicates"' in found
    assert 'space[1].gird: found an unknown key, expected "grid"' in found
    assert 'space[1].sample.metod: found an unknown key, expected "method"' in found
    assert 'limits.tme: found an unknown key, expected "time"' in found
    assert (
        'limits."odd key": found an unknown key, expected one of attempts, max_failures, memory, '
        "retry_on, time" in found
    )


def test_a_key_in_the_wrong_table_is_told_its_place() -> None:
    assert mistakes(HEAD + "attempts = 3\n" + GRID) == [
        'attempts: found an unknown key, expected "attempts" in [limits]'
    ]
    (told,) = mistakes(GOOD + "[limits]\nreplicates = 3\n")
    assert told.startswith('limits.replicates: found an unknown key, expected "replicates" ')
    assert told.endswith("at the top, before the first [table]")


@pytest.mark.parametrize("key", ["environment", "keep_files", "not_before", "setup"])
def test_keys_of_later_versions_are_unknown(key: str) -> None:
    (line,) = mistakes(HEAD + f"{key} = 1\n" + GRID)
    assert line.startswith(f"{key}: found an unknown key, expected ")


def test_unknown_keys_and_wrong_types_are_reported_together() -> None:
    found = mistakes(HEAD + "replicates = 'many'\nordr = 1\n" + GRID)
    assert found == [
        'ordr: found an unknown key, expected "order"',
        'replicates: found the text "many", expected a whole number from 1 to 10000000000',
    ]


TYPES = {
    'name = "Walk"': ("name", '"Walk"', "lower-case"),
    'name = "-walk"': ("name", '"-walk"', "lower-case"),
    'name = "wälk"': ("name", "wälk", "lower-case"),
    f'name = "{"w" * 41}"': ("name", "www", "at most 40"),
    "name = 3": ("name", "found 3", "lower-case"),
    "replicates = 0": ("replicates", "found 0", "from 1"),
    "replicates = 1.5": ("replicates", "found 1.5", "whole number"),
    "replicates = true": ("replicates", "found true", "whole number"),
    "seed = -1": ("seed", "found -1", "from 0"),
    "seed = 9223372036854775808": ("seed", "9223372036854775808", "2**63"),
    'seed_mode = "none"': ("seed_mode", '"none"', '"point" or "common"'),
    'order = "random"': ("order", '"random"', '"shuffled" or "declared"'),
    'run_time = "5 parsecs"': ("run_time", "5 parsecs", '"5 ms"'),
    "run_time = 0": ("run_time", "found 0", "above 0"),
    "run_time = inf": ("run_time", "inf", '"5 ms"'),
    "run_time = true": ("run_time", "true", '"5 ms"'),
    "priority = 'high'": ("priority", '"high"', "whole number"),
    "priority = 5000": ("priority", "5000", "1000"),
    "code = 3": ("code", "found 3", "folder"),
    "command = 'ls'": ("command", '"ls"', "list of words"),
    "function = 3": ("function", "found 3", "module:name"),
    "fixed = 3": ("fixed", "found 3", "[fixed]"),
    "limits = []": ("limits", "an empty list", "[limits]"),
    "space = 3": ("space", "found 3", "[space]"),
    "space = [3]": ("space[0]", "found 3", "a table"),
    "space = []": ("space", "an empty list", "[space]"),
}


@pytest.mark.parametrize("line", TYPES)
def test_a_wrong_value_at_the_top_is_told(line: str) -> None:
    key = line.partition(" ")[0]
    head = "".join(each + "\n" for each in HEAD.splitlines() if not each.startswith(key))
    found = mistakes(head + line + "\n" + ("" if key == "space" else GRID))
    where, what, expected = TYPES[line]
    assert len([each for each in found if each.startswith(f"{where}: ")]) == 1
    (told,) = [each for each in found if each.startswith(f"{where}: ")]
    assert what in told
    assert expected in told.partition("expected")[2]


LIMITS = {
    "time = 0": "limits.time",
    "time = 'soon'": "limits.time",
    "time = [1]": "limits.time",
    "memory = '2 XB'": "limits.memory",
    "memory = 1.5": "limits.memory",
    "attempts = 0": "limits.attempts",
    "attempts = 1.0": "limits.attempts",
    "retry_on = ['lost', 'ok']": "limits.retry_on[1]",
    "retry_on = 'lost'": "limits.retry_on",
    "max_failures = '101%'": "limits.max_failures",
    "max_failures = '5'": "limits.max_failures",
    "max_failures = -1": "limits.max_failures",
    "max_failures = 0.5": "limits.max_failures",
    "max_failures = true": "limits.max_failures",
}


@pytest.mark.parametrize("line", LIMITS)
def test_a_wrong_limit_is_told(line: str) -> None:
    (told,) = mistakes(GOOD + "[limits]\n" + line + "\n")
    assert told.startswith(LIMITS[line] + ": found ")
    assert ", expected " in told


def test_what_is_missing_is_told_together() -> None:
    found = mistakes(GRID)
    assert [line.partition(":")[0] for line in found] == ["name", "function, command"]


def test_a_function_and_a_command_together_are_refused() -> None:
    (told,) = mistakes(HEAD + 'command = ["ls"]\n' + GRID)
    assert told.startswith("function, command: found both")


FUNCTIONS = {
    "walk.py:rms": '"walk:rms"',
    "walk.rms": '"walk:rms"',
    "./src/walk.py:rms": '"src.walk:rms"',
    "walk": '"module:name"',
    "walk:": '"module:name"',
    ":rms": '"module:name"',
    "walk:rms error": '"module:name"',
    "walk:class": '"module:name"',
    "walk:a.b": '"module:name"',
    "": '"module:name"',
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_that_cannot_be_one_is_told_what_was_meant(function: str) -> None:
    (told,) = mistakes(f'name = "walk"\nfunction = "{function}"\n' + GRID)
    assert told.startswith(f'function: found "{function}", expected ')
    assert FUNCTIONS[function] in told


def test_a_placeholder_that_no_parameter_has_is_told() -> None:
    found = mistakes('name = "w"\ncommand = ["./w", "{m}", "{nn}", "{"]\n' + GRID)
    assert len(found) == 3
    assert all(line.startswith("command: found ") for line in found)
    assert "expected {n}" in found[1]


AXES = {
    "a = []": ("space.grid.a", "empty"),
    "a = 3": ("space.grid.a", "[fixed]"),
    "a = 'text'": ("space.grid.a", "[fixed]"),
    "a = { linspce = [0, 1, 3] }": ("space.grid.a", "linspace"),
    "a = { linspace = [0, 1, 3], range = [1, 2] }": ("space.grid.a", "linspace"),
    "a = {}": ("space.grid.a", "linspace"),
    "a = { linspace = [0, 1] }": ("space.grid.a", "count"),
    "a = { linspace = [0, 1, 0] }": ("space.grid.a", "count"),
    "a = { range = [3, 3] }": ("space.grid.a", "empty"),
    "a = { geomspace = [0, 1, 3] }": ("space.grid.a", "zero"),
    "a = [1979-05-27]": ("space.grid.a[0]", "date"),
    "a = [1, 07:32:00]": ("space.grid.a[1]", "date"),
    "a = [1, inf]": ("space.grid.a[1]", "inf"),
    "a = [1, [2, nan]]": ("space.grid.a[1][1]", "nan"),
    "a = [{ x = -inf }]": ("space.grid.a[0].x", "-inf"),
    "a = [9223372036854775808]": ("space.grid.a[0]", "64 bits"),
    "run = [1]": ("space.grid.run", "reserved"),
    "run_dir = [1]": ("space.grid.run_dir", "reserved"),
    "class = [1]": ("space.grid.class", "Python name"),
    "'a b' = [1]": ("space.grid.a b", "Python name"),
}


@pytest.mark.parametrize("line", AXES)
def test_a_wrong_axis_is_told(line: str) -> None:
    (told,) = mistakes(HEAD + "[space.grid]\n" + line + "\n")
    where, word = AXES[line]
    assert told.startswith(where + ": ")
    assert word in told


@pytest.mark.parametrize("name", ["replicates", "seed", "order", "limits", "code", "name"])
@pytest.mark.parametrize(
    "table", ["[space.grid]\nn = [1]\n", "[fixed]\n", "[space]\npoints = [{ PAIR }]\n"]
)
def test_a_parameter_named_like_a_top_level_key_is_told_to_move(name: str, table: str) -> None:
    if "PAIR" in table:
        text = HEAD + table.replace("PAIR", f"{name} = 3")
    elif table.startswith("[fixed]"):
        text = HEAD + table + f"{name} = 3\n" + GRID
    else:
        text = HEAD + table + f"{name} = [3]\n"
    (told,) = mistakes(text)
    assert "at the top of the file: move it before the first [table]" in told
    assert f".{name}: " in told


@pytest.mark.parametrize(
    "line",
    ['where = "n > 1"', "zip = [{ a = [1], b = [2] }]", "points = [{ a = 1 }]", 'table = "a.csv"'],
)
def test_a_key_of_the_space_after_its_grid_is_told_to_stand_before(line: str) -> None:
    (told,) = mistakes(GOOD + line + "\n")
    key = line.partition(" ")[0]
    assert told.startswith(f"space.grid.{key}: found ")
    assert f"write {key} before [space.grid]" in told


SPACES = {
    "[space]\n": ("space", "empty space"),
    "[space.grid]\n": ("space.grid", "empty table"),
    "[space]\ngrid = 3\n": ("space.grid", "found 3"),
    "[space]\nwhere = 3\n[space.grid]\nn = [1]\n": ("space.where", "found 3"),
    "[space]\nwhere = 'm > 1'\n[space.grid]\nn = [1]\n": ("space.where", "no parameter"),
    "[space]\nwhere = 'n >'\n[space.grid]\nn = [1]\n": ("space.where", "n >"),
    "[space]\nwhere = 'n.real'\n[space.grid]\nn = [1]\n": ("space.where", "attribute"),
    "[space]\nwhere = 'n > 5'\n[space.grid]\nn = [1]\n": ("space", "n > 5"),
    "[space]\nzip = []\n": ("space.zip", "empty list"),
    "[space]\nzip = [{}]\n": ("space.zip[0]", "empty table"),
    "[space]\nzip = { a = [1] }\n": ("space.zip", "list of tables"),
    "[space]\nzip = [{ a = [1, 2], b = [1] }]\n": ("space.zip[0]", "row 2"),
    "[space]\nzip = [{ a = [1] }, { b = 3 }]\n": ("space.zip[1].b", "found 3"),
    "[space]\npoints = []\n": ("space.points", "empty list"),
    "[space]\npoints = [{ a = 1 }, { b = 1 }]\n": ("space.points", "row 2"),
    "[space]\npoints = [{ a = 1 }, 3]\n": ("space.points[1]", "found 3"),
    "[space]\npoints = [{ a = nan }]\n": ("space.points[0].a", "nan"),
    "[space]\ntable = 3\n": ("space.table", "found 3"),
    "[space]\ntable = 'no.csv'\n": ("space.table", "No such file"),
    "[space]\ntable = 'empty.csv'\n": ("space.table", "empty"),
    "[space]\ntable = 'header.csv'\n": ("space.table", "without rows"),
    "[space]\ntable = 'hole.csv'\n": ("space.table", "hole.csv, line 2, column b: found nothing"),
    "[space]\ntable = 'nan.csv'\n": ("space.table", "nan.csv, line 3, column b: found nan"),
    "[space]\ntable = 'latin.csv'\n": ("space.table", "latin.csv, line 2"),
    "[space]\ntable = 'quote.csv'\n": ("space.table", "quote.csv, line 2"),
    "[space]\ntable = 'seed.csv'\n": ("space.table", "column seed"),
    "[space]\ntable = 'twice.csv'\n": ("space.table", "twice"),
    "[space]\nsample = 3\n": ("space.sample", "found 3"),
    "[space]\npoints = [{ n = 1 }]\n[space.grid]\nn = [1]\n": ("space", "both sides"),
    "[[space]]\ngrid = { a = [1] }\n[[space]]\ngrid = { b = [1] }\n": ("space[1]", "without"),
    "[fixed]\nn = 3\n[space.grid]\nn = [1]\n": ("fixed.n", "parameter of the space too"),
    "[fixed]\nrun = 3\n": ("fixed.run", "another name"),
    "[fixed]\nday = 1979-05-27\n": ("fixed.day", "date"),
    "[fixed]\nx = [inf]\n": ("fixed.x[0]", "inf"),
}


@pytest.mark.parametrize("text", SPACES)
def test_a_wrong_space_is_told(text: str) -> None:
    (told,) = mistakes(HEAD + text)
    where, word = SPACES[text]
    assert told.startswith(where + ": ")
    assert word in told


def test_each_ragged_row_of_a_table_is_told_with_its_line() -> None:
    assert mistakes(HEAD + "[space]\ntable = 'ragged.csv'\n") == [
        "space.table: ragged.csv, line 3: found 1 values, expected 2 (a, b)",
        "space.table: ragged.csv, line 4: found 3 values, expected 2 (a, b)",
    ]


def test_each_mistake_of_a_sample_is_told() -> None:
    found = mistakes(HEAD + '[space.sample]\nmethod = "sobl"\nn = 0\nseed = -1\nparameters = 3\n')
    assert [line.partition(":")[0] for line in found] == [
        "space.sample.method",
        "space.sample.n",
        "space.sample.seed",
        "space.sample.parameters",
    ]
    (told,) = mistakes(
        HEAD + '[space.sample]\nmethod = "lhs"\nn = 3\n[space.sample.parameters]\n'
        "x = { unifrm = [0, 1] }\n"
    )
    assert "uniform" in told


BROKEN = {
    "name = ": "line 1: found 'name ='",
    'name = "a"\nname = "b"\n': "line 2: found 'name = \"b\"'",
    "a = [1,\n2,\n": "line 2: found '2,'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_toml_is_told_with_its_line(text: str) -> None:
    (told,) = mistakes(text)
    assert told.startswith(BROKEN[text])
    assert "expected TOML" in told


def test_an_empty_file_is_told_what_it_lacks() -> None:
    assert [line.partition(":")[0] for line in mistakes("")] == ["name", "function, command"]


def test_what_is_no_text_is_told_with_its_line() -> None:
    (told,) = mistakes(b'name = "a"\nfunction = "\xff"\n')
    assert told == "line 2: found bytes that are no UTF-8, expected TOML in UTF-8"


@pytest.mark.parametrize(
    "text",
    [
        'space = { table = "\\n" }\n',
        'space = { table = "a\\u2028b" }\n',
        '[space.grid]\n"x\\ny" = [1]\n',
        '[space.zip]\n"x\\ny" = 1\n',
    ],
)
def test_a_name_with_a_line_end_in_it_leaves_a_mistake_one_line(text: str) -> None:
    assert len(mistakes(HEAD + text)) == 1
