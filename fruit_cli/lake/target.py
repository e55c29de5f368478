"""Names what a command works on: the local cloud, or AWS. The person says which; it makes no difference what happens to
be up.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import click

TARGET_VARIABLE: Final = "FRUITS_TARGET"


class Target(StrEnum):
    """Names the local cloud of this machine (or of compose's network), or an AWS account in the EU."""

    LOCAL = "local"
    AWS = "aws"


class _TargetType(click.Choice[str]):
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        return Target(super().convert(value, param, ctx))


target_option = click.option(
    "--target",
    type=_TargetType([target.value for target in Target]),
    default=Target.LOCAL.value,
    show_default=True,
    envvar=TARGET_VARIABLE,
    show_envvar=True,
    help="What to work on: the local cloud that `up` starts, or AWS, where FRUITS_LAKE_BUCKET must name the lake.",
)
