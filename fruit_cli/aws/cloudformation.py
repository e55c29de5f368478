"""Makes, updates and removes stacks of CloudFormation, and tells in plain words what goes wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_POLL_SECONDS: Final = 5
_LONGEST_SECONDS: Final = 3600
_HALF_REMOVED: Final = "DELETE_FAILED"
# A stack in one of these states can only be removed. Most are first attempts that failed.
_NEVER_MADE: Final = frozenset(
    {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS", _HALF_REMOVED}
)
_GONE: Final = "DELETE_COMPLETE"
_TAGS: Final = [{"Key": "product", "Value": "fruits"}]
# AWS says this of resources that it gave up because another one failed.
_FOLLOWS: Final = ("Resource creation cancelled", "Resource update cancelled")


def parameters_in(stack: Mapping[str, Any]) -> dict[str, str]:
    """Returns the parameters of a stack as CloudFormation describes it."""
    return {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", ())}


class StackFailedError(CommandError):
    """Raised if CloudFormation could not make, change or remove a stack."""


class Stacks:
    """Makes, changes and removes the stacks of one account and region. `sleep` is what waits between two looks."""

    def __init__(self, client: Any, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self._say, self._sleep = client, say, sleep

    def find(self, name: str) -> dict[str, Any] | None:
        """Returns a stack as CloudFormation describes it, or None if there is none."""
        try:
            found: dict[str, Any] = self._client.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise
        return None if found["StackStatus"] == _GONE else found

    def parameters(self, name: str) -> dict[str, str]:
        """Returns the parameters of a stack; an empty dictionary if it is not there, or was never made."""
        found = self.find(name)
        return {} if found is None or found["StackStatus"] in _NEVER_MADE else parameters_in(found)

    def parameters_of_what_goes(self, name: str) -> dict[str, str]:
        """Returns the parameters of a stack that is to be removed, also if an earlier removal failed half-way."""
        found = self.find(name)
        return (
            parameters_in(found)
            if found is not None and found["StackStatus"] == _HALF_REMOVED
            else self.parameters(name)
        )

    def is_half_removed(self, name: str) -> bool:
        found = self.find(name)
        return found is not None and found["StackStatus"] == _HALF_REMOVED

    def named_with(self, parameter: str, value: str) -> list[str]:
        """Returns the names of our stacks, of all deployments, that have this value of a parameter. Those that were
        never made don't count.
        """
        pages = self._client.get_paginator("describe_stacks").paginate()
        return [
            stack["StackName"]
            for page in pages
            for stack in page["Stacks"]
            if stack["StackStatus"] not in _NEVER_MADE - {_HALF_REMOVED} | {_GONE}
            and all(tag in stack.get("Tags", ()) for tag in _TAGS)
            and parameters_in(stack).get(parameter) == value
        ]

    def outputs(self, name: str) -> dict[str, str]:
        found = self.find(name) or {}
        return {entry["OutputKey"]: entry["OutputValue"] for entry in found.get("Outputs", ())}

    def resource(self, name: str, logical_id: str) -> str | None:
        """Returns the name or id of the resource that a stack made under this logical id, or None if there is none."""
        if self.find(name) is None:
            return None
        made = self._client.describe_stack_resources(StackName=name)["StackResources"]
        return next(
            (str(entry["PhysicalResourceId"]) for entry in made if entry.get("LogicalResourceId") == logical_id), None
        )

    def made(self, name: str, kind: str) -> list[str]:
        """Returns the names, ids or ARNs of all resources of a kind that a stack made and that are not gone."""
        made = self._client.describe_stack_resources(StackName=name)["StackResources"]
        return [
            str(entry["PhysicalResourceId"])
            for entry in made
            if entry.get("ResourceType") == kind
            and entry.get("PhysicalResourceId")
            and entry["ResourceStatus"] != _GONE
        ]

    def put(self, name: str, template: str, parameters: Mapping[str, str]) -> dict[str, str]:
        """Makes a stack or brings it up to date, waits for the end, and returns its outputs. Raises StackFailedError if
        that fails or takes more than an hour.
        """
        found = self.find(name)
        if found is not None and found["StackStatus"] in _NEVER_MADE:
            self._say(f"  {name}: an attempt that failed is removed first")
            self.remove(name)
            found = None
        request = {
            "StackName": name,
            "TemplateBody": template,
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Tags": _TAGS,
        }
        if found is None:
            stack_id = self._client.create_stack(**request)["StackId"]
            self._wait(name, stack_id, "made", "CREATE_COMPLETE")
        else:
            try:
                stack_id = self._client.update_stack(**request)["StackId"]
            except ClientError as error:
                if "No updates are to be performed" not in error.response["Error"]["Message"]:
                    raise
                self._say(f"  {name}: nothing to change")
            else:
                self._wait(name, stack_id, "changed", "UPDATE_COMPLETE")
        return self.outputs(name)

    def remove(self, name: str) -> None:
        """Removes a stack and waits until it is gone. Does nothing if it is not there. Raises StackFailedError if that
        fails.
        """
        found = self.find(name)
        if found is None:
            return
        self._client.delete_stack(StackName=name)
        self._wait(name, found["StackId"], "removed", _GONE)

    def _wait(self, name: str, stack_id: str, done: str, wanted: str) -> None:
        for _ in range(_LONGEST_SECONDS // _POLL_SECONDS):
            # A stack that is gone can still be found by its id.
            status = self._client.describe_stacks(StackName=stack_id)["Stacks"][0]["StackStatus"]
            if status == wanted:
                self._say(f"  {name}: {done}")
                return
            if not status.endswith("_IN_PROGRESS"):
                raise StackFailedError(self._failure(name, stack_id, status))
            self._sleep(_POLL_SECONDS)
        raise StackFailedError(
            f"Stack {name} is not done after {_LONGEST_SECONDS // 60} minutes. See its events in AWS' console, then "
            "type the same again."
        )

    def _failure(self, name: str, stack_id: str, status: str) -> str:
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        # Only events of the last attempt count. The latest event comes first, and is told last.
        events = [event for page in pages for event in page["StackEvents"]]
        reasons = []
        for event in events:
            if event["ResourceStatus"].endswith("_FAILED") and not event.get("ResourceStatusReason", "").startswith(
                _FOLLOWS
            ):
                reasons.append(
                    f"  {event['LogicalResourceId']} ({event['ResourceType']}): "
                    f"{event.get('ResourceStatusReason', 'no reason')}"
                )
            if event["PhysicalResourceId"] == stack_id and event.get("ResourceStatusReason") == "User Initiated":
                break
        told = "\n".join(reversed(reasons)) or "  CloudFormation gives no reason."
        return (
            f"Stack {name} ended as {status}:\n{told}\nMend that, then type the same command again: what is done "
            "already stays."
        )
