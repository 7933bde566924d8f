"""Which test and which seed of the simulator executes which line: kept while the texts stay."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coverage import Coverage

from tests.mutants.modules import MOST_OF_ONE_TEST
from tests.mutants.mutant import Mutant, Place

__all__ = ["Lines", "Reach"]


class Lines:
    """A measurement under way: `begin` each test, then `end`."""

    def __init__(self, root: Path, modules: Iterable[str]) -> None:
        self._files = {module: str(root / module) for module in modules}
        self._coverage = Coverage(
            data_file=None, config_file=False, include=list(self._files.values()), messages=False
        )

    def begin(self, name: str) -> None:
        """Say what is executed from now on."""
        self._coverage.start()
        self._coverage.switch_context(name)

    def pause(self) -> None:
        """Measure nothing for a while."""
        self._coverage.stop()

    def end(self) -> dict[str, dict[int, list[str]]]:
        """Give the names by module and line; what an import executes has none."""
        data = self._coverage.get_data()
        return {
            module: {
                line: sorted(name for name in names if name)
                for line, names in data.contexts_by_lineno(file).items()
            }
            for module, file in self._files.items()
        }


@dataclass(frozen=True, slots=True)
class Reach:
    """The outcome: `seconds` by test or seed, `lines` by module and line; `left_out` with reasons.

    `texts` has the digest of each file of tests when it was measured.
    """

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[int, list[str]]]
    left_out: Mapping[str, str]
    texts: Mapping[str, str]

    def without(self, gone: Collection[str]) -> Reach:
        """Forget tests."""
        return Reach(
            {name: each for name, each in self.seconds.items() if name not in gone},
            {
                module: {
                    line: [name for name in names if name not in gone]
                    for line, names in by_line.items()
                }
                for module, by_line in self.lines.items()
            },
            {name: each for name, each in self.left_out.items() if name not in gone},
            self.texts,
        )

    def joined(self, more: Reach) -> Reach:
        """Add what was measured of other tests."""
        return Reach(
            {**self.seconds, **more.seconds},
            {
                module: {
                    line: self.lines.get(module, {}).get(line, []) + by_line.get(line, [])
                    for line in {**self.lines.get(module, {}), **by_line}
                }
                for module, by_line in more.lines.items()
            },
            {**self.left_out, **more.left_out},
            more.texts,
        )

    def who(self, mutant: Mutant) -> list[str]:
        """Give who executes what a mutant changes, the quickest first."""
        lines = self.lines[mutant.module]
        wanted = set(range(mutant.first, mutant.last + 1)) & set(lines)
        if mutant.place is not Place.BODY:
            # What stands outside a body is executed by the import: whoever uses the module may see.
            wanted = set(lines)
        names = {name for line in wanted for name in lines[line]}
        if mutant.place is not Place.BODY and not names:
            # A module of values only: whoever uses its package may see.
            package = mutant.module.partition("/")[0]
            names = {
                name
                for module, by_line in self.lines.items()
                if module.startswith(f"{package}/")
                for each in by_line.values()
                for name in each
            }
        return self._some_of_each(sorted(names, key=lambda name: self.seconds[name]))

    @staticmethod
    def _some_of_each(names: Iterable[str]) -> list[str]:
        """Keep the first few of a test with many parameters; of seeds, which have none, all."""
        seen: Counter[str] = Counter()
        kept = []
        for name in names:
            test = name.partition("[")[0]
            seen[test] += 1
            if seen[test] <= MOST_OF_ONE_TEST:
                kept.append(name)
        return kept

    def save(self, path: Path) -> None:
        """Write it."""
        numbers = {name: number for number, name in enumerate(self.seconds)}
        lines = {
            module: {line: [numbers[name] for name in names] for line, names in by_line.items()}
            for module, by_line in self.lines.items()
        }
        kept = dataclasses.asdict(self) | {"lines": lines}
        path.write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Reach:
        """Read it."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        names = list(kept["seconds"])
        lines = {
            module: {int(line): [names[each] for each in found] for line, found in by_line.items()}
            for module, by_line in kept["lines"].items()
        }
        return cls(kept["seconds"], lines, kept["left_out"], kept["texts"])
