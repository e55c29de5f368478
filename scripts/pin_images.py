#!/usr/bin/env python
"""Pins the base images of the Dockerfile and the compose file to what their tags mean now: `make lock UPGRADE=1` runs
it.

It asks the images' registry (Docker Hub, or FRUITS_REGISTRY) for the digest of each tag. Tags are changed by hand,
because another Python or Postgres is a decision. If the registry can't be asked, the files stay as they are; it says so
and exits well, as all else is refreshed.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

import httpx

PROJECT: Final = Path(__file__).resolve().parent.parent
FILES: Final = ("Dockerfile", "docker-compose.yaml")
REGISTRY: Final = "https://registry-1.docker.io"
# `python:3.11.14-slim-bookworm@sha256:...`, without a host: one of Docker Hub's own.
PINNED: Final = re.compile(r"(?P<name>[a-z0-9][a-z0-9/_-]*):(?P<tag>[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})")
# The list of an image for all architectures, for which a digest is good on each.
ACCEPTED: Final = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
TIMEOUT_SECONDS: Final = 20.0


class NoAnswerError(Exception):
    """Raised if the registry could not be asked. The message says why."""


def main(project: Path = PROJECT) -> int:
    """Pins the images of each file anew, if the registry can be asked for them, and returns 0."""
    registry = os.environ.get("FRUITS_REGISTRY", REGISTRY)
    with httpx.Client(base_url=registry, timeout=TIMEOUT_SECONDS, follow_redirects=True) as client:
        for name in FILES:
            file = project / name
            text = file.read_text(encoding="utf-8")
            try:
                pinned = PINNED.sub(lambda found: _pinned_anew(client, found), text)
            except (NoAnswerError, httpx.HTTPError) as error:
                print(
                    f"==> {registry} can't be asked for the images of {name} ({error}): their digests stay as they are"
                )
                continue
            if pinned != text:
                file.write_text(pinned, encoding="utf-8")
    return 0


def _pinned_anew(client: httpx.Client, found: re.Match[str]) -> str:
    digest = current_digest(client, found["name"], found["tag"])
    print(f"==> {found['name']}:{found['tag']} is {'still ' if digest == found['digest'] else 'now '}{digest}")
    return f"{found['name']}:{found['tag']}@{digest}"


def current_digest(client: httpx.Client, name: str, tag: str) -> str:
    """Returns the digest of what a tag means now. Raises NoAnswerError or httpx.HTTPError if the registry does not
    say.
    """
    path = f"/v2/{name if '/' in name else f'library/{name}'}/manifests/{tag}"
    answer = client.head(path, headers={"Accept": ACCEPTED})
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        # Anybody gets a token for what is public, from where the registry says.
        challenge = dict(_CHALLENGE.findall(answer.headers.get("WWW-Authenticate", "")))
        where = challenge.pop("realm", "")
        token = client.get(where, params=challenge).raise_for_status().json()["token"]
        answer = client.head(path, headers={"Accept": ACCEPTED, "Authorization": f"Bearer {token}"})
    digest: str = answer.headers.get("Docker-Content-Digest", "")
    if answer.status_code != httpx.codes.OK or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise NoAnswerError(f"{name}:{tag} was answered with HTTP {answer.status_code} and no digest")
    return digest


if __name__ == "__main__":
    sys.exit(main())
