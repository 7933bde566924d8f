"""What the product costs: rates, ratios and memory of whole programs. `make bench`."""
