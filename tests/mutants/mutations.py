"""The mutants of a module: mutmut's operators, walked by mutmut's visitor, all named.

mutmut itself passes over whatever has a decorator and over values outside functions. Here methods
with a decorator, constants of a module and defaults of a dataclass are mutated too. What nobody can
be wronged by is left out as a whole: the wording of messages (texts of several words, whatever
stands inside an f-string), annotations, `__all__`; so is a default of a dataclass that becomes
None, which the type checker refuses.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import MutationVisitor, deep_replace
from mutmut.mutation.mutators import mutation_operators, operator_assignment
from mutmut.mutation.pragma_handling import IgnoredCode

from tests.mutants.mutant import Mutant, Place

__all__ = ["Source", "mutants_of"]

_NEVER = {"overload", "abstractmethod"}
_PLAIN = (cst.BaseNumber, cst.SimpleString, cst.Name, cst.UnaryOperation)


class Source:
    """A module's text with every mutant of it."""

    def __init__(self, module: str, text: str) -> None:
        wrapper = MetadataWrapper(cst.parse_module(text))
        self._walk = _Walk()
        self._tree = wrapper.module
        wrapper.visit(self._walk)
        self.text = text
        self.mutants = tuple(self._named(module, text.split("\n")))

    def mutated(self, mutant: Mutant) -> str:
        """Give the whole module's text with this one change."""
        change = self._walk.changes[mutant.number]
        tree = deep_replace(self._tree, change.before, change.after)
        assert isinstance(tree, cst.Module)
        return tree.code

    def _named(self, module: str, lines: list[str]) -> Iterator[Mutant]:
        seen: Counter[tuple[str, ...]] = Counter()
        for number, change in enumerate(self._walk.changes):
            before = self._tree.code_for_node(change.before).strip()
            after = self._tree.code_for_node(change.after).strip()
            text = lines[change.first - 1].strip()
            what = (module, change.name, change.operator, text, before, after)
            seen[what] += 1
            digest = hashlib.sha256("\0".join((*what, str(seen[what]))).encode())
            yield Mutant(
                id=digest.hexdigest()[:10],
                module=module,
                name=change.name,
                place=change.place,
                operator=change.operator,
                text=text,
                before=before,
                after=after,
                first=change.first,
                last=change.last,
                number=number,
            )


def mutants_of(module: str, root: Path) -> Source:
    """Read a module (`package/name.py`) of a checkout."""
    return Source(module, (root / module).read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    name: str
    place: Place
    operator: str
    before: cst.CSTNode
    after: cst.CSTNode
    first: int
    last: int


class _Walk(MutationVisitor):
    """mutmut's walk through a module, told where it is."""

    def __init__(self) -> None:
        super().__init__(mutation_operators, IgnoredCode(set(), set(), set()))
        self.changes: list[_Change] = []
        self._above: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Go down, remembering what is above."""
        down = bool(super().on_visit(node))
        self._above.append(node)
        return down

    def on_leave(self, original_node: cst.CSTNode) -> None:
        """Come up again."""
        self._above.pop()
        super().on_leave(original_node)

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            return any(_called(each.decorator) in _NEVER for each in node.decorators)
        if isinstance(node, cst.FormattedString | cst.ConcatenatedString):
            return True
        return bool(super()._skip_node_and_children(node))

    def _create_mutations(self, node: cst.CSTNode) -> None:
        where = self._where(node)
        if where is None:
            return
        position = self.get_metadata(PositionProvider, node, None) or self.get_metadata(
            PositionProvider, self._above[-1]
        )
        for kind, operator in self._operators:
            if not isinstance(node, kind):
                continue
            if where[0] is Place.FIELD and operator is operator_assignment:
                continue
            for after in operator(node):
                if not _only_wording(node, after):
                    self.changes.append(
                        _Change(
                            name=where[1],
                            place=where[0],
                            operator=operator.__name__.removeprefix("operator_"),
                            before=node,
                            after=after,
                            first=position.start.line,
                            last=position.end.line,
                        )
                    )

    def _where(self, node: cst.CSTNode) -> tuple[Place, str] | None:
        classes: list[str] = []
        for each, below in itertools.pairwise((*self._above, node)):
            if isinstance(each, cst.ClassDef):
                classes.append(each.name.value)
            elif isinstance(each, cst.FunctionDef):
                place = Place.DEFAULT if isinstance(below, cst.Parameters) else Place.BODY
                return place, ".".join((*classes, each.name.value))
        return self._field(classes, node) if classes else self._constant(node)

    def _field(self, classes: list[str], node: cst.CSTNode) -> tuple[Place, str] | None:
        inside = [each for each in self._above if isinstance(each, cst.ClassDef)]
        fields = [each for each in (*self._above, node) if isinstance(each, cst.AnnAssign)]
        known = any(_called(each.decorator) == "dataclass" for each in inside[-1].decorators)
        if not fields or not known or not isinstance(fields[0].value, _PLAIN):
            return None
        if not isinstance(fields[0].target, cst.Name):
            return None
        return Place.FIELD, ".".join((*classes, fields[0].target.value))

    def _constant(self, node: cst.CSTNode) -> tuple[Place, str] | None:
        for each in (*self._above, node):
            target = None
            if isinstance(each, cst.Assign) and len(each.targets) == 1:
                target = each.targets[0].target
            elif isinstance(each, cst.AnnAssign):
                target = each.target
            if isinstance(target, cst.Name) and target.value != "__all__":
                return Place.CONSTANT, target.value
        return None


def _called(decorator: cst.BaseExpression) -> str:
    """Give the last word of a decorator's name."""
    if isinstance(decorator, cst.Call):
        decorator = decorator.func
    if isinstance(decorator, cst.Attribute):
        decorator = decorator.attr
    return decorator.value if isinstance(decorator, cst.Name) else ""


def _only_wording(before: cst.CSTNode, after: cst.CSTNode) -> bool:
    """Tell whether nothing but what a person reads differs."""
    if isinstance(before, cst.Assign | cst.AnnAssign):
        return before.value is not None and _is_wording(before.value)
    if isinstance(before, cst.Call) and isinstance(after, cst.Call):
        kept = {id(each) for each in after.args}
        return any(_is_wording(each.value) for each in before.args if id(each) not in kept)
    return _is_wording(before)


def _is_wording(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.SimpleString):
        return " " in str(node.evaluated_value)
    if isinstance(node, cst.BinaryOperation):
        return _is_wording(node.left) or _is_wording(node.right)
    return isinstance(node, cst.FormattedString | cst.ConcatenatedString)
