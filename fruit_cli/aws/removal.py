"""Says what `make destroy` removes, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fruit_cli.aws.attachments import attached_by_people
from fruit_cli.aws.stacks import stack_name
from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fruit_cli.aws.account import Account
    from fruit_cli.aws.attachments import Attachment


@dataclass(frozen=True)
class LakeFindings:
    """Describes the lake that a deployment uses.

    `makes_bucket` tells that the lake's stack made the bucket. `own_key` tells that this or an earlier `make deploy`
    made the key for this bucket. `is_there` is false after a removal that broke off when the bucket was erased already.
    `others` are the lakes' stacks of other deployments that have this bucket, `others_with_key` those that have this
    key.
    """

    bucket: str
    makes_bucket: bool
    is_there: bool
    is_empty: bool
    key: str | None
    own_key: bool
    others: tuple[str, ...] = ()
    others_with_key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removal:
    """Says which policies are detached, which stacks are removed (the last made first), and what becomes of the lake.

    `named` tells that a person wants the bucket erased.
    """

    deployment: str
    parts: tuple[str, ...]
    attachments: tuple[Attachment, ...] = ()
    lake: LakeFindings | None = None
    named: bool = False

    @property
    def erases(self) -> bool:
        return (
            self.lake is not None
            and self.lake.is_there
            and not self.lake.others
            and (self.named or (self.lake.makes_bucket and self.lake.is_empty))
        )

    @property
    def ends_key(self) -> str | None:
        """Returns the key that is to be removed because nothing needs it any more; None if there is none, or if it is
        not ours.
        """
        if (
            self.lake is None
            or self.lake.others
            or self.lake.others_with_key
            or not self.lake.own_key
            or (self.lake.is_there and not self.erases)
        ):
            return None
        return self.lake.key

    @property
    def lines(self) -> list[str]:
        lines = [attachment.line for attachment in self.attachments]
        lines.append(f"remove {', '.join(stack_name(self.deployment, part) for part in self.parts)}")
        return lines if self.lake is None else [*lines, self._lake_line(self.lake)]

    def _lake_line(self, lake: LakeFindings) -> str:
        if lake.is_there and not self.erases:
            why = "there is something in it" if lake.makes_bucket else "it was there before"
            if lake.others:
                why = f"it is the lake of {', '.join(lake.others)}, too"
            return f"keep the bucket {lake.bucket}, for {why}" + (f", and its key {lake.key}" if lake.own_key else "")
        what = f"erase the bucket {lake.bucket}, {'which is empty' if lake.is_empty else 'with all that is in it'}"
        if not lake.is_there:
            what = f"(the bucket {lake.bucket} is gone already)"
        if self.ends_key:
            return f"{what}, and in 30 days its key {lake.key}"
        why = "`make deploy` did not make it for this bucket"
        if lake.others_with_key:
            why = f"it is that of {', '.join(lake.others_with_key)}, too"
        return what + (f"; its key {lake.key} stays, for {why}" if lake.key else "")


def find_removal(deployment: str, account: Account, number: str, erase_lake: str | None) -> Removal:
    """Returns what is to be removed.

    Raises CommandError if there is nothing, another lake is named or one that another deployment has, too, clusters of
    this one are up, or a policy can't be detached.
    """
    parts = tuple(reversed(account.parts_of(deployment)))
    if not parts:
        raise CommandError(f"There is nothing called '{deployment}' in region {account.region} of this account.")
    bucket = account.stacks("lake").parameters_of_what_goes(stack_name(deployment, "lake")).get("Bucket")
    if erase_lake not in (None, bucket):
        raise CommandError(
            f"ERASE_LAKE is '{erase_lake}', and the lake of '{deployment}' is {bucket}. Nothing was changed."
        )
    others = account.other_lakes_with("Bucket", bucket, deployment) if bucket else []
    if others and erase_lake:
        raise CommandError(
            f"The bucket {bucket} is the lake of {', '.join(others)}, too. Nothing was changed. Without ERASE_LAKE it "
            "stays."
        )
    clusters = account.clusters_of(bucket) if bucket else []
    if clusters:
        up = ", ".join(clusters)
        raise CommandError(
            f"Clusters of this lake are up: {up}. End them first (docs/operations.md, 'How to stop everything')."
        )
    return Removal(
        deployment,
        parts,
        attached_by_people(deployment, account.attachments_of(deployment, parts)),
        _look_at_lake(deployment, bucket, account, number, others) if bucket else None,
        named=erase_lake is not None,
    )


def _look_at_lake(deployment: str, bucket: str, account: Account, number: str, others: Sequence[str]) -> LakeFindings:
    name, stacks = stack_name(deployment, "lake"), account.stacks("lake")
    made_key = stacks.resource(name, "Key")
    key = made_key or stacks.parameters_of_what_goes(name)["KeyArn"] or None
    is_there = account.find_bucket(bucket, number) is not None
    return LakeFindings(
        bucket,
        makes_bucket=stacks.resource(name, "Lake") is not None,
        is_there=is_there,
        is_empty=is_there and account.is_empty(bucket, number),
        key=key,
        own_key=key is not None and (made_key is not None or account.made_key_for(key, bucket)),
        others=tuple(others),
        others_with_key=tuple(account.others_with_key(key, deployment)) if key else (),
    )
