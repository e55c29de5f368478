"""Finds and detaches the policies that people attached beside our templates: ours to their roles, or theirs to ours.

IAM removes no policy that somebody has, and no role that has one, and CloudFormation takes back only what its template
attached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Roles that IAM Identity Center makes. IAM lets nobody else change them.
_IDENTITY_CENTER: Final = "AWSReservedSSO_"
# This is the name of the policy inside each of our roles that has one.
_INLINE: Final = "fruits"
# Without this filter IAM also names those who have a policy as their permissions boundary. Taking that away would give
# them more rights.
_AS_A_RIGHT: Final = "PermissionsPolicy"


@dataclass(frozen=True, order=True)
class Attachment:
    """Says who has which policy. `kind` of the holder is "role", "user" or "group"; `policy` is an ARN, or the name of
    a policy that is inside the role.
    """

    kind: str
    holder: str
    policy: str

    @property
    def policy_name(self) -> str:
        return self.policy.rpartition("/")[2]

    @property
    def is_inside(self) -> bool:
        return not self.policy.startswith("arn:")

    @property
    def line(self) -> str:
        """Returns words that say what is done about it."""
        if self.is_inside:
            return f"remove the policy {self.policy} that somebody put into the {self.kind} {self.holder}"
        return f"detach the policy {self.policy_name} from the {self.kind} {self.holder}"


def of_our_templates(deployment: str) -> frozenset[tuple[str, str]]:
    """Returns the (role, policy) pairs that our templates attach. CloudFormation takes these back itself."""
    return frozenset(
        {
            (f"{deployment}-emr-service", "AmazonEMRServicePolicy_v2"),
            (f"{deployment}-emr-service", _INLINE),
            (f"{deployment}-emr-nodes", _INLINE),
            (f"{deployment}-airflow", f"{deployment}-airflow"),
        }
    )


def attached_by_people(deployment: str, found: Iterable[Attachment]) -> tuple[Attachment, ...]:
    """Returns what is to be detached. Raises CommandError if only IAM Identity Center can detach some of it."""
    ours = of_our_templates(deployment)
    others = sorted({one for one in found if one.kind != "role" or (one.holder, one.policy_name) not in ours})
    protected = [f"{one.policy_name} from {one.holder}" for one in others if one.holder.startswith(_IDENTITY_CENTER)]
    if protected:
        raise CommandError(
            "These policies belong to permission sets of IAM Identity Center, which alone can detach them: "
            f"{', '.join(protected)}. "
            "Take them out of the permission sets, then type the same again. Nothing was changed."
        )
    return tuple(others)


def find_attachments(iam: Any, roles: Sequence[str], policies: Sequence[str]) -> list[Attachment]:
    """Returns who has one of these policies, and which policies these roles have."""
    found: list[Attachment] = []
    for policy in policies:
        for page in _pages(iam, "list_entities_for_policy", PolicyArn=policy, PolicyUsageFilter=_AS_A_RIGHT):
            found += [Attachment("role", entity["RoleName"], policy) for entity in page.get("PolicyRoles", ())]
            found += [Attachment("user", entity["UserName"], policy) for entity in page.get("PolicyUsers", ())]
            found += [Attachment("group", entity["GroupName"], policy) for entity in page.get("PolicyGroups", ())]
    for role in roles:
        for page in _pages(iam, "list_attached_role_policies", RoleName=role):
            found += [Attachment("role", role, policy["PolicyArn"]) for policy in page["AttachedPolicies"]]
        for page in _pages(iam, "list_role_policies", RoleName=role):
            found += [Attachment("role", role, name) for name in page["PolicyNames"]]
    return found


def detach(iam: Any, attachment: Attachment) -> None:
    """Takes a policy from its holder. Does nothing if the holder does not have it."""
    holder = {f"{attachment.kind.title()}Name": attachment.holder}
    try:
        if attachment.is_inside:
            iam.delete_role_policy(**holder, PolicyName=attachment.policy)
        else:
            getattr(iam, f"detach_{attachment.kind}_policy")(**holder, PolicyArn=attachment.policy)
    except iam.exceptions.NoSuchEntityException:
        return


def _pages(iam: Any, operation: str, **asked: str) -> list[dict[str, Any]]:
    """Returns all pages of a list; an empty list if what is asked about is gone."""
    try:
        return list(iam.get_paginator(operation).paginate(**asked))
    except iam.exceptions.NoSuchEntityException:
        return []
