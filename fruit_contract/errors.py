"""The base of what Airflow's side, the cluster's side and the command line refuse."""

from __future__ import annotations


class RefusedError(ValueError):
    """What was asked for can't be done, and asking again changes nothing. The message says why, and what to do
    instead.
    """
