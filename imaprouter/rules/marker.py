"""Rule `marker`: a deal in the subject: `#123`, a signed `#123-7K4Q`, Bitrix24's own `[CRM:501-ABC123]`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from imaprouter.address import portal_id
from imaprouter.marker_signature import verifies
from imaprouter.model import (
    Considered,
    DealIndex,
    EntityType,
    Finding,
    Letter,
    Nature,
    Question,
    Standing,
    Verdict,
    deal,
    sorted_ids,
)
from imaprouter.policy import RoutingPolicy
from imaprouter.reasons import Reason, why
from imaprouter.rules.participants import evidence_alone, participants
from imaprouter.rules.people import Relation, client_named, relation

# Signed, or meant to be: of any length and with any dash; set apart by blanks, only what looks like one.
_SIGNED = re.compile(
    r"#(?P<deal>\d{1,10})"
    r"(?:[-\u2010-\u2015\u2212](?P<close>(?=[0-9]*[A-Za-z])[0-9A-Za-z]{2,8})"
    r"|\s*[-\u2010-\u2015\u2212]\s*(?P<apart>(?=[A-Z]*[0-9])(?=[0-9]*[A-Z])[0-9A-Z]{4}))\b"
)
# What Bitrix24 puts into subjects and bodies of letters that it sends (mail-internals 4).
_OF_CRM = re.compile(r"\[(?:crm|msg):(?P<activity>\d{1,18})-(?P<code>[a-z0-9]{6})\]", re.IGNORECASE)
# Always a marker behind these.
_DEAL = re.compile(r"сдел(?:к|ок)\w*|deals?")
# A number behind these counts something else, unless the sender has that very deal.
_OTHER_THINGS = re.compile(
    r"(?:order|request|invoice|rechnung|ticket|issue|quot|contract|agreement|version|colou?r|background|school"
    r"|заказ|сч[её]т|договор|накладн|приложен|поручен|фактур|тендер|школ|заявк|тикет|задач|инвойс"
    r"|zamówieni|faktur|zgłoszeni|umow)\w*"
    r"|c|prs?|pos?|rfqs?|cases?|bugs?|tasks?|items?|pages?|rooms?|акт(?:а|у|ом|е|ы|ов)?|ттн|упд"
    r"|цвет(?:а|ом)?|фон"
)
_FILLERS = frozenset({"no", "nos", "number", "num", "nr", "id", "numer", "номер", "номера", "номером"})
_RANKS = frozenset({"priority", "place", "choice", "fan", "приоритет", "место", "номер"})
_LAST_RANK = 3
# `[org/repo] Fix crash (#7)`: a code forge.
_FORGE = re.compile(r"\[[\w.-]+/[\w.-]+\].*\($")
# Numbers that are weighed of one subject, signed ones first; whoever writes more makes work.
_MOST_NUMBERS = 50
_MACHINES = frozenset({Nature.BOUNCE, Nature.AUTO_REPLY, Nature.LIST})


def marker(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the one deal that the subject names and whose client may have written the letter.

    A signed marker is trusted from anyone, Bitrix24's own from anyone but another deal's client; with a wrong
    signature they are rejected. A bare number counts when the deal exists and `routing.marker.sender_check`
    lets the sender name it; where it may number something else, only when it is the sender's own deal and who
    is addressed tells of no other.
    Several deals: the one that belongs to the sender, else ambiguous.
    """
    weighed = _Weighed()
    subject = _as_read(letter.envelope.subject)
    _weigh_crm_markers(subject, letter, index, policy, weighed)
    machine = letter.envelope.nature in _MACHINES
    for number, check, doubtful in islice(_numbers(subject, policy), _MOST_NUMBERS):
        _weigh_number(number, check, doubtful or machine, letter, index, policy, weighed)
    return _concluded(weighed, client_named(letter))


@dataclass(slots=True)
class _Weighed:
    """What the markers of one subject came to."""

    accepted: dict[int, tuple[Relation, Reason]] = field(default_factory=dict)
    #: Signed, or Bitrix24's own.
    proven: dict[int, tuple[Relation, Reason]] = field(default_factory=dict)
    rejected: list[int] = field(default_factory=list)
    #: A mark of Bitrix24 that is wrong names no deal.
    wrong_mark: bool = False
    refused: list[Reason] = field(default_factory=list)
    lost: dict[int, Reason] = field(default_factory=dict)
    unknown: list[Question] = field(default_factory=list)

    def refuse(self, number: int, reason: Reason, *, rejected: bool = False) -> None:
        """The deal does not count; `rejected`: it would, were it not for a failed check."""
        self.refused.append(reason)
        self.lost.setdefault(number, reason)
        if rejected:
            self.rejected.append(number)


def _concluded(weighed: _Weighed, client: str) -> Finding:
    unknown = tuple(weighed.unknown)
    refused = tuple({repr(reason): reason for reason in weighed.refused}.values())
    named = weighed.accepted | weighed.proven
    lost = [
        Considered(deal(number), Standing.LOST, reason)
        for number, reason in weighed.lost.items()
        if number not in named
    ]
    if not named:
        if not refused:
            return Finding("marker", Verdict.NO_MATCH, (why("no_marker"),))
        verdict = Verdict.REJECTED if weighed.rejected or weighed.wrong_mark else Verdict.NO_MATCH
        rejected = sorted_ids(weighed.rejected)
        return Finding("marker", verdict, refused, rejected, unknown=unknown, considered=tuple(lost))
    candidates = sorted_ids(named)
    chosen = _choose(named)
    if chosen is None:
        reasons = (why("several_markers", deals=candidates), *refused)
        fit = [Considered(deal(number), Standing.OPEN, named[number][1]) for number in candidates]
        return Finding(
            "marker", Verdict.AMBIGUOUS, reasons, candidates, unknown=unknown, considered=(*fit, *lost)
        )
    others = [
        Considered(deal(number), Standing.LOST, why("not_the_clients_deal", client=client, deal=number))
        for number in candidates
        if number != chosen
    ]
    won = Considered(deal(chosen), Standing.CHOSEN, named[chosen][1])
    reasons = (named[chosen][1], *refused)
    return Finding("marker", Verdict.MATCH, reasons, candidates, deal(chosen), unknown, (won, *others, *lost))


def _choose(named: dict[int, tuple[Relation, Reason]]) -> int | None:
    """The only one, or the only one that belongs to the sender."""
    own = [number for number, (standing, _) in named.items() if standing is Relation.OWN]
    chosen = own if len(named) > 1 else list(named)
    return chosen[0] if len(chosen) == 1 else None


def _as_read(subject: str) -> str:
    """The subject with `№ 123`, `＃１２３` and `# 123` written as `#123`."""
    # NFKC makes two letters of №.
    plain = unicodedata.normalize("NFKC", subject.replace("№", "#"))
    return re.sub(r"#\s+(?=\d)", "#", plain)


def _numbers(subject: str, policy: RoutingPolicy) -> Iterator[tuple[int, str, bool]]:
    """(deal, signature or '', doubtful): the signed ones first, then the bare ones that no signature covers.

    Each of them once; of a deal whose signature is right, nothing else.
    """
    signed = [hit for hit in _SIGNED.finditer(subject) if not _is_glued(subject, hit)]
    checks = {(portal_id(hit["deal"]), hit["close"] or hit["apart"]) for hit in signed}
    proven = {number for number, check in checks if number and verifies(number, check, policy.marker.secret)}
    for number, check in sorted((number, check) for number, check in checks if number):
        if number not in proven or verifies(number, check, policy.marker.secret):
            yield number, check, False
    bare = [
        hit
        for pattern in map(_compiled, policy.marker.patterns)
        for hit in pattern.finditer(subject)
        if hit["deal"] and not _is_no_marker(subject, hit)
        if not any(hit.start() < other.end() and other.start() < hit.end() for other in signed)
    ]
    doubts: dict[int, bool] = {}
    for hit in sorted(bare, key=lambda hit: hit.span()):
        number = portal_id(hit["deal"])
        if number and number not in proven:
            doubts[number] = doubts.get(number, True) and _is_doubtful(subject, hit)
    for number, doubtful in doubts.items():
        yield number, "", doubtful


def _is_glued(subject: str, hit: re.Match[str]) -> bool:
    return hit.start() > 0 and subject[hit.start() - 1].isalnum()


def _is_no_marker(subject: str, hit: re.Match[str]) -> bool:
    """Nobody reads it as a deal: `C#12`, `room_#7`, `##7`, `&#7;`, `a/#7`, `#007`, `#1.5`, `#1,000`."""
    glued = _is_glued(subject, hit) or subject[: hit.start()].endswith(("_", "#", "&", "/", "="))
    return glued or hit["deal"].startswith("0") or bool(re.match(r"[.,]\d", subject[hit.end() :]))


def _is_doubtful(subject: str, hit: re.Match[str]) -> bool:
    """It may count something else; what a configured pattern says before the number is no doubt."""
    before, after = subject[: hit.start()], subject[hit.end() :]
    if re.match(r"[-\u2010-\u2015\u2212/:]\d", after):
        return True
    words = _words(subject[: hit.start("deal")])
    if words and _DEAL.fullmatch(words[-1]):
        return False
    if re.search(r"[^\s(\[{<\"'«„“‘]$", before):
        return True
    if _FORGE.search(before) and re.fullmatch(r"\)\s*", after):
        return True
    named = any(sign.isalpha() for sign in subject[hit.start() : hit.start("deal")])
    if not named and words and (_OTHER_THINGS.fullmatch(words[-1]) or words[-2:] == ["p", "o"]):
        return True
    following = re.match(r"\s*([^\W\d_]+)", after.lower())
    if not following:
        return False
    # English writes a rank so: `#1 supplier`, `#1 on the list`.
    return following[1] in _RANKS or (int(hit["deal"]) <= _LAST_RANK and following[1].isascii())


def _words(text: str) -> list[str]:
    """The words of a text, without those at its end that only say that a number comes."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    while words and (words[-1] in _FILLERS or words[-2:] == ["на", "оплату"]):
        words = words[:-1] if words[-1] in _FILLERS else words[:-2]
    return words


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
        weighed.refuse(number, why("wrong_signature", deal=number), rejected=True)
    elif found is None:
        weighed.unknown.append(Question("deal", str(number)))
        weighed.refuse(number, why("no_such_deal", deal=number))
    elif found.recurring:
        weighed.refuse(number, why("recurring_template", deal=number))
    elif not found.active and policy.marker.closed_deal == "next_rule":
        weighed.refuse(number, why("deal_closed", deal=number))
    elif check:
        weighed.proven[number] = (relation(letter, index, policy, found), why("signed_marker", deal=number))
    else:
        standing = relation(letter, index, policy, found)
        client = client_named(letter)
        if doubtful and (
            standing not in (Relation.OWN, Relation.SAME_DOMAIN)
            or _other_is_meant(number, letter, index, policy)
        ):
            weighed.refuse(number, why("counts_something_else", deal=number))
        elif _may_name(standing, policy):
            weighed.accepted[number] = (standing, why("marker", deal=number))
        else:
            code = "not_the_senders_deal" if standing is Relation.FOREIGN else "not_the_clients_deal"
            weighed.refuse(number, why(code, client=client, deal=number), rejected=True)


def _other_is_meant(number: int, letter: Letter, index: DealIndex, policy: RoutingPolicy) -> bool:
    """Whether the addressed employees tell of another deal than a number that may count something else."""
    meant = participants(letter, index, evidence_alone(policy)).target
    return meant is not None and meant.type is EntityType.DEAL and meant.id != number


def _weigh_crm_markers(
    subject: str, letter: Letter, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed
) -> None:
    for hit in _OF_CRM.finditer(subject):
        activity = int(hit["activity"])
        sent = index.sent_letter(activity)
        if sent is None:
            weighed.unknown.append(Question("activity", str(activity)))
            weighed.refused.append(why("no_such_letter", activity=activity))
        elif not sent.message_id.startswith(f"crm.activity.{activity}-{hit['code'].lower()}@"):
            weighed.wrong_mark = True
            weighed.refused.append(why("wrong_crm_marker", activity=activity))
        elif sent.target.type is EntityType.DEAL:
            _weigh_sent_from(sent.target.id, letter, index, policy, weighed)


def _weigh_sent_from(
    number: int, letter: Letter, index: DealIndex, policy: RoutingPolicy, weighed: _Weighed
) -> None:
    found = index.deal(number)
    standing = relation(letter, index, policy, found) if found else Relation.UNKNOWN
    if found and found.recurring:
        weighed.refuse(number, why("recurring_template", deal=number))
    elif found and not found.active and policy.marker.closed_deal == "next_rule":
        weighed.refuse(number, why("deal_closed", deal=number))
    elif standing is Relation.FOREIGN:
        foreign = why("not_the_senders_deal", client=client_named(letter), deal=number)
        weighed.refuse(number, foreign, rejected=True)
    else:
        weighed.proven[number] = (standing, why("crm_marker", deal=number))


def _may_name(standing: Relation, policy: RoutingPolicy) -> bool:
    check = policy.marker.sender_check
    if check == "off":
        return True
    if check == "related":
        return standing is not Relation.FOREIGN
    return standing in (Relation.OWN, Relation.SAME_DOMAIN)
