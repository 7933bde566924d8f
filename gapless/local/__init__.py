"""Everything on this machine: run, submit and open, for Python and for the command line.

Must not hold what a command prints, nor what a node, an aggregator or the ledger decides.
"""
