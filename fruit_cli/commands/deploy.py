"""Makes what an AWS account needs before its first cluster."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from fruit_cli.aws.account import SERVICE_LINKED_ROLES, Account, session_of_caller
from fruit_cli.aws.brought_along import look_at_certificates, look_at_key, look_at_subnets
from fruit_cli.aws.request import MAKE_CERTIFICATES, NO_CERTIFICATES, DeployRequest, default_bucket
from fruit_cli.aws.stacks import (
    DeployedLake,
    environment_of,
    idle_network_usd_a_month,
    kept_subnets,
    prices_in_words,
    stack_name,
    stacks_of,
    template_of,
)
from fruit_cli.errors import CommandError
from fruit_cli.lake.deployed import (
    BUCKET_VARIABLE,
    deployed_name,
    deployed_region,
    environment_file,
    is_of_another,
    read_environment_file,
    write_environment_file,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fruit_cli.aws.stacks import Stack

DRY_RUN: Final = "This was a dry run: nothing was changed."
ABOUT_AWS: Final = (
    "It takes your usual AWS credentials (AWS_PROFILE and the like), which must be an administrator's, and "
    "FRUITS_AWS_REGION [default: that of fruits.env, else eu-west-1]. docs/aws.md tells the whole way."
)


@click.command(epilog=ABOUT_AWS)
@click.option(
    "--name",
    help="What all that is made is called by; begins with 'fruits'.  [default: that of fruits.env, else fruits]",
)
@click.option("--dry-run", is_flag=True, help="Says what would be made and what it costs, and makes nothing.")
@click.option("--yes", is_flag=True, help="Does not ask.")
@click.option("--zones", metavar="1|2|3", help="In how many zones clusters may run.  [default: 2]")
@click.option(
    "--ssm/--no-ssm", default=None, help="Endpoints for SSM, through which people reach nodes.  [default: yes]"
)
@click.option(
    "--subnets", metavar="ID,ID", default="", help="Subnets that are there already; 'make' for a network of our own."
)
@click.option("--key", metavar="ARN", help="A KMS key that is there already.  [default: makes one]")
@click.option(
    "--airflow", metavar="WHO", help="Who takes Airflow's role: an ARN, or a service.  [default: ec2.amazonaws.com]"
)
@click.option(
    "--certificates",
    metavar="make|none|S3-ADDRESS",
    help="For TLS between nodes: a zip of PEM files.  [default: makes one]",
)
@click.option("--email", metavar="ADDRESS", help="Who gets alerts and the budget's warnings.")
@click.option(
    "--budget", type=click.IntRange(min=1), metavar="USD", help="What the account may cost a month.  [default: 200]"
)
@click.option(
    "--block-public-access", is_flag=True, help="Has EMR refuse public clusters in the whole account, without asking."
)
def command(
    name: str | None,
    zones: str | None,
    subnets: str,
    key: str | None,
    airflow: str | None,
    certificates: str | None,
    email: str | None,
    budget: int | None,
    *,
    dry_run: bool,
    yes: bool,
    ssm: bool | None,
    block_public_access: bool,
) -> int:
    """Makes what an AWS account in the EU needs: key, bucket, network, roles, queue, topic and budget, as stacks of
    CloudFormation.

    Type it again to change something; what is not named stays as it is. The bucket is FRUITS_LAKE_BUCKET [default: one
    named after the account and the region]. At the end it writes fruits.env (FRUITS_ENV_FILE), which Airflow and every
    command with `--target aws` read.

    \b
    Examples:
      python -m fruit_cli deploy --dry-run
      FRUITS_AWS_REGION=eu-central-1 python -m fruit_cli deploy --email team@example.org
    """
    request = DeployRequest(
        name=deployed_name(name, os.environ),
        region=deployed_region(os.environ),
        bucket=os.environ.get(BUCKET_VARIABLE) or None,
        key=key or None,
        subnets=tuple(part.strip() for part in subnets.split(",") if part.strip()),
        zones=zones or None,
        ssm=ssm,
        airflow=airflow or None,
        certificates=certificates,
        email=email,
        budget_usd=budget,
    )
    try:
        session = session_of_caller()
    except CommandError as error:
        if not dry_run:
            raise
        print(f"{error} This is what would be made in an empty account:")
        lake = DeployedLake(
            request.bucket or default_bucket(request.name, "<account>", request.region),
            makes_bucket=True,
            key=request.key or "",
        )
        _say_plan(request, lake, {})
        print(DRY_RUN)
        return 0
    deploy(request, session, dry_run=dry_run, yes=yes, block_public_access=block_public_access)
    return 0


def deploy(
    request: DeployRequest,
    session: object,
    *,
    dry_run: bool = False,
    yes: bool = False,
    block_public_access: bool = False,
) -> None:
    """Makes what is not there and changes what differs. Raises CommandError if something stands in the way."""
    account = Account(session, request.region, print)
    number, caller = account.identity()
    parts = account.parts_of(request.name)
    if account.stacks("lake").is_half_removed(stack_name(request.name, "lake")):
        raise CommandError(f"The removal of '{request.name}' broke off. Type `make destroy` again first.")
    before = _parameters_before(request.name, parts, account)
    _refuse_a_name_that_is_taken(request, parts, account)
    lake = _lake(request, account, number, before.get("lake", {}))
    path = environment_file()
    _refuse_anothers_file(path, request.name, lake.bucket)
    print(f"To AWS account {number}, region {request.region}, bucket {lake.bucket}, as {caller}")
    _look_at_what_is_named(request, account, number, lake.bucket)
    _look_at_network(request, account, before)
    plan = _say_plan(request, lake, before)
    if dry_run:
        print(DRY_RUN)
        return
    confirm("Make it?", yes=yes)
    account.make_service_linked_roles()
    _public_access(account, yes=yes, block=block_public_access)
    outputs: dict[str, str] = {}
    for stack in plan:
        inputs = {name: outputs[name] for name in stack.inputs}
        if stack.makes_certificates:
            inputs["Certificates"] = account.make_certificates(lake.bucket, number)
        outputs |= account.stacks(stack.part).put(
            stack.name(request.name), template_of(stack.part), {**stack.parameters, **inputs}
        )
    comments = (
        f"Written by `make deploy`: {request.name} in AWS account {number}.",
        f"Airflow runs as {outputs['AirflowRoleArn']}.",
        *(
            f"For people: {outputs[part + 'PolicyArn']}"
            for part in ("Publisher", "Deliverer", "Operator", "Analyst", "LedgerReader")
        ),
    )
    was, now = read_environment_file(path), environment_of(request.name, request.region, lake.bucket, number, outputs)
    write_environment_file(path, now, comments)
    print(f"Written: {path}. {_next_in_words(was, now)}")


def _next_in_words(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns what to do with a file of settings that was written once more, or for the first time."""
    if not was:
        return "Airflow and every command with TARGET=aws read it. Next: `make publish TARGET=aws` (docs/aws.md)."
    changed = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    if not changed:
        return "It says what it said before."
    return (
        f"It says otherwise than before: {', '.join(changed)}. Give these lines to Airflow, and start its processes "
        "again: what the former ones name may be gone. A shell that has loaded the former ones must load these."
    )


def confirm(question: str, *, yes: bool) -> None:
    """Asks a person, and raises CommandError unless the answer is yes. With `yes` it asks nobody."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            "Nobody is here to say yes. Type YES=1 (--yes) if it is meant, or DRY_RUN=1 (--dry-run) to see what would "
            "happen."
        )
    if not click.confirm(question):
        raise CommandError("Nothing was changed.")


def _lake(request: DeployRequest, account: Account, number: str, before: Mapping[str, str]) -> DeployedLake:
    if before:
        if request.bucket not in (None, before["Bucket"]):
            raise CommandError(
                f"The lake of '{request.name}' is {before['Bucket']}. For {request.bucket} choose another STACK, or "
                f"unset {BUCKET_VARIABLE}."
            )
        if request.key not in (None, before["KeyArn"]):
            raise CommandError(
                f"The key of '{request.name}' can't be changed: what is there is encrypted with it. Leave KMS_KEY away."
            )
        return DeployedLake(before["Bucket"], before["MakeBucket"] == "yes", before["KeyArn"])
    bucket = request.bucket or default_bucket(request.name, number, request.region)
    found = account.find_bucket(bucket, number)
    others = account.other_lakes_with("Bucket", bucket, request.name)
    if others:
        raise CommandError(
            f"The bucket {bucket} is the lake of {', '.join(others)}. A lake has one deployment: unset "
            f"{BUCKET_VARIABLE} for a lake of its own, or name another bucket."
        )
    if found is None:
        return DeployedLake(bucket, makes_bucket=True, key=request.key or "")
    if found.region != request.region:
        raise CommandError(
            f"The bucket {bucket} is in {found.region}, and FRUITS_AWS_REGION is {request.region}: they must be the "
            "same."
        )
    if request.key and found.key not in ("", request.key):
        raise CommandError(
            f"The bucket {bucket} encrypts with {found.key}, and KMS_KEY is {request.key}: nobody would get rights to "
            "what is in it. Leave KMS_KEY away."
        )
    return DeployedLake(bucket, makes_bucket=False, key=request.key or found.key)


def _parameters_before(name: str, parts: tuple[str, ...], account: Account) -> dict[str, dict[str, str]]:
    """Returns the parameters of the stacks that are there, by part. Those of the network include its subnets."""
    before = {part: found for part in parts if (found := account.stacks(part).parameters(stack_name(name, part)))}
    if "network" in before:
        before["network"] |= account.stacks("network").outputs(stack_name(name, "network"))
    return before


def _refuse_a_name_that_is_taken(request: DeployRequest, parts: tuple[str, ...], account: Account) -> None:
    """Raises CommandError if a role of that name is there already. The name of a role counts in the whole account, that
    of a stack in one region.
    """
    role = f"{request.name}-emr-service"
    if "cluster" not in parts and account.has_role(role):
        raise CommandError(
            f"The role {role} is there already, and {request.region} has no stack "
            f"{stack_name(request.name, 'cluster')}. Roles are the whole account's: if '{request.name}' stands in "
            "another region, name that one, or choose another STACK. Else remove the role."
        )


def _refuse_anothers_file(path: Path, name: str, bucket: str) -> None:
    """Raises CommandError if the file that is written at the end belongs to another lake."""
    if is_of_another(path, name, bucket):
        named = read_environment_file(path).get(BUCKET_VARIABLE, "")
        raise CommandError(
            f"{path} is of another lake, {named}, and commands would no longer find that. Type "
            f"FRUITS_ENV_FILE={name}-lake.env as well, "
            "now and with each command that is to work on this lake. If the other lake is gone, remove the file."
        )


def _look_at_what_is_named(request: DeployRequest, account: Account, number: str, bucket: str) -> None:
    """Raises CommandError if a key or certificates that were named can't serve."""
    if request.key:
        look_at_key(account, request.key)
    if request.certificates not in (None, "", MAKE_CERTIFICATES, NO_CERTIFICATES):
        look_at_certificates(account, request.certificates, bucket, number)


def _look_at_network(request: DeployRequest, account: Account, before: Mapping[str, Mapping[str, str]]) -> None:
    subnets = kept_subnets(request, before)
    if not subnets:
        return
    findings = look_at_subnets(account, subnets.split(","))
    for doubt in findings.doubts:
        print(f"Look: {doubt}")
    if findings.missing:
        raise CommandError(" ".join(findings.missing))


def _say_plan(request: DeployRequest, lake: DeployedLake, before: Mapping[str, Mapping[str, str]]) -> list[Stack]:
    plan = stacks_of(request, lake, before)
    idle_usd = idle_network_usd_a_month(request, before)
    for stack in plan:
        known = before.get(stack.part)
        what = "make" if known is None else "bring up to date"
        print(
            f"  {what} {stack.name(request.name)}: {stack.makes}"
            + (f" ({stack.usd_a_month:.2f} USD a month)" if stack.usd_a_month else "")
        )
    if idle_usd:
        network = stack_name(request.name, "network")
        print(
            f"  leave {network}, in which clusters would run no more ({idle_usd:.2f} USD a month): `aws cloudformation "
            f"delete-stack --region {request.region} --stack-name {network}` ends that, once no cluster is in it"
        )
    print(f"  make or find the service-linked roles {' and '.join(SERVICE_LINKED_ROLES.values())}")
    print(
        "  ask whether EMR shall refuse public clusters in the whole account, unless it does (BLOCK_PUBLIC_ACCESS=1 "
        "says yes)"
    )
    total, least = (
        _usd_a_month(stacks) + idle_usd
        for stacks in (plan, stacks_of(replace(request, zones="1", ssm=False), lake, before))
    )
    print(
        f"While nothing runs, that costs about {total:.0f} USD a month beside what lies in the bucket "
        f"({prices_in_words(request.region)})."
    )
    if least < total:
        print(
            f"Interface endpoints cost by hour and zone. With fewer of them, ZONES=1 SSM=0, it is about {least:.0f} "
            "USD."
        )
    if not request.email and not before.get("lake", {}).get("Email"):
        print("Nobody gets the alerts yet: ALERT_EMAIL=<address> subscribes somebody.")
    return plan


def _usd_a_month(plan: list[Stack]) -> float:
    return sum(stack.usd_a_month for stack in plan)


def _public_access(account: Account, *, yes: bool, block: bool) -> None:
    """Has EMR refuse public clusters if that is asked for or a person agrees. It asks apart from the rest, because that
    setting is the whole account's.
    """
    if account.blocks_public_access():
        print("  EMR's block of public access: is on, without exceptions")
        return
    told = "EMR would start clusters in this account whose port 22, or others, are open to the world."
    if block or (not yes and sys.stdin.isatty() and click.confirm(f"{told} Forbid that for the whole account?")):
        account.block_public_access()
        print("  EMR's block of public access: switched on, without exceptions")
    else:
        print(f"  {told} It stays so: BLOCK_PUBLIC_ACCESS=1 forbids it.")
