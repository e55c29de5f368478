"""Describes the stacks of a deployment: in which order they are made, what each gets from those before it, and what it
costs.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # constants are typed with it
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fruit_cli.aws.request import MAKE_CERTIFICATES, MAKE_SUBNETS, NO_CERTIFICATES
from fruit_cli.errors import CommandError
from fruit_cli.lake.deployed import BUCKET_VARIABLE, OWNER_VARIABLE, REGION_VARIABLE, STACK_VARIABLE
from fruit_contract.regions import DEFAULT_REGION
from local_cloud.project import PROJECT

if TYPE_CHECKING:
    from fruit_cli.aws.request import DeployRequest

TEMPLATES: Final = PROJECT / "bootstrap" / "stacks"
# CloudFormation takes no larger template in a request; a larger one would have to lie in a bucket first.
MOST_TEMPLATE_BYTES: Final = 51_200
HOURS_A_MONTH: Final = 730
# An interface endpoint costs this much per hour and zone, by AWS' price list of that year. For a region that was not
# looked up, the highest price is taken.
PRICES_OF_YEAR: Final = 2025
USD_PER_ENDPOINT_HOUR: Final[Mapping[str, float]] = {"eu-west-1": 0.011, "eu-central-1": 0.012}
USD_PER_KEY_MONTH: Final = 1.0
ENDPOINTS: Final = 3
SSM_ENDPOINTS: Final = 3
# CloudFormation knows no budgets in these regions. A budget is the whole account's, so it is made from the default
# region instead.
REGIONS_WITHOUT_BUDGETS: Final = frozenset({"eu-north-1", "eu-south-1", "eu-south-2"})
DEFAULT_ZONES: Final = "2"
DEFAULT_AIRFLOW: Final = "ec2.amazonaws.com"
DEFAULT_BUDGET_USD: Final = 200


@dataclass(frozen=True)
class DeployedLake:
    """Says which bucket and key a deployment uses, and which of them are its own."""

    bucket: str
    makes_bucket: bool
    key: str = ""


@dataclass(frozen=True)
class Stack:
    """Describes one stack. `inputs` names those of its parameters that are outputs of stacks before it.

    With `makes_certificates` it also needs certificates, which are made once there is a bucket for them.
    """

    part: str
    parameters: Mapping[str, str]
    inputs: tuple[str, ...]
    makes: str
    usd_a_month: float = 0.0
    makes_certificates: bool = False

    def name(self, deployment: str) -> str:
        return stack_name(deployment, self.part)


# In the order in which they are made; each needs only those before it.
PARTS: Final = ("lake", "network", "cluster", "airflow", "people", "budget")


def stack_name(deployment: str, part: str) -> str:
    return f"{deployment}-{part}"


def region_of(part: str, region: str) -> str:
    """Returns the region in which a stack of a deployment is."""
    return DEFAULT_REGION if part == "budget" and region in REGIONS_WITHOUT_BUDGETS else region


def is_of_region(part: str, parameters: Mapping[str, str], region: str) -> bool:
    """Returns whether a stack belongs to the deployment in this region. A budget may belong to one in another region,
    which its topic tells.
    """
    return part != "budget" or f":sns:{region}:" in parameters.get("TopicArn", "")


def usd_per_endpoint_hour(region: str) -> float:
    return USD_PER_ENDPOINT_HOUR.get(region, max(USD_PER_ENDPOINT_HOUR.values()))


def prices_in_words(region: str) -> str:
    """Returns words that say where the prices are from."""
    looked_up = region in USD_PER_ENDPOINT_HOUR
    of = (
        region
        if looked_up
        else f"{' and '.join(USD_PER_ENDPOINT_HOUR)}, the higher of them: those of {region} were not looked up"
    )
    return (
        f"AWS' list prices of {PRICES_OF_YEAR} for {of}; see aws.amazon.com/privatelink/pricing and "
        "aws.amazon.com/kms/pricing"
    )


def template_of(part: str) -> str:
    """Returns the text of a stack's template. Raises CommandError if it is too large for a request."""
    template = (TEMPLATES / f"{part}.yaml").read_text(encoding="utf-8")
    if len(template.encode()) > MOST_TEMPLATE_BYTES:
        raise CommandError(
            f"bootstrap/stacks/{part}.yaml has more than {MOST_TEMPLATE_BYTES:,} bytes: make two stacks of it."
        )
    return template


def stacks_of(request: DeployRequest, lake: DeployedLake, before: Mapping[str, Mapping[str, str]]) -> list[Stack]:
    """Returns the stacks of a deployment, in the order in which they are made.

    `before` has the parameters of the stacks that are there, by part, and the subnets of our network. What was not
    typed this time stays as it is.
    """
    common = {"Name": request.name}

    def typed(part: str, parameter: str, value: str | None, default: str) -> str:
        return before.get(part, {}).get(parameter, default) if value is None else value

    zones = typed("network", "Zones", request.zones, DEFAULT_ZONES)
    ssm = typed("network", "Shell", None if request.ssm is None else _yes_or_no(request.ssm), "yes")
    stacks = [
        Stack(
            "lake",
            common
            | {
                "Bucket": lake.bucket,
                "MakeBucket": _yes_or_no(lake.makes_bucket),
                "KeyArn": lake.key,
                "Email": typed("lake", "Email", request.email, ""),
            },
            (),
            _lake_in_words(lake),
            0.0 if lake.key else USD_PER_KEY_MONTH,
        )
    ]
    subnets = kept_subnets(request, before)
    if not subnets:
        stacks.append(
            Stack(
                "network",
                common | {"Bucket": lake.bucket, "Zones": zones, "Shell": ssm},
                (),
                f"a VPC with {zones} private subnet{'s' if zones != '1' else ''} that reaches AWS' services alone: a "
                f"gateway to S3, and {_endpoints(ssm)} interface endpoints in each",
                _network_usd_a_month(zones, ssm, request.region),
            )
        )
    certificates = _certificates(request.certificates, before.get("cluster"))
    service, principal = _airflow(request.airflow, before.get("airflow", {}))
    stacks += [
        Stack(
            "cluster",
            common
            | {"Bucket": lake.bucket}
            | ({} if certificates is None else {"Certificates": certificates})
            | ({"SubnetIds": subnets} if subnets else {}),
            ("KeyArn",) if subnets else ("KeyArn", "SubnetIds"),
            "EMR's role, the nodes' role, and EMR's security configuration: encrypted disks and objects, IMDSv2, "
            f"{_talk_in_words(certificates)}",
            makes_certificates=certificates is None,
        ),
        Stack(
            "airflow",
            common | {"Bucket": lake.bucket, "AirflowService": service, "AirflowPrincipal": principal},
            ("KeyArn", "QueueArn", "TopicArn", "ServiceRoleArn", "NodeRoleArn"),
            f"Airflow's role, for {principal or service}",
        ),
        Stack(
            "people",
            common | {"Bucket": lake.bucket},
            ("KeyArn",),
            "policies for who publishes, delivers, is on call or analyses",
        ),
    ]
    budget = typed(
        "budget", "MonthlyUsd", None if request.budget_usd is None else str(request.budget_usd), str(DEFAULT_BUDGET_USD)
    )
    where = region_of("budget", request.region)
    stacks.append(
        Stack(
            "budget",
            common | {"MonthlyUsd": budget},
            ("TopicArn",),
            f"a budget of {budget} USD a month for the whole account, which tells the topic at 80 % and when more is "
            "foreseen"
            + (
                f" (by way of {where}, for CloudFormation makes none in {request.region})"
                if where != request.region
                else ""
            ),
        )
    )
    return stacks


def kept_subnets(request: DeployRequest, before: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the subnets of a network that is not ours, as typed this time or the last time; an empty text if the
    network is ours.
    """
    if request.subnets:
        return "" if request.subnets == (MAKE_SUBNETS,) else ",".join(request.subnets)
    last = before.get("cluster", {}).get("SubnetIds", "")
    # Our own network may have gained or lost a zone since then.
    return "" if set(last.split(",")) & set(before.get("network", {}).get("SubnetIds", "").split(",")) else last


def idle_network_usd_a_month(request: DeployRequest, before: Mapping[str, Mapping[str, str]]) -> float:
    """Returns what our own network costs in USD a month if it is there and clusters run in another one; 0 if not."""
    network = before.get("network")
    if not network or not kept_subnets(request, before):
        return 0.0
    return _network_usd_a_month(network["Zones"], network["Shell"], request.region)


def environment_of(name: str, region: str, bucket: str, owner: str, outputs: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings that a deployment gives Airflow and the commands, and its own name."""
    return {
        STACK_VARIABLE: name,
        REGION_VARIABLE: region,
        BUCKET_VARIABLE: bucket,
        OWNER_VARIABLE: owner,
        "FRUITS_SERVICE_ROLE": outputs["ServiceRole"],
        "FRUITS_INSTANCE_PROFILE": outputs["InstanceProfile"],
        "FRUITS_SECURITY_CONFIGURATION": outputs["SecurityConfiguration"],
        "FRUITS_LOG_KEY": outputs["KeyArn"],
        "FRUITS_SUBNET_ID": outputs["SubnetIds"],
        "FRUITS_BATCH_QUEUE_URL": outputs["QueueUrl"],
        "FRUITS_SNS_TOPIC_ARN": outputs["TopicArn"],
    }


def _endpoints(ssm: str) -> int:
    return ENDPOINTS + (SSM_ENDPOINTS if ssm == "yes" else 0)


def _network_usd_a_month(zones: str, ssm: str, region: str) -> float:
    return _endpoints(ssm) * int(zones) * HOURS_A_MONTH * usd_per_endpoint_hour(region)


def _airflow(typed: str | None, before: Mapping[str, str]) -> tuple[str, str]:
    """Returns the service and the principal that take Airflow's role. One of them is empty."""
    if typed is None:
        return before.get("AirflowService", DEFAULT_AIRFLOW), before.get("AirflowPrincipal", "")
    return ("", typed) if typed.startswith("arn:") else (typed, "")


def _certificates(typed: str | None, before: Mapping[str, str] | None) -> str | None:
    """Returns the address of the certificates; an empty text for none, or None if they are to be made."""
    if typed is None:
        return None if before is None else before["Certificates"]
    return {MAKE_CERTIFICATES: None, NO_CERTIFICATES: "", "": ""}.get(typed, typed)


def _talk_in_words(certificates: str | None) -> str:
    """Returns words that say how nodes talk to each other."""
    if certificates is None:
        return "nodes talk by TLS, with certificates that are made along"
    return f"nodes talk by TLS, with {certificates}" if certificates else "nodes talk without TLS"


def _lake_in_words(lake: DeployedLake) -> str:
    bucket = (
        f"the bucket {lake.bucket}" if lake.makes_bucket else f"(the bucket {lake.bucket} is there, and stays as it is)"
    )
    key = f"(the key {lake.key} is there)" if lake.key else "a KMS key"
    return f"{key}, {bucket}, the queue of new batches, the topic of alerts"


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
