"""The examples of the design's section on the sweep file, letter by letter."""

from __future__ import annotations

import pytest

from gapless.declaration.errors import DeclarationError
from gapless.declaration.sweep import CommandTarget, FunctionTarget, Limits, Sweep
from gapless.declaration.sweepfile import parse_sweep_file

EXAMPLE = """
name = "random-walk"
function = "walk:rms_error"      # or: command = ["./walk", "--alpha={alpha}", "--seed={seed}"]
code = "."                       # folder shipped with the sweep; default: the sweep file's folder
replicates = 100
seed = 2009
order = "shuffled"               # or "declared"; shuffled: early results are a fair sample
run_time = "5 ms"                # optional hint for sizing jobs

[fixed]
states = 19

[space]                          # or [[space]] several times: their union, duplicates dropped
where = "n * alpha < 12"         # safe expression on parameters
[space.grid]                     # every combination
n = [1, 2, 4, 8, 16]
alpha = { linspace = [0.0, 1.0, 21] }          # also range (stop excluded), logspace, geomspace

[limits]
time = "10 min"                  # per attempt, enforced from outside the worker
memory = "2 GB"
attempts = 3
retry_on = ["lost", "timeout"]   # classes of failure worth another attempt
max_failures = "5%"              # then the sweep pauses itself
"""
FILES = {"corners.csv": b"alpha,n\n0.0,1\n1.0,16\n"}


def parse(text: str) -> Sweep:
    return parse_sweep_file(text.encode(), filename="sweep.toml", read=FILES.__getitem__)


def with_space(space: str) -> Sweep:
    head, _, rest = EXAMPLE.partition("[space]")
    return parse(head + space + "\n[limits]" + rest.partition("[limits]")[2])


def test_the_whole_example_is_read() -> None:
    sweep = parse(EXAMPLE)
    assert sweep.name == "random-walk"
    assert sweep.target == FunctionTarget(function="walk:rms_error")
    assert (sweep.code, sweep.replicates, sweep.seed, sweep.order) == (".", 100, 2009, "shuffled")
    assert sweep.run_time_s == 0.005
    assert sweep.fixed == {"states": 19}
    assert sweep.limits == Limits(
        time_s=600.0,
        memory_bytes=2 * 10**9,
        attempts=3,
        retry_on=("lost", "timeout"),
        max_failures="5%",
    )
    every = [(n, k / 20) for n in (1, 2, 4, 8, 16) for k in range(21)]
    kept = [(n, alpha) for n, alpha in every if n * alpha < 12]
    points = list(sweep.space)
    assert [point["n"] for point in points] == [n for n, _ in kept]
    assert [point["alpha"] for point in points] == pytest.approx([alpha for _, alpha in kept])
    assert sweep.freeze().segment.count == len(kept) * 100


def test_the_example_may_run_a_command_instead() -> None:
    sweep = parse(
        EXAMPLE.replace(
            'function = "walk:rms_error"',
            'command = ["./walk", "--alpha={alpha}", "--seed={seed}"]',
        )
    )
    assert sweep.target == CommandTarget(command=("./walk", "--alpha={alpha}", "--seed={seed}"))


@pytest.mark.parametrize(
    ("spelling", "values"),
    [
        ("range = [0, 4]", [0, 1, 2, 3]),
        ("range = [0.0, 1.0, 0.25]", [0.0, 0.25, 0.5, 0.75]),
        ("logspace = [-1, 1, 3]", [0.1, 1.0, 10.0]),
        ("geomspace = [1, 100, 3]", [1.0, 10.0, 100.0]),
    ],
)
def test_an_axis_by_each_formula_is_read(spelling: str, values: list[float]) -> None:
    sweep = with_space(f"[space.grid]\nalpha = {{ {spelling} }}\n")
    assert [point["alpha"] for point in sweep.space] == pytest.approx(values)


@pytest.mark.parametrize(
    ("space", "count"),
    [
        (
            '[space]\nzip = [{ model = ["a", "b"], weights = ["a.npz", "b.npz"] }]\n',
            2,
        ),
        ("[space]\npoints = [{ n = 1, alpha = 0.5 }, { n = 2, alpha = 0.25 }]\n", 2),
        ('[space]\ntable = "corners.csv"\n', 2),
        (
            "[[space]]\npoints = [{ n = 1, alpha = 0.0 }]\n[[space]]\ntable = 'corners.csv'\n",
            2,
        ),
    ],
)
def test_each_other_block_of_a_space_is_read(space: str, count: int) -> None:
    assert len(with_space(space).space) == count


@pytest.mark.parametrize("method", ["random", "sobol", "lhs", "halton"])
def test_a_sample_is_drawn_by_each_method(method: str) -> None:
    sweep = with_space(
        f'[space.sample]\nmethod = "{method}"\nn = 16\nseed = 1\n'
        "[space.sample.parameters]\n"
        "a = { uniform = [0, 1] }\nb = { loguniform = [1e-4, 1] }\n"
        'c = { integers = [1, 9] }\nd = { choice = ["x", "y"] }\n'
    )
    points = list(sweep.space)
    assert len(points) == 16
    for point in points:
        assert 0 <= point["a"] <= 1
        assert 1e-4 <= point["b"] <= 1
        assert point["c"] in range(1, 10)
        assert point["d"] in {"x", "y"}


@pytest.mark.parametrize("place", ["[fixed]\nreplicates = 19\n", "[fixed]\nseed = 1\n"])
def test_a_fixed_parameter_named_like_a_top_level_key_is_told_to_move(place: str) -> None:
    with pytest.raises(DeclarationError, match=r"sweep\.toml: fixed\.(replicates|seed): .*"):
        parse(EXAMPLE.replace("[fixed]\n", place))
