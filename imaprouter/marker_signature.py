"""Signed markers: `#123-7K4Q` can only be written by who has the key. Pure.

The signature is a short HMAC-SHA256 over the deal number in Crockford's base 32, whose letters cannot be
misread. It always holds a letter and a digit, so that `#123-2026` is no signature.
"""

from __future__ import annotations

import hashlib
import hmac

LENGTH = 4
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("OIL", "011")


def signature(deal_id: int, key: str) -> str:
    """The four signs that prove a marker of this deal."""
    digest = hmac.new(key.encode(), b"imaprouter deal %d" % deal_id, hashlib.sha256).digest()
    signs = "".join(_ALPHABET[byte % 32] for byte in digest)
    windows = (signs[start : start + LENGTH] for start in range(len(signs) - LENGTH))
    return next(window for window in windows if not window.isalpha() and not window.isdigit())


def verifies(deal_id: int, check: str, key: str) -> bool:
    """Whether `check`, as a person wrote it, signs this deal; compared in constant time."""
    written = check.upper().translate(_MISREAD)
    return bool(key) and hmac.compare_digest(written.encode(), signature(deal_id, key).encode())
