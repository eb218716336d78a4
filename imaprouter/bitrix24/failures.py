"""The portal's error codes and HTTP statuses as errors of ours. Pure, but for the secrets that the log masks.

The code decides before the status, which is unreliable (rest.md 1.7, trap 10); texts are localised and decide
nothing.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from imaprouter.bitrix24.budget import OPERATION_TIME_LIMIT, limit_ends
from imaprouter.bitrix24.values import line
from imaprouter.errors import (
    PortalBusy,
    PortalDenied,
    PortalError,
    PortalOutcomeUnknown,
    PortalRefused,
    PortalUnreachable,
)
from imaprouter.log import mask

BUSY = frozenset({"query_limit_exceeded", OPERATION_TIME_LIMIT})
#: The portal could not check who calls: nothing was executed.
UNREACHABLE = frozenset({"connection_error"})
OUTCOME_UNKNOWN = frozenset({"internal_server_error", "error_unexpected_answer"})

_NEW_WEBHOOK = "create the webhook anew and put its address into portal.webhook_url"
_PLAN = "REST needs a commercial plan of Bitrix24"
_RIGHTS = "the webhook's creator needs this right in the portal"
_MAIL_SCOPE = "give the webhook the scope mail, or set binding.create_missing = false"
DENIED = {
    "no_auth_found": _NEW_WEBHOOK,
    "invalid_credentials": _NEW_WEBHOOK,
    "expired_token": _NEW_WEBHOOK,
    "invalid_token": _NEW_WEBHOOK,
    "authorization_error": "the webhook's creator was dismissed; " + _NEW_WEBHOOK,
    "application_not_found": _NEW_WEBHOOK,
    "error_oauth": _NEW_WEBHOOK,
    "not_installed": _NEW_WEBHOOK,
    "insufficient_scope": "give the webhook the scopes crm, user_basic and im",
    "payment_required": _PLAN,
    "access_denied": _RIGHTS + ", and REST a commercial plan",
    "user_access_error": _RIGHTS,
    "allowed_only_intranet_user": "the webhook's creator must be an employee",
    "wrong_auth_type": "this call is not for webhooks",
    "method_confirm_waiting": "an administrator has to confirm this call",
    "method_confirm_denied": "an administrator has refused this call",
    "portal_deleted": "the portal was closed",
    "overload_limit": "Bitrix24 has blocked REST on this portal by hand; ask its support",
}
#: Codes of REST 3 that mean what one of classic REST does (rest.md 1.9).
_V3_PREFIX = "bitrix_rest_v3_exception_"
_V3 = {
    "accessdeniedexception": "access_denied",
    "insufficientscopeexception": "insufficient_scope",
    "ratelimitexception": "query_limit_exceeded",
    "entitynotfoundexception": "not_found",
}
#: Those that are about the call or its object, and say nothing of other calls.
_ONE_CALL = frozenset(
    {
        "insufficient_scope",
        "access_denied",
        "user_access_error",
        "allowed_only_intranet_user",
        "wrong_auth_type",
        "method_confirm_waiting",
        "method_confirm_denied",
    }
)


def failure(method: str, status: int, body: dict[str, Any], now: datetime) -> PortalError:
    """The error that an error reply means.

    `status` is 0 for a command inside a batch; `body` is the decoded reply, {} when it was no JSON object;
    `now` is our clock, for a limit that ends at a time of the portal's clock.
    """
    code, description = _code_and_text(body)
    what = ": ".join(part for part in (code, description) if part) or f"HTTP status {status}"
    message, key = f"{method}: {what}", code.lower()
    key = _V3.get(key.removeprefix(_V3_PREFIX), key)
    if key in BUSY or (not key and status == 429):
        return PortalBusy(message, code=key, method=method, retry_at=limit_ends(body.get("time"), now))
    if key in UNREACHABLE:
        return PortalUnreachable(message, code=key, method=method)
    if key in DENIED:
        everything = key not in _ONE_CALL
        advice = _MAIL_SCOPE if key == "insufficient_scope" and method.startswith("mail.") else DENIED[key]
        return PortalDenied(message, code=key, method=method, advice=advice, everything=everything)
    if key in OUTCOME_UNKNOWN or status >= 500:
        return PortalOutcomeUnknown(message, code=key, method=method)
    if status in {401, 403}:
        return PortalDenied(message, code=key, method=method, advice=_RIGHTS)
    return PortalRefused(message, code=key, method=method)


def _code_and_text(body: dict[str, Any]) -> tuple[str, str]:
    error = body.get("error", "")
    if isinstance(error, dict):
        # REST v3 (rest.md 1.9).
        return _plain(error.get("code")), _plain(error.get("message"))
    return _plain(error), _plain(body.get("error_description"))


def _plain(description: Any) -> str:
    """One line without markup, of bearable length, with no secret in it."""
    words = re.sub(r"<[^>]*>", " ", line(description)).split()
    return mask(" ".join(words))[:200]
