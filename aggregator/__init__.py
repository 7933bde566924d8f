"""Deliveries become shards; messages are deleted after that.

Must not know nodes or the ledger.
"""
