"""Expressions on whole columns at a time, with the very results of Python's own arithmetic.

Typed columns go through numpy where numpy provably gives the same bits (integers that cannot
overflow, IEEE operations); any other operation is done element by element with the functions of
`expression`. When an operation fails, or its meaning on columns is not plain, the whole block is
evaluated point by point: it then gives the result, or the message, that Python gives.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.declaration.columns import Column, column_of
from gapless.declaration.errors import DeclarationError
from gapless.declaration.expression import BINARY, COMPARE, FUNCTIONS, UNARY, Expression

__all__ = ["holds"]

_EXACT = 2**53
"""Integers up to here are floats without loss."""
_SAFE = 2**62


class _NotPlain(Exception):
    """Evaluate this block point by point."""


def holds(expression: Expression, columns: Mapping[str, Column], count: int) -> NDArray[np.bool_]:
    """Tell at which of `count` points the expression holds, shape (count,).

    DeclarationError when it cannot be evaluated at a point.
    """
    read = {name: columns[name] for name in expression.names}
    try:
        return _Block(read, count).truth(expression.body)
    except (_NotPlain, ArithmeticError, TypeError, ValueError, LookupError, DeclarationError):
        values = {name: column.tolist() for name, column in read.items()}
        points = ({name: values[name][place] for name in values} for place in range(count))
        return np.fromiter(map(expression.at, points), dtype=np.bool_, count=count)


class _Block:
    """Some points: the columns an expression reads, restricted to a part by `at`."""

    def __init__(self, columns: Mapping[str, Column], count: int) -> None:
        self._columns = columns
        self._count = count

    def at(self, rows: NDArray[np.int64]) -> _Block:
        columns = {name: column.take(rows) for name, column in self._columns.items()}
        return _Block(columns, len(rows))

    def truth(self, node: ast.expr) -> NDArray[np.bool_]:
        """Tell where a piece is true; `and`, `or` look at the right side only where they must."""
        if isinstance(node, ast.BoolOp):
            wanted = isinstance(node.op, ast.And)
            result = np.full(self._count, wanted)
            rest = np.arange(self._count)
            for each in node.values:
                part = self if len(rest) == self._count else self.at(rest)
                found = part.truth(each)
                result[rest] = found
                rest = rest[found == wanted]
                if not rest.size:
                    break
            return result
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand)
        value = self.value(node)
        if value.kind in {"int", "float", "bool"}:
            return value.values.astype(np.bool_)
        return np.fromiter(map(bool, value.values), dtype=np.bool_, count=self._count)

    def value(self, node: ast.expr) -> Column:  # noqa: PLR0911 - one answer a node
        """Give a piece's values."""
        match node:
            case ast.Constant():
                one = column_of([node.value])
                return Column(np.repeat(one.values, self._count), one.kind)
            case ast.Name():
                return self._columns[node.id]
            case ast.Compare():
                return Column(self._compare(node), "bool")
            case ast.BinOp():
                return _binary(node.op, self.value(node.left), self.value(node.right))
            case ast.UnaryOp(op=ast.Not()):
                return Column(self.truth(node), "bool")
            case ast.UnaryOp():
                return _unary(node.op, self.value(node.operand))
            case ast.IfExp():
                return self._choose(node)
            case ast.Call(func=ast.Name(id=name)):
                return _call(name, [self.value(each) for each in node.args])
        # Lists, indexing, and `and`/`or` whose value is more than a truth.
        raise _NotPlain

    def _choose(self, node: ast.IfExp) -> Column:
        test = self.truth(node.test)
        if test.all():
            return self.value(node.body)
        if not test.any():
            return self.value(node.orelse)
        rows = np.flatnonzero(test), np.flatnonzero(~test)
        body, orelse = self.at(rows[0]).value(node.body), self.at(rows[1]).value(node.orelse)
        if body.kind != orelse.kind:
            raise _NotPlain
        values = np.empty(self._count, dtype=body.values.dtype)
        values[rows[0]], values[rows[1]] = body.values, orelse.values
        return Column(values, body.kind)

    def _compare(self, node: ast.Compare) -> NDArray[np.bool_]:
        result = np.ones(self._count, dtype=np.bool_)
        left = node.left
        for operation, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operation, ast.In | ast.NotIn) and isinstance(
                right, ast.List | ast.Tuple
            ):
                if len(node.ops) > 1:
                    raise _NotPlain
                return self._listed(operation, self.value(left), right.elts)
            result &= _pairs(operation, self.value(left), self.value(right))
            left = right
        return result

    def _listed(
        self, operation: ast.cmpop, left: Column, elements: Sequence[ast.expr]
    ) -> NDArray[np.bool_]:
        found = np.zeros(self._count, dtype=np.bool_)
        for each in elements:
            found |= _pairs(ast.Eq(), left, self.value(each))
        return found if isinstance(operation, ast.In) else ~found


def _each(function: Callable[..., Any], operands: Sequence[Column]) -> Column:
    return column_of(list(map(function, *(operand.tolist() for operand in operands))))


def _numbers(operands: Sequence[Column]) -> bool:
    return all(operand.kind in {"int", "float", "bool"} for operand in operands)


def _integer(operand: Column) -> Column:
    return Column(operand.values.astype(np.int64), "int") if operand.kind == "bool" else operand


def _largest(operand: Column) -> int:
    return max(abs(int(operand.values.max())), abs(int(operand.values.min())))


def _floats(operands: Sequence[Column]) -> list[NDArray[np.float64]]:
    if any(each.kind == "int" and _largest(each) > _EXACT for each in operands):
        raise _NotPlain
    return [each.values.astype(np.float64, copy=False) for each in operands]


def _binary(operation: ast.operator, left: Column, right: Column) -> Column:
    if _numbers((left, right)):
        left, right = _integer(left), _integer(right)
        if left.kind == right.kind == "int" and not isinstance(operation, ast.Div):
            return _integers(operation, left, right)
        if isinstance(operation, ast.Add | ast.Sub | ast.Mult | ast.Div):
            values = _floats((left, right))
            if isinstance(operation, ast.Div) and not values[1].all():
                raise _NotPlain
            with np.errstate(all="ignore"):
                return Column(_UFUNCS[type(operation)](*values), "float")
    return _each(BINARY[type(operation)], (left, right))


def _integers(operation: ast.operator, left: Column, right: Column) -> Column:
    """Do what cannot overflow; a bound on the result is known from the largest operands."""
    bounds = _largest(left), _largest(right)
    match operation:
        case ast.Mult():
            bound = bounds[0] * bounds[1]
        case ast.Pow():
            # A negative exponent gives floats; a large one may not fit.
            plain = int(right.values.min()) >= 0 and bounds[1] <= 64
            bound = bounds[0] ** bounds[1] if plain else _SAFE + 1
        case ast.FloorDiv() | ast.Mod():
            bound = max(bounds) if right.values.all() else _SAFE + 1
        case _:
            bound = sum(bounds)
    if bound > _SAFE:
        raise _NotPlain
    return Column(_UFUNCS[type(operation)](left.values, right.values), "int")


# Python's own functions, number by number: numpy's differ in the last bit between processors.
_FLOATING: dict[str, Callable[..., float]] = {
    name: getattr(math, name)
    for name in ("cos", "exp", "hypot", "log", "log10", "log2", "sin", "tan")
}
_UFUNCS: dict[type[ast.AST], Callable[..., NDArray[Any]]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.Pow: np.power,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _unary(operation: ast.unaryop, operand: Column) -> Column:
    if not _numbers((operand,)):
        return _each(UNARY[type(operation)], (operand,))
    operand = _integer(operand)
    if operand.kind == "int" and _largest(operand) > _SAFE:
        raise _NotPlain
    return operand if isinstance(operation, ast.UAdd) else Column(-operand.values, operand.kind)


def _pairs(operation: ast.cmpop, left: Column, right: Column) -> NDArray[np.bool_]:
    function = COMPARE[type(operation)]
    ordered = type(operation) in _UFUNCS
    if ordered and _numbers((left, right)):
        values = left.values, right.values
        if left.kind != right.kind:
            # An integer against a float: Python compares exactly, numpy by rounding.
            values = _floats((left, right))[0], _floats((left, right))[1]
        return _UFUNCS[type(operation)](*values)
    pairs = map(function, left.tolist(), right.tolist())
    return np.fromiter(map(bool, pairs), dtype=np.bool_, count=len(left))


def _call(name: str, arguments: Sequence[Column]) -> Column:
    if _numbers(arguments) and name in {"abs", "sqrt"}:
        operand = _integer(arguments[0])
        if name == "abs" and (operand.kind == "float" or _largest(operand) <= _SAFE):
            return Column(np.abs(operand.values), operand.kind)
        values = _floats((operand,))[0]
        if name == "sqrt" and not (values < 0).any():
            return Column(np.sqrt(values), "float")
    if _numbers(arguments) and name in _FLOATING:
        found = map(_FLOATING[name], *(argument.tolist() for argument in arguments))
        return Column(np.fromiter(found, dtype=np.float64, count=len(arguments[0])), "float")
    return _each(FUNCTIONS[name][0], arguments)
