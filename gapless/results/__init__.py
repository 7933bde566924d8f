"""Blocks, shards, manifests, coverage and the reader.

Must not know how results travelled.
"""
