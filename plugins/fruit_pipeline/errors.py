"""Holds the errors of Airflow's side as a family: who catches one catches the base class of what it means.

    RefusedError                        it can't be done, now or later: the task fails at once (fruit_contract.errors)
    ├── LakeNameError                   a day, a range of days or a category that can't be one (fruit_contract.lake)
    ├── RegionNotAllowedError           a region outside the EU (fruit_contract.regions)
    ├── DamagedFileError                a file of the lake that is not as it was written
    └── RunRefusedError                 a run that is not begun, or not gone on with
        ├── ParamsRefusedError          params that the DAG does not have, or that Airflow does not hand on
        ├── InstanceTypeError           an instance type that no cluster can be planned with
        │   ├── UnknownInstanceTypeError
        │   └── UnfitInstanceTypeError
        ├── LakeElsewhereError          a lake that is not named, or whose bucket is elsewhere, or somebody else's
        ├── NoReleaseError              no published code to run
        ├── SecurityConfigurationError  clusters would encrypt in a way that the steps can't read
        ├── RunTooLargeError            more dates or images than a driver holds
        ├── RunTooLongError             it would not be done before its step is given up
        ├── StepTooLongError            arguments that EMR would refuse
        ├── OverBudgetError             dearer than a run may be: people are told, too
        ├── NoPlaceError                nobody knows in which lake and region it works
        └── ClaimLostError              its dates were taken over while it had ended
    PassingError                        it passes by itself: it is waited for, or tried again
    ├── DateIsBusyError                 another run works on its dates
    └── ReplacedMeanwhileError          another writer replaced an object first: look again, decide again
    CauseKnownError                     its cause has a name (fruit_contract.failures.causes)
    LaterSchemaError                    the lake holds what a later release wrote
    SettingsError                       variables that hold what they may not: the main DAG is not read
    MissingObjectError                  an object that had to be in the lake is not there

Every message is for people: it says what is wrong and what to do. Whether an error passes, one of AWS or of this
family, is answered by `fruit_pipeline.aws.may_pass`; what a failed step means, by `fruit_pipeline.failures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fruit_contract.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence


class DamagedFileError(RefusedError):
    """Raised for a file of the lake that is not as it was written: it was cut off or replaced, or a byte of it has
    changed. The message names it.
    """


class RunRefusedError(RefusedError):
    """Raised for a run that is not begun, or not gone on with. Nothing was started for it."""


class ParamsRefusedError(RunRefusedError):
    """Raised for params that the DAG does not have, or whose values do not reach the run's tasks. The run would do
    something else than asked.
    """


class InstanceTypeError(RunRefusedError):
    """Raised for an instance type that no cluster can be planned with. The message names the setting to change."""


class UnknownInstanceTypeError(InstanceTypeError):
    """Raised for an instance type whose name does not tell its vCPUs and memory."""


class UnfitInstanceTypeError(InstanceTypeError):
    """Raised for an instance type that is known, and on which the jobs can't run."""


class LakeElsewhereError(RunRefusedError):
    """Raised if the lake's bucket is not named, is in another region than is set, or belongs to another account.
    Nothing of it was touched.
    """


class SecurityConfigurationError(RunRefusedError):
    """Raised if EMR's security configuration has clients encrypt what our steps read and write without EMR."""


class NoReleaseError(RunRefusedError):
    """Raised if there is no published code to run."""


class RunTooLargeError(RunRefusedError):
    """Raised for a run that has more dates, or whose dates have more images, than its driver holds."""


class RunTooLongError(RunRefusedError):
    """Raised for a run that would not be done before its step is given up."""


class StepTooLongError(RunRefusedError):
    """Raised for a step with longer arguments than EMR takes."""


class OverBudgetError(RunRefusedError):
    """Raised for a run that would cost more than it may, or whose cost is not known. The message says how to
    allow it.
    """


class NoPlaceError(RunRefusedError):
    """Raised if what should say in which lake and region runs work does not say it."""


class ClaimLostError(RunRefusedError):
    """Raised for a run that had ended and was set going again, if another run has taken its dates over meanwhile."""


class PassingError(RuntimeError):
    """Raised for what passes by itself: it is waited for, or tried again."""


class DateIsBusyError(PassingError):
    """Raised if other runs are working on `ingest_dates`, which this one was asked for. The message names both."""

    def __init__(self, message: str, ingest_dates: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ingest_dates = tuple(ingest_dates)


class ReplacedMeanwhileError(PassingError):
    """Raised if another writer replaced an object between a look at it and the write that was to follow. Nothing was
    written.
    """


class CauseKnownError(Exception):
    """Raised for a failure whose cause has a name: `cause_name`, which is empty if it is not known."""

    def __init__(self, message: str, cause_name: str = "") -> None:
        super().__init__(message)
        self.cause_name = cause_name


class LaterSchemaError(RuntimeError):
    """Raised for a record of a step that a later release than this one wrote."""


class SettingsError(ValueError):
    """Raised if FRUITS_* variables hold what they may not. The message names each and says what is allowed."""


class MissingObjectError(FileNotFoundError):
    """Raised if an object that had to be in the lake is not there. The message names its address."""
