"""Removes what `deploy` made. A lake with something in it stays unless it is named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from fruit_cli.aws.account import Account, session_of_caller
from fruit_cli.aws.attachments import detach
from fruit_cli.aws.removal import find_removal
from fruit_cli.aws.request import check_name, default_bucket
from fruit_cli.aws.stacks import stack_name
from fruit_cli.commands.deploy import ABOUT_AWS, DRY_RUN, confirm
from fruit_cli.errors import CommandError
from fruit_cli.lake.deployed import (
    BUCKET_VARIABLE,
    DEFAULT_NAME,
    FILE_VARIABLE,
    OWNER_VARIABLE,
    REGION_VARIABLE,
    deployed_name,
    deployed_region,
    environment_file,
    is_of_another,
    known_of,
    read_environment_file,
)
from fruit_contract.regions import DEFAULT_REGION, require_eu_region

if TYPE_CHECKING:
    from fruit_cli.aws.removal import Removal


@click.command(epilog=ABOUT_AWS)
@click.option("--name", help="What `deploy` was told.  [default: that of fruits.env, else fruits]")
@click.option("--dry-run", is_flag=True, help="Says what would be removed, and removes nothing.")
@click.option("--yes", is_flag=True, help="Does not ask.")
@click.option(
    "--erase-lake", metavar="BUCKET", help="Erases the bucket of this name with all that is in it, and its key."
)
def command(name: str | None, erase_lake: str | None, *, dry_run: bool, yes: bool) -> int:
    """Removes what `deploy` made. A bucket with something in it stays, and so does its key, unless the bucket is named.

    Its policies are detached from whoever has them. The next `deploy` takes a bucket and a key that stayed. A key that
    is removed can be taken back for 30 days. What breaks off goes on when the same is typed again.

    \b
    Example:
      python -m fruit_cli destroy --dry-run
    """
    region = require_eu_region(deployed_region(os.environ))
    destroy(
        check_name(deployed_name(name, os.environ)),
        Account(session_of_caller(), region, print),
        erase_lake=erase_lake or None,
        dry_run=dry_run,
        yes=yes,
    )
    return 0


def destroy(
    name: str, account: Account, *, erase_lake: str | None = None, dry_run: bool = False, yes: bool = False
) -> None:
    """Removes a deployment after a person has agreed.

    Raises CommandError if there is nothing to remove, another lake is named or known by this name, clusters are up, or
    a policy can't be detached.
    """
    number, caller = account.identity()
    print(f"In AWS account {number}, region {account.region}, as {caller}")
    removal = find_removal(name, account, number, erase_lake)
    _refuse_another_lake(name, number, removal)
    for line in removal.lines:
        print(f"  {line}")
    if dry_run:
        print(DRY_RUN)
        return
    confirm("Remove it?", yes=yes)
    for attachment in removal.attachments:
        detach(account.client("iam"), attachment)
    for part in removal.parts:
        stacks = account.stacks(part)
        if part == "network":
            vpc_id = stacks.resource(stack_name(name, part), "Vpc")
            if vpc_id:
                account.clear_network(vpc_id)
        if part == "lake":
            # The lake is erased before its stack is removed: if that breaks off, only the stack tells which lake and
            # key were to go.
            _erase(removal, account, number)
        stacks.remove(stack_name(name, part))
    if removal.lake:
        _tell_of_lake(removal, removal.lake.bucket, number, account.region)


def _refuse_another_lake(name: str, number: str, removal: Removal) -> None:
    """Raises CommandError if what is loaded, or the file, says that this deployment is elsewhere."""
    known = known_of(name, os.environ)
    said = [
        f"{variable} is {known[variable]}, and here it is {here}"
        for variable, here in ((BUCKET_VARIABLE, removal.lake and removal.lake.bucket), (OWNER_VARIABLE, number))
        if here and known.get(variable, here) != here
    ]
    if said:
        raise CommandError(
            f"By {environment_file()}, or by what this shell has loaded, '{name}' is another deployment: "
            f"{'; '.join(said)}. Nothing was changed. Check AWS_PROFILE, {REGION_VARIABLE}, STACK and {FILE_VARIABLE}."
        )


def _erase(removal: Removal, account: Account, number: str) -> None:
    if removal.erases and removal.lake:
        account.erase_bucket(removal.lake.bucket, number)
    if removal.ends_key:
        account.forget_key(removal.ends_key)


def _tell_of_lake(removal: Removal, bucket: str, number: str, region: str) -> None:
    if removal.erases:
        print(f"Erased: {bucket}")
    elif removal.lake and removal.lake.is_there:
        is_named = removal.deployment != DEFAULT_NAME or os.environ.get(FILE_VARIABLE)
        which = f" STACK={removal.deployment}" if is_named else ""
        which += f" {FILE_VARIABLE}={environment_file()}" if os.environ.get(FILE_VARIABLE) else ""
        which += f" {REGION_VARIABLE}={region}" if region != DEFAULT_REGION else ""
        is_default = bucket == default_bucket(removal.deployment, number, region)
        taken = which if is_default else f"{which} {BUCKET_VARIABLE}={bucket}"
        print(
            f"Kept: s3://{bucket}."
            + (
                ""
                if removal.lake.others
                else f" `make deploy{taken}` takes it again, and `make destroy{which} ERASE_LAKE={bucket}` after that "
                "erases it."
            )
        )
    path = environment_file()
    if BUCKET_VARIABLE in read_environment_file(path) and not is_of_another(path, removal.deployment, bucket):
        path.unlink()
        print(f"Removed: {path}")
