"""`python -m gapless.cli` is `sweep`."""

from gapless.cli import main

main()
