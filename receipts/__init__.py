"""The ledger: what was submitted, compared with what is stored.

Must not know nodes or aggregators.
"""
