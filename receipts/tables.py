"""The tables of the ledger. A change here needs a migration and a new HEAD."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = ["HEAD", "ledger_home", "looks", "metadata", "receipts", "schema_version", "sweeps"]

HEAD = "0002"
"""The version of the tables this program reads and writes."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

schema_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True),
)
"""Alembic's own table; kept out of `metadata` because migrations must not manage it."""

ledger_home = Table("ledger_home", MetaData(), Column("home", Text, primary_key=True))
"""Of SQLite alone: one row, whose the ledger is; on a server a comment on a table says it. Kept out
of `metadata`: it is made when a home first opens the ledger, and needs no migration."""

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("submitted_at_s", Float, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    # SQLite numbers rows by itself only for a column that is exactly INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("sweep", String(80), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("runs", LargeBinary, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("job", String(64), nullable=False),
    Column("why", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    # The least run number of the job, and the how-manieth round of sending this sweep it is of.
    Column("block", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("queue_created_at_s", Float, nullable=True),
    Column("created_at_s", Float, nullable=False),
    Column("sent_at_s", Float, nullable=True),
    UniqueConstraint("sweep", "block", "generation"),
    Index(None, "sweep", "state", "id"),
)

looks = Table(
    "looks",
    metadata,
    Column("sweep", String(80), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("at_s", Float, primary_key=True),
    Column("runs", LargeBinary, nullable=False),
    # The queues that were found empty: others by now have nothing to do with that look.
    Column("jobs_created_at_s", Float, nullable=False),
    Column("results_created_at_s", Float, nullable=False),
)
"""Runs that a look at queues known by their counts found nowhere: the first look of two."""
