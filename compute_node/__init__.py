"""The agent of a machine and its worker processes.

Must not know the ledger or how results are stored.
"""
