"""From values to words, and what may stand in braces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_node.command_words import CommandWords, parameter_environment, value_text
from gapless.declaration.target import command_mistakes, word_parts

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (-7, "-7"),
        (0.1, "0.1"),
        (1e-05, "1e-05"),
        (1.0, "1.0"),
        (2**60, "1152921504606846976"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ("as it is", "as it is"),
        ("{n}", "{n}"),
        ([1, 2.5, "x", None], '[1,2.5,"x",null]'),
        ({"a": [True]}, '{"a":[true]}'),
        (["é"], '["é"]'),
    ],
)
def test_a_value_becomes_the_text_that_the_documentation_says(value: object, text: str) -> None:
    assert value_text(value) == text


@given(st.floats(allow_nan=False))
def test_a_float_comes_back_from_its_text_as_it_was(value: float) -> None:
    assert float(value_text(value)) == value


def test_names_are_filled_in_and_double_braces_are_braces() -> None:
    words = CommandWords(["./walk", "--a={a}/{b}", '{{"x": {a}}}', "{seed}"])
    assert words.program == "./walk"
    filled = words.fill({"a": "1", "b": "{a}", "seed": "5"})
    assert filled == ["./walk", "--a=1/{a}", '{"x": 1}', "5"]
    assert CommandWords(["./{a}"]).program is None


@given(st.lists(st.tuples(st.text(alphabet="ab {}", max_size=5), st.sampled_from("xy"))))
def test_a_word_is_its_texts_and_values_in_order(parts: list[tuple[str, str]]) -> None:
    written = "".join(
        text.replace("{", "{{").replace("}", "}}") + f"{{{name}}}" for text, name in parts
    )
    values = {"x": "{y}", "y": "2"}
    expected = "".join(text + values[name] for text, name in parts)
    assert CommandWords(["p", written]).fill(values) == ["p", expected]


@given(st.text(max_size=30))
def test_any_word_is_cut_up_or_refused_in_words(word: str) -> None:
    try:
        parts = word_parts(word)
    except ValueError as error:
        said = str(error)
    else:
        assert all(name is None or name.isidentifier() for _, name in parts)
        return
    assert "found" in said
    assert "expected" in said


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{alpha:.3f}", "found {alpha:.3f}, expected {alpha}: values are written in full"),
        ("{alpha!r}", "found {alpha!r}, expected {alpha}"),
        ("{}", "a plain brace is written twice"),
        ("{0}", "a plain brace is written twice"),
        ("{alpha.real}", "a plain brace is written twice"),
        ("{alpha[0]}", "a plain brace is written twice"),
        ('{"alpha": {alpha}}', "a plain brace is written twice"),
        ("{alpha", "found a single brace"),
        ("a}", "found a single brace at character 2, 'a}', expected {name}; a plain brace is"),
        ("{print $1}", "found {print $1… in '{print $1}', expected {name}; a plain brace is"),
        (f"{{{{ x = {{n}} }}}} {'y' * 90} }} {'z' * 90}", "at character 106, 'yyy"),
        ("{alhpa}", "found {alhpa}, expected {alpha}"),
        ("a\0b", "found NUL"),
    ],
)
def test_what_stands_in_braces_is_a_name_or_a_mistake_in_one_line(word: str, said: str) -> None:
    (mistake,) = command_mistakes(["./walk", word], ["alpha"])
    assert said in mistake
    assert "\n" not in mistake


def test_a_command_needs_a_program() -> None:
    assert "found no program" in command_mistakes([" ", "{n}"], ["n"])[0]


def test_every_parameter_stands_in_the_environment_by_its_name() -> None:
    variables = parameter_environment({"n": 3, "N": 0.5, "sizes": [1, 2], "weiß": "x"})
    assert json.loads(variables.pop("GAPLESS_PARAMS")) == {
        "n": 3,
        "N": 0.5,
        "sizes": [1, 2],
        "weiß": "x",
    }
    assert variables == {
        "GAPLESS_PARAM_n": "3",
        "GAPLESS_PARAM_N": "0.5",
        "GAPLESS_PARAM_sizes": "[1,2]",
    }


@given(st.dictionaries(st.sampled_from(["n", "alpha", "mode"]), PLAIN))
def test_all_parameters_come_back_from_one_variable(parameters: dict[str, object]) -> None:
    assert json.loads(parameter_environment(parameters)["GAPLESS_PARAMS"]) == parameters
