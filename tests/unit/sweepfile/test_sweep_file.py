"""Good sweep files: what they mean."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gapless.declaration.errors import DeclarationError
from gapless.declaration.sweep import CommandTarget, FunctionTarget, Limits, Sweep
from gapless.declaration.sweepfile import parse_sweep_file

HEAD = 'name = "walk"\nfunction = "walk:rms_error"\n'


def parse(text: str, files: Mapping[str, bytes] | None = None) -> Sweep:
    return parse_sweep_file(
        text.encode(), filename="sweep.toml", read=lambda name: (files or {})[name]
    )


def points(text: str, files: Mapping[str, bytes] | None = None) -> list[dict[str, object]]:
    return list(parse(HEAD + text, files).space)


def test_every_key_of_the_top_and_of_the_limits_is_read() -> None:
    sweep = parse(
        HEAD
        + """
        code = "src"
        replicates = 100
        seed = 2009
        seed_mode = "common"
        order = "declared"
        run_time = "5 ms"
        priority = -3
        [fixed]
        states = 19
        [space.grid]
        n = [1, 2]
        [limits]
        time = "10 min"
        memory = "2 GB"
        attempts = 5
        retry_on = ["lost", "failed"]
        max_failures = "5%"
        """
    )
    assert sweep.target == FunctionTarget(function="walk:rms_error")
    assert (sweep.name, sweep.code, sweep.replicates, sweep.seed) == ("walk", "src", 100, 2009)
    assert (sweep.seed_mode, sweep.order) == ("common", "declared")
    assert (sweep.run_time_s, sweep.priority) == (0.005, -3)
    assert sweep.fixed == {"states": 19}
    assert sweep.parameters == ("n", "states")
    assert sweep.source == "sweep.toml"
    assert sweep.limits == Limits(
        time_s=600.0,
        memory_bytes=2 * 10**9,
        attempts=5,
        retry_on=("lost", "failed"),
        max_failures="5%",
    )


def test_what_is_left_out_has_its_default() -> None:
    sweep = parse(HEAD + "[space.grid]\nn = [1]\n")
    assert sweep.limits == Limits()
    assert (sweep.code, sweep.replicates, sweep.seed, sweep.priority) == (".", 1, 0, 0)
    assert (sweep.seed_mode, sweep.order, sweep.run_time_s) == ("point", "shuffled", None)
    assert sweep.fixed == {}


def test_a_command_is_read_with_its_placeholders() -> None:
    sweep = parse(
        'name = "walk"\ncommand = ["./walk", "--alpha={alpha}", "{{x}}", "{seed}", "{run_dir}"]\n'
        "[space.grid]\nalpha = [1]\n"
    )
    assert sweep.target == CommandTarget(
        command=("./walk", "--alpha={alpha}", "{{x}}", "{seed}", "{run_dir}")
    )


def test_a_file_that_begins_with_a_byte_order_mark_is_read() -> None:
    text = b"\xef\xbb\xbf" + (HEAD + "[space.grid]\nn = [1]\n").encode()

    def nothing(name: str) -> bytes:
        raise FileNotFoundError(name)

    assert parse_sweep_file(text, filename="sweep.toml", read=nothing).name == "walk"


def test_a_grid_combines_lists_and_formulas() -> None:
    found = points(
        "[space.grid]\nn = { range = [1, 4] }\nalpha = { linspace = [0.0, 1.0, 3] }\n"
        "beta = { geomspace = [1, 100, 3] }\ngamma = { logspace = [0, 1, 2] }\n"
    )
    assert len(found) == 3 * 3 * 3 * 2
    assert found[0] == {"n": 1, "alpha": 0.0, "beta": 1.0, "gamma": 1.0}
    assert found[-1]["n"] == 3
    assert {point["alpha"] for point in found} == {0.0, 0.5, 1.0}
    assert [type(value) for value in found[0].values()] == [int, float, float, float]


def test_the_parts_of_a_space_multiply_and_where_keeps_some() -> None:
    found = points(
        """
        [space]
        where = "n + m < 4"
        zip = [{ model = ["a", "b"], weights = [0.5, 0.25] }]
        points = [{ m = 1 }, { m = 2 }]
        table = "corners.csv"
        [space.grid]
        n = [1, 2]
        """,
        {"corners.csv": b"x,y\n1,left\n2,right\n"},
    )
    assert len(found) == 3 * 2 * 2
    assert found[0] == {"n": 1, "model": "a", "weights": 0.5, "m": 1, "x": 1, "y": "left"}
    assert {(point["n"], point["m"]) for point in found} == {(1, 1), (1, 2), (2, 1)}
    assert {(point["model"], point["weights"]) for point in found} == {("a", 0.5), ("b", 0.25)}


def test_several_zips_multiply() -> None:
    found = points("[space]\nzip = [{ a = [1, 2], b = [3, 4] }, { c = [5, 6] }]\n")
    assert found == [
        {"a": 1, "b": 3, "c": 5},
        {"a": 1, "b": 3, "c": 6},
        {"a": 2, "b": 4, "c": 5},
        {"a": 2, "b": 4, "c": 6},
    ]


def test_several_spaces_are_a_union_without_duplicates() -> None:
    found = points(
        "[[space]]\ngrid = { a = [1, 2], b = [1] }\n"
        '[[space]]\nwhere = "a > 1"\ngrid = { a = [1, 2, 3], b = [1] }\n'
    )
    assert found == [{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 3, "b": 1}]


def test_a_sample_may_have_a_parameter_called_n() -> None:
    text = (
        '[space.sample]\nmethod = "random"\nn = 50\nseed = 3\n'
        "[space.sample.parameters]\nn = { integers = [1, 9] }\nmethod = { choice = ['a', 'b'] }\n"
        "x = { uniform = [0, 1] }\ny = { loguniform = [1e-4, 1] }\n"
    )
    found = points(text)
    assert len(found) == 50
    assert {point["n"] for point in found} <= set(range(1, 10))
    assert {point["method"] for point in found} == {"a", "b"}
    assert all(0 <= point["x"] <= 1 for point in found)  # type: ignore[operator]
    assert found == points(text)
    assert found != points(text.replace("seed = 3", "seed = 4"))


def test_values_may_be_of_any_json_type() -> None:
    found = points(
        "[space.grid]\n"
        'gamma = ["scale", 0.1, true, 3, { none = true }, [1, [2]], { a = [{ none = true }] }]\n'
        "[fixed]\nnothing = { none = true }\noptions = { deep = [1, { none = true }] }\n"
    )
    values = [point["gamma"] for point in found]
    assert values == ["scale", 0.1, True, 3, None, [1, [2]], {"a": [None]}]
    fixed = parse(
        HEAD + "[fixed]\nnothing = { none = true }\noptions = { deep = [1, { none = true }] }\n"
    ).fixed
    assert fixed == {"nothing": None, "options": {"deep": [1, None]}}


def test_axes_may_be_called_like_keys_of_the_space() -> None:
    found = points("[space.grid]\npoints = [100, 200]\ntable = ['a']\n[fixed]\ngrid = 3\n")
    assert found == [{"points": 100, "table": "a"}, {"points": 200, "table": "a"}]


def test_without_a_space_there_is_one_point_to_repeat() -> None:
    sweep = parse(HEAD + "replicates = 5\n[fixed]\nn = 3\n")
    assert list(sweep.space) == [{}]
    assert sweep.freeze().segment.count == 5


def test_freezing_gives_the_declaration_its_segment_and_its_objects() -> None:
    frozen = parse(
        HEAD + 'replicates = 4\n[space]\nwhere = "n != 2"\n[space.grid]\nn = [1, 2, 3]\n'
    ).freeze()
    assert frozen.id.startswith("walk-")
    assert len(frozen.id) == len("walk-") + 8
    assert frozen.segment.number == 0
    assert frozen.segment.base == 0
    assert frozen.segment.count == 8
    assert frozen.declaration.replicates == 4


def test_more_runs_than_a_sweep_may_have_are_refused_with_advice() -> None:
    axes = "".join(f"{name} = {{ range = [0, 1000] }}\n" for name in "abcd")
    sweep = parse(HEAD + "[space.grid]\n" + axes)
    with pytest.raises(DeclarationError, match=r"sweep\.toml: space: .*1,000,000,000,000.*dry-run"):
        sweep.freeze()
