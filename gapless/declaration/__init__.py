"""What a person declares and what travels in messages: values only, no I/O.

Must not know clocks, files, queues.
"""
