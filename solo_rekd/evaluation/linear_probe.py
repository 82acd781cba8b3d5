"""A linear probe on features that are extracted once: it takes seconds rather than minutes.

It sees one crop per training image, without augmentation, so its figures differ from the host's
linear evaluation.
"""

import warnings
from typing import Any

import numpy as np

from solo_rekd.utils.errors import UserError

C = 0.01  # inverse weight of the L2 penalty, as in scikit-learn
MAX_ITERATIONS = 1000


def linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    c: float = C,
    max_iterations: int = MAX_ITERATIONS,
) -> dict[str, Any]:
    """Fits multinomial logistic regression on standardised features, and evaluates it.

    It is deterministic.

    Args:
        train: features (N, f) and labels (N,) to fit.
        val: features (M, f) and labels (M,) to evaluate on, of classes that are in `train`.
        c: inverse weight of the L2 penalty against the summed loss, above 0.
        max_iterations: iterations of lbfgs, at least 1.

    Returns:
        top1 and top5 in percent (100 with fewer than five classes), and the protocol.

    Raises:
        UserError: all training images are of one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train[1])) < 2:
        raise UserError("a linear probe needs training images of at least two classes")
    classifier = LogisticRegression(C=c, max_iter=max_iterations, solver="lbfgs")
    pipeline = make_pipeline(StandardScaler(), classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol reports it
        pipeline.fit(train[0].astype(np.float64), train[1])
    probabilities = pipeline.predict_proba(val[0].astype(np.float64))
    ranked = classifier.classes_[np.argsort(-probabilities, axis=1, kind="stable")]
    hits = ranked == val[1][:, None]
    converged = classifier.n_iter_.max() < max_iterations
    note = "" if converged else f", not converged after {max_iterations} iterations"
    return {
        "top1": 100 * float(hits[:, :1].any(axis=1).mean()),
        "top5": 100 * float(hits[:, :5].any(axis=1).mean()),
        "protocol": (
            "linear classifier on cached features: standardised, multinomial logistic regression "
            f"(lbfgs, C {c:g}), one crop per image, without augmentation{note}"
        ),
    }
