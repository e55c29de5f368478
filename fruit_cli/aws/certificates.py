"""Makes the certificates with which the nodes of a cluster encrypt what they tell each other. EMR takes them as a zip
of three PEM files.

Their private key goes nowhere but into the lake's bucket, below a prefix that only nodes may read.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX: Final = "tls/"
# Clusters that start later than this would fail, so somebody must type CERTIFICATES=make again before.
VALID_FOR: Final = timedelta(days=10 * 365)
_KEY_BITS: Final = 2048


def make_zip(region: str) -> bytes:
    """Returns the zip for the nodes of a region. The certificate is self-signed, because nobody but the nodes checks
    it.
    """
    name = f"*.{region}.compute.internal"
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    begins = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A node's clock may be late.
        .not_valid_before(begins - timedelta(days=1))
        .not_valid_after(begins + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file, pem in (
            ("privateKey.pem", private),
            ("certificateChain.pem", chain),
            ("trustedCertificates.pem", chain),
        ):
            archive.writestr(file, pem)
    return content.getvalue()


def store_new(put: Callable[[str, bytes], None], bucket: str, region: str) -> str:
    """Makes a zip, puts it under a key of its own with `put`, and returns its address."""
    content = make_zip(region)
    key = f"{PREFIX}{hashlib.sha256(content).hexdigest()[:16]}.zip"
    put(key, content)
    return f"s3://{bucket}/{key}"
