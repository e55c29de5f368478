"""Builds errors in the shape in which EMR's API answers them."""

from __future__ import annotations

import json
from typing import Final

from werkzeug.wrappers import Response

JSON_TYPE: Final = "application/x-amz-json-1.1"


def error_response(code: str, message: str, status: int = 400) -> Response:
    return Response(
        json.dumps({"__type": code, "message": message, "Message": message}), status=status, content_type=JSON_TYPE
    )
