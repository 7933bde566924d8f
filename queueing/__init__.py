"""The queues: a port and its backends, leases and their owners.

Must not know what a message says.
"""
