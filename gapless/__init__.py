"""gapless: parameter sweeps without gaps."""
