"""`python -m gapless` is `sweep`."""

from gapless.cli import main

main()
