"""The sweep command, one file a group of commands.

Must not hold what a program could not do without it.
"""

from gapless.cli.entry import (
    aggregator_main,
    app,
    main,
    node_main,
    reconcile_main,
    resubmit_main,
    submit_main,
)

__all__ = [
    "aggregator_main",
    "app",
    "main",
    "node_main",
    "reconcile_main",
    "resubmit_main",
    "submit_main",
]
