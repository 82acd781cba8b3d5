"""A user's mistake under Hydra: one line and exit code 2, as everywhere else."""

import sys
from typing import Any

from hydra.core.utils import JobReturn

from solo_rekd.errors import UserError, report


def apply() -> None:
    """Hydra prints a traceback for whatever a job raises; lets it see the end of the process."""
    theirs: Any = JobReturn.return_value

    def return_value(self: Any) -> Any:
        outcome = vars(self).get("_return_value")
        if isinstance(outcome, UserError):
            sys.exit(report(outcome))
        return theirs.__get__(self)

    # typed as Any, for mypy rejects the assignment to a property
    job: Any = JobReturn
    job.return_value = property(return_value, theirs.__set__)
