"""Named bytes that are durable when a put returns, and the layout of a home.

Must not know queues or results.
"""
