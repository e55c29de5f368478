"""Holds the base class of the errors with which Airflow's side, the cluster's side and the command line refuse
something.
"""

from __future__ import annotations


class RefusedError(ValueError):
    """Raised if what was asked for can't be done, and asking again changes nothing. The message says why, and what to
    do instead.
    """
