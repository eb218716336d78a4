"""Certificates that no authority would sign, made by openssl, and contexts of servers with them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A self-signed certificate for 127.0.0.1, as NAME.pem, and a server's context with it."""
    _openssl(
        *("req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
    )
    return _context(folder, name)


def expired_certificate(folder: Path) -> ssl.SSLContext:
    """One of 2020, trusted but for its date: `openssl ca` is the part of it that takes dates."""
    ca = folder / "ca"
    ca.mkdir()
    (ca / "index").touch()
    (ca / "serial").write_text("01\n")
    (ca / "ca.conf").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={ca}/index\nserial={ca}/serial\nnew_certs_dir={ca}\n"
        "default_md=sha256\npolicy=any\nx509_extensions=ext\n[any]\ncommonName=supplied\n"
        "[ext]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=CA:true\n"
        "[req]\ndistinguished_name=dn\n[dn]\n"
    )
    _openssl(
        *("req", "-new", "-nodes", "-subj", "/CN=expired", "-config", ca / "ca.conf"),
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-keyout", folder / "expired.key", "-out", ca / "request"),
    )
    _openssl(
        *("ca", "-batch", "-selfsign", "-config", ca / "ca.conf", "-notext"),
        *("-keyfile", folder / "expired.key", "-in", ca / "request", "-out", folder / "expired.pem"),
        *("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"),
    )
    return _context(folder, "expired")


def _context(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def _openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
