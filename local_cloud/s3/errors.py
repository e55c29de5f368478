"""Names the errors that S3 answers with when it can't do what it was asked. Names and statuses are AWS's own."""

from __future__ import annotations


class S3Error(Exception):
    """Raised to end a request. `code` is AWS's name for what is wrong, and `status` is HTTP's number for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def no_such_bucket(bucket: str) -> S3Error:
    return S3Error(404, "NoSuchBucket", f"There is no bucket {bucket!r}.")


def no_such_key(key: str) -> S3Error:
    return S3Error(404, "NoSuchKey", f"There is no object {key!r}.")


def no_such_upload() -> S3Error:
    return S3Error(
        404,
        "NoSuchUpload",
        "There is no such multipart upload: it was completed, aborted, or the server was started again.",
    )


def another_owner() -> S3Error:
    return S3Error(403, "AccessDenied", "The bucket is not of the account that the request names as its owner.")


def invalid_argument(message: str) -> S3Error:
    return S3Error(400, "InvalidArgument", message)


def not_implemented(what: str) -> S3Error:
    return S3Error(501, "NotImplemented", f"This local S3 does not know {what}.")


def precondition_failed() -> S3Error:
    return S3Error(412, "PreconditionFailed", "What is stored under the key is not what the request's condition names.")
