"""Whether a bundle's target can be called with a sweep's parameters: read, never imported.

Only what is certain is a mistake. A decorated or re-assigned function may take anything, and a
module that is installed instead of shipped is left to the preflight of a node.
"""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping

from gapless.declaration.document import nearest
from gapless.declaration.sweep import CommandTarget, FunctionTarget, Target
from gapless.errors import UserMistake
from gapless.storage.command_check import command_check

__all__ = ["GIVEN", "check_target"]

GIVEN = ("seed", "run")
"""What a function gets if its signature names it."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_target(
    files: Mapping[str, bytes],
    target: Target,
    parameters: Collection[str],
    wants: Collection[str] = GIVEN,
    *,
    source: str = "function",
) -> UserMistake | None:
    """Say why the target cannot be called with `parameters` (a line each), or None.

    `wants` are the names that gapless passes when the function takes them; `source` begins each
    line (the sweep file's name).
    """
    match target:
        case FunctionTarget():
            key, lines = "function", list(_mistakes(files, target, parameters, wants))
        case CommandTarget():
            key, lines = "command", list(command_check(files, target))
    return UserMistake("\n".join(f"{source}: {key}: {line}" for line in lines)) if lines else None


def _mistakes(
    files: Mapping[str, bytes],
    target: FunctionTarget,
    parameters: Collection[str],
    wants: Collection[str],
) -> Iterator[str]:
    path = _module_file(files, target.module)
    if path is None:
        if not _installed(target.module) and not _shipped_package(files, target.module):
            yield _no_module(files, target)
        return
    try:
        with warnings.catch_warnings():
            # What Python thinks of the code is said when it runs.
            warnings.simplefilter("ignore")
            tree = ast.parse(files[path], filename=path)
    except SyntaxError as error:
        yield f"{path}, line {error.lineno}: {error.msg}, expected Python"
        return
    except ValueError as error:
        yield f"{path}: {error}, expected Python"
        return
    found = _bound(tree, target.name)
    if found is None and not _may_have_any(tree):
        yield _no_function(tree, path, target)
    elif isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        place = f"{path}, line {found.lineno}: {target.name}"
        yield from _signature_mistakes(found, place, parameters, wants)


def _module_file(files: Mapping[str, bytes], module: str) -> str | None:
    stem = module.replace(".", "/")
    for path in (f"{stem}/__init__.py", f"{stem}.py"):
        if path in files:
            return path
    return None


def _shipped_package(files: Mapping[str, bytes], module: str) -> bool:
    # An extension module (walk.cpython-311-….so) cannot be read, but it can be imported.
    stem = module.replace(".", "/")
    return any(path.startswith(f"{stem}.") and path.endswith((".so", ".pyc")) for path in files)


def _installed(module: str) -> bool:
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top in importlib.metadata.packages_distributions()


def _no_module(files: Mapping[str, bytes], target: FunctionTarget) -> str:
    wanted = target.module.replace(".", "/") + ".py"
    known = [
        path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        for path in files
        if path.endswith(".py")
    ]
    close = nearest(target.module, known)
    hint = f'did you mean "{close}:{target.name}"?' if close else "is `code` the right folder?"
    return (
        f'found "{target.function}", expected a module of the code folder: there is no {wanted} '
        f"among the {len(files)} files that travel (ignored ones do not); {hint}"
    )


def _bound(tree: ast.Module, name: str) -> ast.AST | None:
    """Give the last statement that binds `name` in the module; None when none does."""
    found: ast.AST | None = None
    for node in _statements(tree.body):
        if name in _names_of(node):
            found = node
    return found


def _may_have_any(tree: ast.Module) -> bool:
    return _bound(tree, "*") is not None or _bound(tree, "__getattr__") is not None


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for inner in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, inner, ()))
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _statements(part.body)


def _names_of(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return {
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    }


def _no_function(tree: ast.Module, path: str, target: FunctionTarget) -> str:
    names = {name for node in _statements(tree.body) for name in _names_of(node)}
    close = nearest(target.name, sorted(names))
    hint = f'; did you mean "{target.module}:{close}"?' if close else ""
    return f'found "{target.function}", expected a function of {path}: there is no such name{hint}'


def _signature_mistakes(
    function: _Function, place: str, parameters: Collection[str], wants: Collection[str]
) -> Iterator[str]:
    if isinstance(function, ast.AsyncFunctionDef):
        yield f"{place} is async, expected a plain function (def)"
        return
    if function.decorator_list:
        return
    signature = function.args
    if signature.posonlyargs:
        names = ", ".join(argument.arg for argument in signature.posonlyargs)
        yield f"{place} takes {names} by position only, expected names: remove the / in it"
        return
    taken = [argument.arg for argument in (*signature.args, *signature.kwonlyargs)]
    for name in _required(signature):
        if name not in parameters and name not in wants:
            close = nearest(name, [each for each in parameters if each not in taken])
            hint = f" ({close} is given: is it that?)" if close else ""
            yield (
                f"{place} needs {name}, which the space lacks{hint}: add it to [space.grid] or "
                "[fixed], or give it a default"
            )
    if signature.kwarg is not None:
        return
    for name in parameters:
        if name not in taken:
            yield (
                f"{place} does not take {name}, which the sweep gives: it takes "
                f"{', '.join(taken) or 'nothing'}; add it there or remove it from the sweep"
            )


def _required(signature: ast.arguments) -> list[str]:
    positional = signature.args[: len(signature.args) - len(signature.defaults)]
    named = [
        argument
        for argument, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
        if default is None
    ]
    return [argument.arg for argument in (*positional, *named)]
