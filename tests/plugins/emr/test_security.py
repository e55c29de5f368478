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
    return json.dumps({"EncryptionConfiguration": {"EnableAtRestEncryption": True, "AtRestEncryptionConfiguration": at_rest}})


@pytest.mark.parametrize("mode", ["CSE-KMS", "CSE-Custom"])
def test_what_clients_encrypt_is_refused_before_there_is_a_cluster(mode: str) -> None:
    with pytest.raises(SecurityConfigurationError, match=rf"'fruits' has EMR encrypt objects on the client's side \({mode}\)"):
        require_readable(SETTINGS, EmrWithConfigurations(encrypted(mode)))


@pytest.mark.parametrize("document", [encrypted("SSE-KMS"), encrypted("SSE-S3"), "{}"])
def test_what_s3_encrypts_is_readable(document: str) -> None:
    require_readable(SETTINGS, EmrWithConfigurations(document))
    assert not s3_mode(document).startswith("CSE")


def test_a_configuration_that_is_not_there_is_refused() -> None:
    with pytest.raises(SecurityConfigurationError, match="EMR has no security configuration 'fruits' in eu-west-1"):
        require_readable(SETTINGS, EmrWithConfigurations(api_error("InvalidRequestException")))


def test_whoever_may_not_look_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    require_readable(SETTINGS, EmrWithConfigurations(api_error("AccessDeniedException")))
    assert "can't be told" in caplog.text


def test_an_emr_that_fails_is_no_verdict() -> None:
    with pytest.raises(ClientError, match="InternalServerException"):
        require_readable(SETTINGS, EmrWithConfigurations(api_error("InternalServerException", 500)))
