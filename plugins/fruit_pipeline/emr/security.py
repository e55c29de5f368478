"""Checks whether the steps can work under EMR's security configuration. They read and write S3 themselves, and not
through EMR's file system.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from fruit_pipeline.aws import is_denied
from fruit_pipeline.errors import SecurityConfigurationError

if TYPE_CHECKING:
    from fruit_pipeline.settings import Settings

LOG: Final = logging.getLogger(__name__)
_CLIENT_SIDE: Final = "CSE"
# EMR's word for a name that it does not know.
_NOT_THERE: Final = "InvalidRequestException"


def require_readable(settings: Settings, client: Any) -> None:
    """Raises SecurityConfigurationError if the security configuration has clusters encrypt on the client's side.

    Raises nothing if we may not look at the configuration, or if EMR does not know its name: then EMR itself refuses
    the request for a cluster.
    """
    name = settings.security_configuration
    try:
        document = client.describe_security_configuration(Name=name)["SecurityConfiguration"]
    except ClientError as error:
        if not is_denied(error) and error.response["Error"]["Code"] != _NOT_THERE:
            raise
        LOG.info("Whether '%s' encrypts on the client's side can't be told: %s", name, error)
        return
    mode = s3_mode(document)
    if mode.startswith(_CLIENT_SIDE):
        raise SecurityConfigurationError(
            f"The security configuration '{name}' has EMR encrypt objects on the client's side ({mode}). Our steps "
            "read and write S3 themselves, so that they could not read such objects, and would write others beside "
            "them. Set FRUITS_SECURITY_CONFIGURATION to one with SSE-KMS or SSE-S3; `make deploy` makes one."
        )


def s3_mode(document: str) -> str:
    """Returns how objects are encrypted, in EMR's word, or an empty text if the document does not say."""
    encryption = json.loads(document).get("EncryptionConfiguration", {})
    return str(
        encryption.get("AtRestEncryptionConfiguration", {})
        .get("S3EncryptionConfiguration", {})
        .get("EncryptionMode", "")
    )
