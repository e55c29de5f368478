"""Keeps a task in the place where its run was planned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fruit_pipeline.places import settings_of_run

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings


class InRunsPlace:
    """Gives an operator with a templated field `place`, which is what the plan says of it, the settings of that place.

    Bucket, region and connection are the plan's. How long and how often something is waited for is as it is set now.
    """

    place: Any
    _settings_now: Settings

    @property
    def _settings(self) -> Settings:
        return settings_of_run(self._settings_now, self.place)

    @property
    def _hook_parameters(self) -> dict[str, Any]:
        """Has the provider's own hook ask in that place, too."""
        inherited: dict[str, Any] = super()._hook_parameters  # type: ignore[misc]  # of the operator beside this class
        return inherited | {"aws_conn_id": self._settings.aws_conn_id, "region_name": self._settings.region}
