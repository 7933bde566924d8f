"""One fold of a cross-validation: a support vector machine reads handwritten digits.

The grid, the folds and the score are those of GridSearchCV; each fold is a run of its own, so a
machine that dies costs one fit, and every score is kept, not only the best.
"""

import functools
import itertools

from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC


def score(C, gamma, fold, *, folds):  # noqa: N803 - scikit-learn's name
    """Learn from all folds but one; give the share of that one's digits that are read right."""
    images, digits = _data()
    parts = StratifiedKFold(n_splits=folds).split(images, digits)
    train, test = next(itertools.islice(parts, fold, None))
    machine = SVC(C=C, gamma=gamma).fit(images[train], digits[train])
    return {
        "score": machine.score(images[test], digits[test]),
        "support_vectors": int(machine.n_support_.sum()),
    }


@functools.cache
def _data():
    """Read the 1797 images that come with scikit-learn, once a worker."""
    return load_digits(return_X_y=True)
