"""Who may be believed: what our own mail server says of From, weighed as the policy wants. No rule itself.

Anybody can write an Authentication-Results header, also one with our server's name. A server writes above
what it received, so only the topmost header with a name of ours proves anything (RFC 8601 5). A fail counts
in each of them: filters of one server write a header each, and whoever forges a fail harms himself alone.
"""

from __future__ import annotations

from enum import Enum, auto

from imaprouter.address import domain_of
from imaprouter.model import Address, Authentication, Envelope, Letter
from imaprouter.policy import TrustPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.domains import organisation

#: In `authserv_ids`: the header without a name that Exchange Online writes.
MICROSOFT = "microsoft"

_DOMAIN_OF = {"dmarc": "dmarc.header.from", "dkim": "dkim.header.d", "spf": "spf.smtp.mailfrom"}
_FAILS = frozenset({"fail", "hardfail", "softfail"})
# 'unreadable': a header with open brackets or endless, as a sender makes it to hide what follows.
_DMARC_FAILS = frozenset({"fail", "unreadable"})
_MOST_SHOWN = 3


class _Standing(Enum):
    PROVEN = auto()
    UNPROVEN = auto()
    REFUTED = auto()


def doubt(letter: Letter, policy: TrustPolicy) -> Reason | None:
    """Return why From and Reply-To may not be used, None when they may.

    What lies in a Sent folder needs no proof: whoever put it there has the password. A letter that came in
    with an address of ours needs one like any other.
    """
    if not letter.filed and not letter.envelope.from_is_clear:
        return why("from_unclear")
    if policy.authentication == "off":
        return None
    standing, reason = _weighed(letter.envelope, policy)
    proof_wanted = policy.authentication == "require" and not letter.filed
    if standing is _Standing.REFUTED or (proof_wanted and standing is _Standing.UNPROVEN):
        return reason
    return None


def refutation(letter: Letter, policy: TrustPolicy) -> Reason | None:
    """Return what our server has against From where a person has to look at it: `require`, and a fail."""
    if policy.authentication != "require":
        return None
    standing, reason = _weighed(letter.envelope, policy)
    return reason if standing is _Standing.REFUTED else None


def _weighed(envelope: Envelope, policy: TrustPolicy) -> tuple[_Standing, Reason]:
    sender = envelope.from_[0].email if envelope.from_ else "?"
    ours = [one for one in envelope.authentication if _is_ours(one.server, policy)]
    refuting = (one for one in ours if _standing(one.results, envelope.from_) is _Standing.REFUTED)
    said = next(refuting, ours[0] if ours else None)
    if said is None or not said.results:
        return _Standing.UNPROVEN, why("from_not_checked", sender=sender)
    standing = _standing(said.results, envelope.from_)
    code = "from_not_authentic" if standing is _Standing.REFUTED else "from_not_proven"
    return standing, why(code, server=said.server or MICROSOFT, sender=sender, said=_shown(said))


def _is_ours(server: str, policy: TrustPolicy) -> bool:
    """Compare with the names of our server; `*.yandex.net` stands for all that end so."""
    for name in map(str.lower, policy.authserv_ids):
        wanted = "" if name == MICROSOFT else name
        if server == wanted or (wanted.startswith("*.") and server.endswith(wanted[1:])):
            return True
    return False


def _standing(results: dict[str, str], senders: tuple[Address, ...]) -> _Standing:
    """Weigh results: DMARC alone where it passes or fails, else DKIM and SPF of the sender's organisation.

    A softfail counts as a fail beside a failing signature: nearly all domains publish no more than that.
    """
    dmarc = results.get("dmarc")
    if dmarc in _DMARC_FAILS:
        return _Standing.REFUTED
    if dmarc == "pass" and _DOMAIN_OF["dmarc"] not in results and len(senders) == 1:
        return _Standing.PROVEN
    proven = {
        organisation(domain)
        for method, named in _DOMAIN_OF.items()
        if results.get(method) == "pass"
        for domain in results.get(named, "").split()
    } - {""}
    if senders and {organisation(domain_of(address.email)) for address in senders} <= proven:
        return _Standing.PROVEN
    failed = results.get("dkim") in _FAILS and results.get("spf") in _FAILS
    return _Standing.REFUTED if failed and dmarc != "pass" else _Standing.UNPROVEN


def _shown(said: Authentication) -> list[str]:
    """Return what the server said, for people: `dkim=pass (esp.com)`."""
    shown = []
    for method, named in _DOMAIN_OF.items():
        if method in said.results:
            domains = said.results.get(named, "").split()[:_MOST_SHOWN]
            shown.append(f"{method}={said.results[method]}" + (f" ({', '.join(domains)})" if domains else ""))
    return shown
