"""What `make destroy` removes, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fruit_cli.aws.stacks import PARTS, stack_name
from fruit_cli.errors import CommandError

if TYPE_CHECKING:
    from fruit_cli.aws.account import Account


@dataclass(frozen=True)
class Removal:
    """Says which stacks go, the last made first, and what becomes of the lake.

    `own_bucket` and `own_key` are those that the lake's stack made; `named` tells that a person wants the bucket erased.
    """

    deployment: str
    parts: tuple[str, ...]
    bucket: str | None
    own_bucket: str | None
    own_key: str | None
    is_empty: bool
    named: bool

    @property
    def erases(self) -> bool:
        return self.bucket is not None and (self.named or (self.own_bucket is not None and self.is_empty))

    @property
    def lines(self) -> list[str]:
        lines = [f"remove {', '.join(stack_name(self.deployment, part) for part in self.parts)}"]
        if self.bucket is None:
            return lines
        if self.erases:
            key = f", and in 30 days its key {self.own_key}" if self.own_key else ""
            return [*lines, f"erase the bucket {self.bucket}, {'which is empty' if self.is_empty else 'with all that is in it'}{key}"]
        why = "there is something in it" if self.own_bucket else "it was there before"
        return [*lines, f"keep the bucket {self.bucket}, for {why}" + (f", and its key {self.own_key}" if self.own_key else "")]


def find_removal(deployment: str, account: Account, erase_lake: str | None) -> Removal:
    """Raises CommandError if there is nothing to remove, another lake is named, or clusters of this one are up."""
    parts = tuple(part for part in reversed(PARTS) if account.stacks(part).find(stack_name(deployment, part)))
    if not parts:
        raise CommandError(f"There is nothing called '{deployment}' in region {account.region} of this account.")
    lake_stack, stacks = stack_name(deployment, "lake"), account.stacks("lake")
    bucket = stacks.parameters(lake_stack).get("Bucket")
    if erase_lake not in (None, bucket):
        raise CommandError(f"ERASE_LAKE is '{erase_lake}', and the lake of '{deployment}' is {bucket}. Nothing was changed.")
    clusters = account.clusters_of(bucket) if bucket else []
    if clusters:
        raise CommandError(f"Clusters of this lake are up: {', '.join(clusters)}. Pause the DAG and end them first (docs/operations.md).")
    return Removal(
        deployment,
        parts,
        bucket,
        stacks.resource(lake_stack, "Lake"),
        stacks.resource(lake_stack, "Key"),
        is_empty=bucket is not None and account.is_empty(bucket),
        named=erase_lake is not None,
    )
