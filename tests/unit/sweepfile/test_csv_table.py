"""Tables of points in CSV: what type each column gets."""

from __future__ import annotations

from typing import Any

import pytest

from gapless.declaration.csvtable import parse_table
from gapless.declaration.errors import DeclarationError


def column(*cells: str) -> list[Any]:
    text = "a,b\n" + "".join(f"{cell},x\n" for cell in cells)
    names, columns = parse_table(text.encode(), filename="t.csv")
    assert names == ["a", "b"]
    return columns[0]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "+3"], [1, -2, 3]),
        (["1", "2.5"], [1.0, 2.5]),
        (["1e3", ".5", "2."], [1000.0, 0.5, 2.0]),
        (["true", "False"], [True, False]),
        (["true", "maybe"], ["true", "maybe"]),
        (["1", "one"], ["1", "one"]),
        (["007", "08"], ["007", "08"]),
        (["1_000"], ["1_000"]),
        (["nan", "none"], ["nan", "none"]),
        ([" 1 ", "2"], [1, 2]),
    ],
)
def test_a_column_gets_the_narrowest_type_that_holds_all_of_it(
    cells: list[str], values: list[Any]
) -> None:
    found = column(*cells)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_quotes_line_ends_blank_lines_and_a_mark_are_read_as_spreadsheets_write_them() -> None:
    data = b'\xef\xbb\xbfa,b\r\n"x, y","he said ""no"""\r\n\r\n1,2\r\n'
    assert parse_table(data, filename="t.csv") == (
        ["a", "b"],
        [["x, y", "1"], ['he said "no"', "2"]],
    )


def test_lines_are_counted_as_an_editor_does() -> None:
    with pytest.raises(DeclarationError, match=r"t\.csv, line 5: found 1 values, expected 2"):
        parse_table(b'a,b\n"x\ny",1\n\n3\n', filename="t.csv")


def test_of_very_many_bad_rows_the_first_are_shown_and_the_others_counted() -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_table(b"a,b\n" + b"1\n" * 1_000, filename="t.csv")
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "t.csv: and 990 more rows like these"
