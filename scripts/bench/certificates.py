"""The certificate of all subjects with TLS: one self-signed ECDSA P-256 certificate, and clients that believe it."""

import ssl
import subprocess
from functools import lru_cache
from pathlib import Path

from .running import CannotStart, program


def certificate(house):
    """(certificate, key, both in one file), written once."""
    folder = house.folder("tls")
    cert, key, both = folder / "site.crt", folder / "site.key", folder / "site.pem"
    if not both.exists():
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
        words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        done = subprocess.run([program("openssl"), *words, "-keyout", key, "-out", cert], capture_output=True, text=True)
        if done.returncode:
            raise CannotStart(f"openssl req: {done.stderr.strip()[-400:]}")
        house.write("tls/site.pem", cert.read_text() + key.read_text())
        key.chmod(0o644)
    return cert, key, Path(both)


@lru_cache(maxsize=None)
def believing():
    """A client that believes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
