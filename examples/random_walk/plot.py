"""Draw figure 7.2 from what is stored: python plot.py HOME [PICTURE]."""

import sys

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

import gapless


def mean_errors(home):
    """Give the mean error: a row for each n, a column for each alpha."""
    runs = gapless.open(home, "random-walk").to_pandas()
    return runs.groupby(["n", "alpha"])["rms"].mean().unstack("alpha")


def draw(table, picture):
    """Draw one curve for each n, as in the book."""
    figure, axes = plt.subplots(figsize=(7, 5))
    for n, errors in table.iterrows():
        axes.plot(errors.index, errors.to_numpy(), label=f"n = {n}")
    axes.set(
        xlabel="step size alpha",
        ylabel="RMS error over the states, first 10 episodes",
        ylim=(0.25, 0.55),
        title="n-step TD on the 19-state random walk",
    )
    axes.legend(ncols=2, fontsize="small")
    figure.savefig(picture, dpi=150, bbox_inches="tight")
    plt.close(figure)


def show(table, picture):
    """Print the best step size of each n."""
    print("     n   best alpha   mean RMS error")
    for n, errors in table.iterrows():
        print(f"{n:6d}   {errors.idxmin():10.2f}   {errors.min():14.4f}")
    print(f"figure: {picture}")


if __name__ == "__main__":
    HOME = sys.argv[1] if len(sys.argv) > 1 else "sweeps"
    PICTURE = sys.argv[2] if len(sys.argv) > 2 else "random_walk.png"
    TABLE = mean_errors(HOME)
    draw(TABLE, PICTURE)
    show(TABLE, PICTURE)
