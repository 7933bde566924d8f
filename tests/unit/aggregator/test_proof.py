import ast
from pathlib import Path

import aggregator

PROOFS = {"AlreadyFinal", "DurableShard", "DurableWaste"}


def test_only_the_store_step_makes_proofs():
    makers = set()
    for path in Path(aggregator.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in PROOFS:
                makers.add(path.name)
    assert makers == {"store.py"}
