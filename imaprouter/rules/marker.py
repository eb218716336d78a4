"""Rule `marker`: a deal in the subject: `#123`, a signed `#123-7K4Q`, Bitrix24's own `[CRM:501-ABC123]`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from imaprouter.address import portal_id
from imaprouter.marker_signature import FORM, verifies
from imaprouter.model import DealIndex, EntityType, Finding, Letter, Question, Verdict, deal, sorted_ids
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.people import Relation, client_named, relation

_SIGNED = re.compile(r"#(?P<deal>\d{1,10})" + FORM)
# What Bitrix24 puts into subjects and bodies of letters that it sends (mail-internals 4).
_OF_CRM = re.compile(r"\[(?:crm|msg):(?P<activity>\d{1,18})-(?P<code>[a-z0-9]{6})\]", re.IGNORECASE)
# A number behind such a word counts something else, unless the sender has that very deal.
_OTHER_THINGS = frozenset(
    {
        *(
            "pr",
            "issue",
            "ticket",
            "order",
            "invoice",
            "case",
            "bug",
            "task",
            "po",
            "rfq",
            "quote",
            "version",
        ),
        *(
            "color",
            "colour",
            "background",
            "цвет",
            "фон",
            "заказ",
            "заказа",
            "заказу",
            "счет",
            "счёт",
            "счета",
        ),
        *("счёта", "счету", "накладная", "накладной", "акт", "акта", "заявка", "заявки", "тикет", "задача"),
        *("задачи", "инвойс", "упд", "zamówienie", "faktura", "zgłoszenie"),
    }
)
_RANKS = frozenset({"priority", "place", "choice", "fan", "приоритет", "место", "номер"})


def marker(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the one deal that the subject names and whose client may have written the letter.

    A signed marker and Bitrix24's own are trusted from anyone; with a wrong signature they are rejected. A
    bare number counts when the deal exists and `routing.marker.sender_check` lets the sender name it; next to
    a word that says it numbers something else, only when it is the sender's own deal. Several deals: the one
    that belongs to the sender, else ambiguous.
    """
    subject = _as_read(letter.envelope.subject)
    weighed = _Weighed()
    _weigh_crm_markers(subject, index, policy, weighed)
    for number, check, doubtful in _numbers(subject, policy):
        _weigh_number(number, check, doubtful, letter, index, policy, weighed)
    return _concluded(weighed)


@dataclass(slots=True)
class _Weighed:
    """What the markers of one subject came to."""

    accepted: dict[int, tuple[Relation, Reason]] = field(default_factory=dict)
    #: Trusted from anyone.
    proven: dict[int, Reason] = field(default_factory=dict)
    rejected: list[int] = field(default_factory=list)
    refused: list[Reason] = field(default_factory=list)
    unknown: list[Question] = field(default_factory=list)


def _concluded(weighed: _Weighed) -> Finding:
    unknown = tuple(weighed.unknown)
    refused = tuple({repr(reason): reason for reason in weighed.refused}.values())
    named = {number: reason for number, (_, reason) in weighed.accepted.items()} | weighed.proven
    if not named:
        if not refused:
            return Finding("marker", Verdict.NO_MATCH, (why("no_marker"),))
        verdict = Verdict.REJECTED if weighed.rejected else Verdict.NO_MATCH
        return Finding("marker", verdict, refused, sorted_ids(weighed.rejected), unknown=unknown)
    candidates = sorted_ids(named)
    chosen = _choose(weighed)
    if chosen is None:
        reasons = (why("several_markers", deals=candidates), *refused)
        return Finding("marker", Verdict.AMBIGUOUS, reasons, candidates, unknown=unknown)
    reasons = (named[chosen], *refused)
    return Finding("marker", Verdict.MATCH, reasons, candidates, deal(chosen), unknown)


def _choose(weighed: _Weighed) -> int | None:
    """A proven one before a bare one; of several, the one that belongs to the sender."""
    if len(weighed.proven) == 1:
        return next(iter(weighed.proven))
    if weighed.proven:
        return None
    if len(weighed.accepted) == 1:
        return next(iter(weighed.accepted))
    own = [number for number, (standing, _) in weighed.accepted.items() if standing is Relation.OWN]
    return own[0] if len(own) == 1 else None


def _as_read(subject: str) -> str:
    """The subject with `№ 123`, `＃１２３` and `# 123` written as `#123`, as a person reads them."""
    plain = unicodedata.normalize("NFKC", subject.replace("№", "#"))
    return re.sub(r"#\s+(?=\d)", "#", plain)


def _numbers(subject: str, policy: RoutingPolicy) -> Iterator[tuple[int, str, bool]]:
    """(deal, signature or '', doubtful) in the order of the subject, each deal once.

    A number that is glued to a word on its left is none: `C#12`.
    """
    signed = {hit.start(): hit for hit in _SIGNED.finditer(subject)} if policy.marker.secret else {}
    hits = [(start, hit.end(), hit["deal"], hit["check"]) for start, hit in signed.items()]
    for pattern in map(_compiled, policy.marker.patterns):
        for hit in pattern.finditer(subject):
            if hit["deal"] and hit.start() not in signed:
                hits.append((hit.start(), hit.end(), hit["deal"], ""))
    seen: set[int] = set()
    for start, end, digits, check in sorted(hits):
        number = portal_id(digits)
        glued = start > 0 and subject[start - 1].isalnum()
        if number and number not in seen and not glued:
            seen.add(number)
            yield number, check, _counts_something_else(subject, start, end)


def _counts_something_else(subject: str, start: int, end: int) -> bool:
    before = re.findall(r"[^\W\d]+", subject[:start].lower())
    after = re.match(r"\s*([^\W\d]+)", subject[end:].lower())
    return bool((before and before[-1] in _OTHER_THINGS) or (after and after[1] in _RANKS))


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _weigh_number(
    number: int,
    check: str,
    doubtful: bool,
    letter: Letter,
    index: DealIndex,
    policy: RoutingPolicy,
    weighed: _Weighed,
) -> None:
    found = index.deal(number)
    if check and not verifies(number, check, policy.marker.secret):
        weighed.rejected.append(number)
        weighed.refused.append(why("wrong_signature", deal=number))
    elif found is None:
        weighed.unknown.append(Question("deal", str(number)))
        weighed.refused.append(why("no_such_deal", deal=number))
    elif not found.active and policy.marker.closed_deal == "next_rule":
        weighed.refused.append(why("deal_closed", deal=number))
    elif check:
        weighed.proven[number] = why("signed_marker", deal=number)
    else:
        standing = relation(letter, index, policy, found)
        client = client_named(letter)
        if doubtful and standing not in (Relation.OWN, Relation.SAME_DOMAIN):
            weighed.refused.append(why("counts_something_else", deal=number))
        elif _may_name(standing, policy):
            weighed.accepted[number] = (standing, why("marker", deal=number))
        else:
            code = "not_the_senders_deal" if standing is Relation.FOREIGN else "not_the_clients_deal"
            weighed.rejected.append(number)
            weighed.refused.append(why(code, client=client, deal=number))


def _weigh_crm_markers(subject: str, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed) -> None:
    for hit in _OF_CRM.finditer(subject):
        activity = int(hit["activity"])
        sent = index.sent_letter(activity)
        if sent is None:
            weighed.unknown.append(Question("activity", str(activity)))
            weighed.refused.append(why("no_such_letter", activity=activity))
        elif not sent.message_id.startswith(f"crm.activity.{activity}-{hit['code'].lower()}@"):
            weighed.rejected.append(activity)
            weighed.refused.append(why("wrong_crm_marker", activity=activity))
        elif sent.target.type is EntityType.DEAL:
            found = index.deal(sent.target.id)
            if found and not found.active and policy.marker.closed_deal == "next_rule":
                weighed.refused.append(why("deal_closed", deal=sent.target.id))
            else:
                weighed.proven[sent.target.id] = why("crm_marker", deal=sent.target.id)


def _may_name(standing: Relation, policy: RoutingPolicy) -> bool:
    check = policy.marker.sender_check
    if check == "off":
        return True
    if check == "related":
        return standing is not Relation.FOREIGN
    return standing in (Relation.OWN, Relation.SAME_DOMAIN)
