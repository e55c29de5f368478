"""Says where runs work, and where they have worked: in which lake and region, through which connection.

A run keeps the place that it was planned in, whatever the environment says when a later task starts. And every place in
which this Airflow has asked for clusters is remembered, so that nothing is overlooked there when the settings change.
Each place is an Airflow Variable of its own: tasks that write at the same moment can't lose each other's, and no lake
has to be known to read them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fruit_contract.newer_python import UTC
from fruit_pipeline.errors import NoPlaceError
from fruit_pipeline.setting_fields import declaration_of
from fruit_pipeline.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOG: Final = logging.getLogger(__name__)
Answer = TypeVar("Answer")

PLANNING_TASK_ID: Final = "plan_run"
PLACE_XCOM: Final = "place"
VARIABLE_PREFIX: Final = "fruits_place_"
_KEYS: Final = "fruits_places"
_LAST_USED: Final = "last_used"


@dataclass(frozen=True)
class Place:
    """Says which lake is meant, whose it is, in which region, and through which of Airflow's connections. The fields
    are those of the settings of the same names.
    """

    lake_bucket: str
    lake_owner: str
    region: str
    aws_conn_id: str

    @classmethod
    def of(cls, settings: Settings) -> Place:
        return cls(settings.lake_bucket, settings.lake_owner, settings.region, settings.aws_conn_id)

    @classmethod
    def read(cls, values: Any) -> Place:
        """Returns the place that `as_dict` told. Raises NoPlaceError for anything else, or for what no setting may
        hold.
        """
        try:
            return cls(**{name: kind.read(values[name]) if values[name] else "" for name, kind in _KINDS.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise NoPlaceError(f"{values!r} does not say which lake, region and connection are meant.") from error

    def as_dict(self) -> dict[str, str]:
        return asdict(self)

    @property
    def variable(self) -> str:
        """Returns the key of the Variable that remembers the place."""
        digest = hashlib.sha256("\n".join(self.as_dict().values()).encode()).hexdigest()
        return f"{VARIABLE_PREFIX}{digest[:16]}"

    def __str__(self) -> str:
        return f"lake '{self.lake_bucket}' in {self.region} (connection '{self.aws_conn_id}')"


_KINDS: Final = {
    field.name: declaration_of(field).kind
    for field in fields(Settings)
    if field.name in {of.name for of in fields(Place)}
}


def settings_in(settings: Settings, place: Place) -> Settings:
    """Returns the settings for work in another place. Raises RegionNotAllowedError if that is not inside the EU."""
    there = replace(
        settings,
        lake_bucket=place.lake_bucket,
        lake_owner=place.lake_owner,
        region=place.region,
        aws_conn_id=place.aws_conn_id,
    )
    there.require_place()
    return there


def settings_of_run(settings: Settings, place: Any) -> Settings:
    """Returns the settings for the tasks of a run whose plan says that it works in `place`. Raises NoPlaceError if the
    plan does not say where.
    """
    if not place:
        raise NoPlaceError(
            "The run's plan does not say where the run works. Clear plan_run with *downstream*, without *only failed*: "
            "it is planned anew."
        )
    return settings_in(settings, Place.read(place))


def place_of_run(task_instance: Any) -> Place | None:
    """Returns where the task's run was planned to work; None if there is no plan that says so."""
    try:
        return Place.read(task_instance.xcom_pull(task_ids=PLANNING_TASK_ID, key=PLACE_XCOM))
    except NoPlaceError as error:
        LOG.info("Nobody knows where the run was planned: %s", error)
        return None


def remember(place: Place) -> None:
    """Remembers that this Airflow works in a place, and that it did so at this moment."""
    told = place.as_dict() | {_LAST_USED: datetime.now(UTC).isoformat()}
    variables().set(
        place.variable,
        json.dumps(told),
        description=f"Where fruit_image_pipeline has worked: {place}. The sweep forgets it.",
    )
    if not hasattr(variables(), "keys"):
        keys = sorted({*_remembered_keys(), place.variable})
        variables().set(
            _KEYS, json.dumps(keys), description="The Variables that say where fruit_image_pipeline has worked."
        )


def forget(place: Place) -> None:
    """Deletes the Variable that remembers the place, if there is one."""
    variables().delete(place.variable)


def remembered_places() -> dict[Place, datetime]:
    """Returns every place that is remembered, with the moment at which this Airflow last asked for something there."""
    found = {}
    for key in _remembered_keys():
        text = variables().get(key, default=None)
        if text is None:  # forgotten since the keys were listed
            continue
        try:
            told = json.loads(text)
            found[Place.read(told)] = datetime.fromisoformat(told[_LAST_USED])
        except (KeyError, ValueError, NoPlaceError):
            LOG.exception(
                "The Variable %s does not say where runs have worked. Nobody looks there: mend or delete it.", key
            )
    return found


def _remembered_keys() -> list[str]:
    """Returns the Variables' keys. Airflow 3.2 lets no task list Variables, so one more Variable names those that there
    are.

    Two runs that change that Variable at the same moment may lose a key of it. The key is there again when the run asks
    for its cluster.
    """
    if hasattr(variables(), "keys"):
        return list(variables().keys(prefix=VARIABLE_PREFIX))
    return list(json.loads(variables().get(_KEYS, default="[]")))


def known_places(settings: Settings) -> list[Place]:
    """Returns the settings' own place, if a lake is set, then all others that are remembered."""
    here = [Place.of(settings)] if settings.lake_bucket else []
    return list(dict.fromkeys([*here, *remembered_places()]))


def ask_each(
    settings: Settings, places: Iterable[Place], ask: Callable[[Settings], Answer]
) -> tuple[dict[Place, Answer], dict[Place, Exception]]:
    """Returns what `ask` answers for the settings of each place, and the errors of the places that can't be asked. The
    errors are logged.
    """
    answers, errors = {}, {}
    for place in places:
        try:
            answers[place] = ask(settings_in(settings, place))
        except Exception as error:
            # Whatever it is (rights, a connection, a bucket or a region that is gone), the other places must be asked
            # all the same.
            LOG.exception("The %s can't be asked.", place)
            errors[place] = error
    return answers, errors


def ask_everywhere(settings: Settings, own: Place | None, ask: Callable[[Settings], Answer]) -> dict[Place, Answer]:
    """Returns what `ask` answers for the settings of every place in which a run may have clusters. `own` is where it
    was planned.

    After all places were asked, it raises the error of the run's own place, if there was one. If nobody knows which
    place that is, it raises the error of any.
    """
    answers, errors = ask_each(settings, dict.fromkeys([*([own] if own else []), *known_places(settings)]), ask)
    for place, error in errors.items():
        if own in (None, place):
            raise error
    return answers


def variables() -> Any:
    """Returns Airflow's Variables, as tasks see them."""
    from airflow.sdk import Variable

    return Variable
