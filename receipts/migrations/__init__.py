"""The history of the ledger's tables, run by alembic when a ledger is older than the program."""
