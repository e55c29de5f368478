from __future__ import annotations

import json
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from fruit_pipeline.emr.security import require_readable, s3_mode
from fruit_pipeline.errors import SecurityConfigurationError
from fruit_pipeline.settings import Settings
from tests.plugins.memory_emr import api_error

SETTINGS = replace(Settings(), security_configuration="fruits")


class EmrWithConfigurations:
    def __init__(self, answer: str | ClientError) -> None:
        self.answer = answer

    def describe_security_configuration(self, **request: str) -> dict[str, str]:
        assert request == {"Name": "fruits"}
        if isinstance(self.answer, ClientError):
            raise self.answer
        return {"SecurityConfiguration": self.answer}


def encrypted(mode: str) -> str:
    at_rest = {"S3EncryptionConfiguration": {"EncryptionMode": mode}}
    return json.dumps(
        {"EncryptionConfiguration": {"EnableAtRestEncryption": True, "AtRestEncryptionConfiguration": at_rest}}
    )


@pytest.mark.parametrize("mode", ["CSE-KMS", "CSE-Custom"])
def test_what_clients_encrypt_is_refused_before_there_is_a_cluster(mode: str) -> None:
    with pytest.raises(
        SecurityConfigurationError, match=rf"'fruits' has EMR encrypt objects on the client's side \({mode}\)"
    ):
        require_readable(SETTINGS, EmrWithConfigurations(encrypted(mode)))


@pytest.mark.parametrize("document", [encrypted("SSE-KMS"), encrypted("SSE-S3"), "{}"])
def test_what_s3_encrypts_is_readable(document: str) -> None:
    require_readable(SETTINGS, EmrWithConfigurations(document))
    assert not s3_mode(document).startswith("CSE")


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidRequestException"])
def test_who_may_not_look_goes_on_and_so_does_a_name_that_emr_refuses_later(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        require_readable(SETTINGS, EmrWithConfigurations(api_error(code)))
    assert "can't be told" in caplog.text


def test_an_emr_that_fails_is_no_verdict() -> None:
    with pytest.raises(ClientError, match="InternalServerException"):
        require_readable(SETTINGS, EmrWithConfigurations(api_error("InternalServerException", 500)))
