"""Print the mean score of each C and gamma from what is stored: python table.py HOME."""

import sys

import gapless


def mean_scores(home):
    """Give the mean score over the folds: a row for each gamma, a column for each C."""
    runs = gapless.open(home, "digits").to_pandas()
    # gamma is "scale" or a number: such values keep the order of the sweep file.
    means = runs.groupby(["gamma", "C"], sort=False)["score"].mean()
    return means.unstack("C", sort=False)


if __name__ == "__main__":
    TABLE = mean_scores(sys.argv[1] if len(sys.argv) > 1 else "sweeps")
    print(TABLE.to_string(float_format="{:.4f}".format))
    GAMMA, C = TABLE.stack().idxmax()
    print(f"best: C = {C}, gamma = {GAMMA}: {TABLE.loc[GAMMA, C]:.4f}")
