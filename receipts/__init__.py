"""The ledger: what was submitted, compared with what is stored.

`submit` writes receipts before it sends jobs, `reconcile` finds gaps, `resubmit` asks for runs
anew, `rebuild` makes a lost ledger again from the home. Must not know nodes or aggregators.
"""
