from __future__ import annotations

from types import ModuleType

import pytest

from queueing.errors import QueueError
from queueing.sqlite_library import LEAST_VERSION, choose, dialect_arguments, load


def installed(**versions: tuple[int, ...]) -> dict[str, ModuleType]:
    modules: dict[str, ModuleType] = {}
    for name, version in versions.items():
        modules[name] = ModuleType(name)
        modules[name].__dict__["sqlite_version_info"] = version
    return modules


def choose_from(modules: dict[str, ModuleType]) -> ModuleType:
    def import_module(name: str) -> ModuleType:
        if name not in modules:
            raise ImportError(name)
        return modules[name]

    return choose(["sqlite3", "pysqlite3"], import_module)


def test_the_standard_library_is_taken_when_it_is_new_enough() -> None:
    modules = installed(sqlite3=(3, 51, 3), pysqlite3=(3, 60, 0))
    assert choose_from(modules) is modules["sqlite3"]


@pytest.mark.parametrize("old", [(3, 40, 1), (3, 51, 2)])
def test_an_old_standard_library_is_passed_over(old: tuple[int, ...]) -> None:
    modules = installed(sqlite3=old, pysqlite3=(3, 53, 4))
    assert choose_from(modules) is modules["pysqlite3"]


def test_a_package_with_an_old_library_is_refused_and_the_remedy_named() -> None:
    modules = installed(sqlite3=(3, 40, 1), pysqlite3=(3, 51, 1))
    with pytest.raises(QueueError, match=r"pip install") as caught:
        choose_from(modules)
    assert "pysqlite3 has SQLite 3.51.1" in str(caught.value)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(QueueError, match="pysqlite3 is not installed"):
        choose_from(installed(sqlite3=(3, 40, 1)))


def test_the_library_in_use_is_new_enough_and_the_ledger_gets_the_same() -> None:
    connection = load().connect(":memory:")
    (version,) = connection.execute("SELECT sqlite_version()").fetchone()
    connection.close()
    assert tuple(map(int, version.split("."))) >= LEAST_VERSION
    assert dialect_arguments() == {"module": load()}
