"""The queues: a port and its backends (memory, SQLite, Amazon SQS), leases and their owners.

Must not know what a message says.
"""
