"""The sweep command, one file a group of commands.

Must not hold what a program could not do without it.
"""
