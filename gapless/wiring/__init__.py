"""Choose the adapters of a home: here and nowhere else.

A home is a folder or `s3://bucket/prefix`; both have one face, `Home`. Heavy libraries load only
when asked for: a node or an aggregator never loads the ledger's, a folder home never loads boto3,
and no program of an S3 home but those that keep the ledger loads SQLite.
"""

from gapless.wiring.address import DEFAULT_HOME, S3Address, home_address
from gapless.wiring.home import Home
from gapless.wiring.machine import clock, core_count, new_id, program_id
from gapless.wiring.opening import open_home, read_home
from gapless.wiring.pace import Pace

__all__ = [
    "DEFAULT_HOME",
    "Home",
    "Pace",
    "S3Address",
    "clock",
    "core_count",
    "home_address",
    "new_id",
    "open_home",
    "program_id",
    "read_home",
]
