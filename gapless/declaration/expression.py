"""Safe expressions on parameters: read with `ast`, checked, and evaluated point by point.

No attribute, no call but a few functions, bounded powers and lengths: no expression can hang or
reach anything. Every operation here works on plain Python values, so that its meaning is Python's;
`expression_blocks` does the same to whole columns and falls back to this.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gapless.declaration.axes import nearest
from gapless.declaration.errors import DeclarationError

__all__ = ["BINARY", "COMPARE", "FUNCTIONS", "UNARY", "Expression", "ExpressionFailed"]

_LONGEST = 2_000
_DEEPEST = 60
_LARGEST_BITS = 4_096


class ExpressionFailed(Exception):
    """An operation cannot be done; `piece` is the part of the expression it stands in."""

    def __init__(self, piece: ast.expr, reason: str) -> None:
        super().__init__(reason)
        self.piece = piece


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {str(value)[:40]!r}")
    return value


def _numeric(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*values: Any) -> Any:
        return function(*map(_number, values))

    return checked


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    return _number(left) + _number(right)


def _power(base: Any, exponent: Any) -> Any:
    _number(base)
    _number(exponent)
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and base.bit_length() * abs(exponent) > _LARGEST_BITS
    ):
        raise OverflowError(f"{base} ** {exponent} has more than {_LARGEST_BITS} bits")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError(f"{base} ** {exponent} is no real number")  # noqa: TRY004
    return result


def _round(value: Any, digits: Any = None) -> Any:
    _number(value)
    if digits is None:
        return round(value)
    if not isinstance(digits, int) or abs(digits) > 30:
        raise ValueError(f"round to {digits!r} digits: expected -30 to 30")
    return round(value, digits)


def _index(value: Any, key: Any) -> Any:
    if not isinstance(value, list | str | dict):
        raise TypeError(f"{str(value)[:40]!r} has no parts to index")
    return value[key]


def _length(value: Any) -> int:
    if not isinstance(value, list | str | dict):
        raise TypeError(f"{str(value)[:40]!r} has no length")
    return len(value)


def _within(value: Any, held: Any) -> bool:
    return value in held


BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _plus,
    ast.Sub: _numeric(operator.sub),
    ast.Mult: _numeric(operator.mul),
    ast.Div: _numeric(operator.truediv),
    ast.FloorDiv: _numeric(operator.floordiv),
    ast.Mod: _numeric(operator.mod),
    ast.Pow: _power,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: _numeric(operator.neg),
    ast.UAdd: _numeric(operator.pos),
    ast.Not: operator.not_,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: _within,
    ast.NotIn: lambda value, held: not _within(value, held),
}
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "abs": (_numeric(abs), 1, 1),
    "ceil": (_numeric(math.ceil), 1, 1),
    "cos": (_numeric(math.cos), 1, 1),
    "exp": (_numeric(math.exp), 1, 1),
    "floor": (_numeric(math.floor), 1, 1),
    "hypot": (_numeric(math.hypot), 2, 9),
    "len": (_length, 1, 1),
    "log": (_numeric(math.log), 1, 2),
    "log10": (_numeric(math.log10), 1, 1),
    "log2": (_numeric(math.log2), 1, 1),
    "max": (_numeric(max), 2, 99),
    "min": (_numeric(min), 2, 99),
    "round": (_round, 1, 2),
    "sin": (_numeric(math.sin), 1, 1),
    "sqrt": (_numeric(math.sqrt), 1, 1),
    "tan": (_numeric(math.tan), 1, 1),
}
"""Name -> (function, fewest arguments, most arguments)."""

_NAMED = {
    ast.Attribute: "attribute access",
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Slice: "a slice",
    ast.Starred: "a star",
    ast.Dict: "a table",
    ast.Set: "a set (write a list)",
}


class Expression:
    """A checked expression: `names` are the parameters it reads."""

    def __init__(self, text: object, names: Sequence[str]) -> None:
        """Read `text`; DeclarationError with the offending piece when it is not allowed."""
        if not isinstance(text, str) or not text.strip():
            found = "" if isinstance(text, str) else f", found {str(text)[:40]!r}"
            raise DeclarationError(
                f'where: expected an expression as text, such as "n * alpha < 12"{found}'
            )
        self.text = text.strip()
        self._known = tuple(names)
        self._read: dict[str, None] = {}
        if len(self.text) > _LONGEST:
            raise DeclarationError(f"where: the expression is longer than {_LONGEST:,} characters")
        try:
            with warnings.catch_warnings():
                # What Python only warns of ("1if n else 2") is refused, not told to the terminal.
                warnings.simplefilter("error")
                self.body = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise DeclarationError(f"where: {self.text!r} cannot be read: {reason}") from error
        self._check(self.body, 0)
        self.names = tuple(self._read)

    def at(self, point: Mapping[str, Any]) -> bool:
        """Tell whether it holds at a point; DeclarationError when it cannot be evaluated there."""
        try:
            return bool(_evaluate(self.body, point))
        except ExpressionFailed as error:
            shown = ", ".join(f"{name} = {point[name]!r}"[:60] for name in self.names)
            raise DeclarationError(
                f"where: {ast.unparse(error.piece)!r} fails at {shown or 'every point'}: {error}; "
                'guard it, for example "b != 0 and a / b < 1"'
            ) from error

    def _refuse(self, node: ast.AST, what: str) -> DeclarationError:
        piece = ast.get_source_segment(self.text, node) or self.text
        return DeclarationError(
            f"where: {what} is not allowed in an expression: {piece[:80]!r} in {self.text[:200]!r}"
        )

    def _check(self, node: ast.expr, depth: int) -> None:  # noqa: C901, PLR0912 - a case a node
        if depth > _DEEPEST:
            raise DeclarationError(f"where: the expression is nested deeper than {_DEEPEST}")
        match node:
            case ast.Constant():
                if type(node.value) not in {int, float, bool, str, type(None)}:
                    raise self._refuse(node, "this constant")
                return
            case ast.Name():
                if node.id not in self._known:
                    raise DeclarationError(
                        f"where: {node.id!r} in {self.text[:200]!r} is no parameter"
                        f"{nearest(node.id, self._known)}: expected one of "
                        f"{', '.join(self._known)}"
                    )
                self._read[node.id] = None
                return
            case ast.BinOp():
                if type(node.op) not in BINARY:
                    raise self._refuse(node, "this operator")
            case ast.UnaryOp():
                if type(node.op) not in UNARY:
                    raise self._refuse(node, "this operator")
            case ast.Call():
                self._check_call(node)
                for argument in node.args:
                    self._check(argument, depth + 1)
                return
            case ast.Compare():
                self._check_compare(node)
            case ast.BoolOp() | ast.IfExp() | ast.Subscript() | ast.List() | ast.Tuple():
                pass
            case _:
                raise self._refuse(node, _NAMED.get(type(node), "this"))
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._check(child, depth + 1)

    def _check_call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if isinstance(node.func, ast.Attribute):
            raise self._refuse(node.func, "attribute access")
        if name not in FUNCTIONS:
            raise DeclarationError(
                f"where: {ast.unparse(node)[:80]!r} calls {ast.unparse(node.func)[:40]!r}"
                f"{nearest(name, tuple(FUNCTIONS))}: expected one of {', '.join(FUNCTIONS)}"
            )
        _, fewest, most = FUNCTIONS[name]
        if node.keywords or not fewest <= len(node.args) <= most:
            expected = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise self._refuse(node, f"{name} with other than {expected} plain arguments")

    def _check_compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operation, right in zip(operands[:-1], node.ops, operands[1:], strict=True):
            if isinstance(operation, ast.Is | ast.IsNot) and not any(
                isinstance(each, ast.Constant) and each.value is None for each in (left, right)
            ):
                raise self._refuse(node, "'is' with anything but None")


def _evaluate(  # noqa: C901, PLR0911 - one answer a node
    node: ast.expr, point: Mapping[str, Any]
) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return point[node.id]
        case ast.BoolOp():
            wanted = isinstance(node.op, ast.And)
            result: Any = None
            for each in node.values:
                result = _evaluate(each, point)
                if bool(result) is not wanted:
                    break
            return result
        case ast.IfExp():
            chosen = node.body if _evaluate(node.test, point) else node.orelse
            return _evaluate(chosen, point)
        case ast.Compare():
            return _compare(node, point)
        case ast.List() | ast.Tuple():
            return [_evaluate(each, point) for each in node.elts]
        case ast.BinOp():
            operands = (_evaluate(node.left, point), _evaluate(node.right, point))
            return _apply(node, BINARY[type(node.op)], operands)
        case ast.UnaryOp():
            return _apply(node, UNARY[type(node.op)], (_evaluate(node.operand, point),))
        case ast.Subscript():
            operands = (_evaluate(node.value, point), _evaluate(node.slice, point))
            return _apply(node, _index, operands)
        case ast.Call(func=ast.Name(id=name)):
            arguments = [_evaluate(each, point) for each in node.args]
            return _apply(node, FUNCTIONS[name][0], arguments)
    raise AssertionError(f"unchecked {ast.dump(node)}")


def _compare(node: ast.Compare, point: Mapping[str, Any]) -> Any:
    left = _evaluate(node.left, point)
    for operation, comparator in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(comparator, point)
        if not _apply(node, COMPARE[type(operation)], (left, right)):
            return False
        left = right
    return True


def _apply(node: ast.expr, function: Callable[..., Any], operands: Sequence[Any]) -> Any:
    try:
        return function(*operands)
    except (ArithmeticError, TypeError, ValueError, LookupError) as error:
        reason = f"no part {error}" if isinstance(error, KeyError) else str(error)
        raise ExpressionFailed(node, reason) from error
