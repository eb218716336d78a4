"""What went wrong on the line, in words for people. Pure."""

from __future__ import annotations

import imaplib
import socket
import ssl
import unicodedata

_LONGEST = 200
# OpenSSL's X509_V_ERR_: what is wrong with a certificate that no other authority would mend.
_NOT_YET, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64


def has_control_characters(text: str) -> bool:
    """Say whether a text holds what could end an IMAP line or an SASL field."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def server_text(exc: imaplib.IMAP4.error, secret: str = "") -> str:
    """Return what the server said, printable and bounded; `secret` is masked should the server repeat it."""
    said = exc.args[0] if exc.args else ""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    text = "".join(" " if has_control_characters(character) else character for character in text)
    return (text.replace(secret, "***") if secret else text)[:_LONGEST].strip()


def _of_certificate(code: int) -> str:
    if code in (_NOT_YET, _EXPIRED):
        return "renew it on the mail server, unless this machine's clock is wrong"
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        return "give as host the name that the certificate is made for"
    return "for a server of your own, name its authority in ca_file"


def describe(exc: Exception, secret: str = "") -> tuple[str, str]:
    """Return what happened and, when there is any, an advice."""
    if isinstance(exc, imaplib.IMAP4.error):
        return server_text(exc, secret), ""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {exc.verify_message}", _of_certificate(exc.verify_code)
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed: {exc.reason or 'no TLS there'}", "check port and tls"
    if isinstance(exc, socket.gaierror):
        return f"the host name is not known: {exc.strerror}", "check host"
    if isinstance(exc, ConnectionRefusedError):
        return "nothing listens there", "check host and port"
    if isinstance(exc, TimeoutError):
        return "no answer in time", "check host, port and tls"
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__, exc.filename or ""
    return f"an answer that makes no sense ({type(exc).__name__})", ""
