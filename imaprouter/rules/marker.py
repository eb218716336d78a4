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

# The form of a signature, with any dash, also one that somebody set apart by blanks.
_SIGNED = re.compile(
    r"#(?P<deal>\d{1,10})(?P<dash>\s*[-\u2010-\u2015\u2212]\s*)"
    r"(?P<check>(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[0-9A-Za-z]{4})\b"
)
# What Bitrix24 puts into subjects and bodies of letters that it sends (mail-internals 4).
_OF_CRM = re.compile(r"\[(?:crm|msg):(?P<activity>\d{1,18})-(?P<code>[a-z0-9]{6})\]", re.IGNORECASE)
# Always a marker behind these.
_DEAL = re.compile(r"сдел(?:к|ок)\w*|deals?")
# A number behind these counts something else, unless the sender has that very deal.
_OTHER_THINGS = re.compile(
    r"(?:order|request|invoice|rechnung|ticket|issue|quot|contract|agreement|version|colou?r|background|school"
    r"|booking|reservation|shipment|receipt|payment|proforma|claim|parcel|delivery|tracking"
    r"|заказ(?:а|у|ом|е|ы|ов|ам|ах)?\b|сч[её]т|договор|накладн|приложен|поручен|фактур|тендер|школ|заявк|тикет|задач|инвойс|соглашени"
    r"|спецификаци|протокол|закупк|претензи|обращени|квитанци|брон|отправлени|посылк|доставк|плат[её]ж"
    r"|возврат"
    r"|zamówieni|faktur|zgłoszeni|umow|rachun|przesyłk|reklamacj|zapytani|zleceni|paragon)\w*"
    r"|c|prs?|pos?|rfqs?|rmas?|cases?|bugs?|tasks?|items?|pages?|rooms?|акт(?:а|у|ом|е|ы|ов)?|ттн|упд|лот(?:а|у)?"
    r"|исх|вх|цвет(?:а|ом)?|фон|kolor|ral|hex|pantone"
)
_FILLERS = frozenset({"no", "nos", "number", "num", "nr", "id", "numer", "номер", "номера", "номером"})
# Between one of these and a number, the noun before them is not what is counted: `счёт по #7`.
_ABOUT = frozenset(
    {"по", "к", "о", "об", "про", "for", "re", "about", "regarding", "do", "dotyczy", "w", "и", "and"}
)
# So many words back, a noun may still be what is counted: `заказ покупателя №7`, `your order has shipped #7`.
_NEAR = 3
_CLAUSE = re.compile(r".*(?:[.;!?|,:]|\s[-\u2010-\u2015\u2212]\s|#\d+)", re.DOTALL)
_RANKS = frozenset({"priority", "place", "choice", "fan", "приоритет", "место", "номер"})
# A rank goes on in English, or so: `№1 на рынке`, `№1 выбор клиентов`; or it ends `we are #1`.
_RANK_GOES_ON = re.compile(
    r"в|на|по|среди|выбор|марка|бренд|компания|производитель|поставщик|магазин|сервис|решение"
)
_RANK_ENDS = frozenset({"are", "is", "be", "мы", "наш", "наша", "jesteśmy"})
_LAST_RANK = 3
# `[rt.vendor.ru #7]`, `[Redmine - Support #7]`: another desk's.
_IN_BRACKETS = re.compile(r"\[[^\[\]]*(?:\w\.\w|\s-\s)[^\[\]]*$")
# With a letter in it it is no number: of the colours beside it one tells what the others are.
_COLOUR = re.compile(r"#(?=[0-9]*[a-f])[0-9a-f]{6}\b", re.IGNORECASE)
_COLOUR_DIGITS = 6
# `[org/repo] Fix crash (#7)`: a code forge.
_FORGE = re.compile(r"\[[\w.-]+/[\w.-]+\].*\($")
# Numbers that are weighed of one subject, signed ones first; whoever writes more makes work.
_MOST_NUMBERS = 50
_MACHINES = frozenset({Nature.BOUNCE, Nature.AUTO_REPLY, Nature.LIST})


def marker(letter: Letter, index: DealIndex, policy: RoutingPolicy) -> Finding:
    """Match the one deal that the subject names and whose client may have written the letter.

    A signed marker is trusted from anyone, Bitrix24's own from anyone but another deal's client; with a wrong
    signature they are rejected. A bare number counts when the deal exists and `routing.marker.sender_check`
    lets the sender name it; where it may number something else, only when it is the sender's own deal, and
    as a rank only when who is addressed tells of no other. Several deals: the
    one that belongs to the sender, else ambiguous.
    """
    weighed = _Weighed()
    subject = letter.envelope.subject
    _weigh_crm_markers(_as_read(subject), letter, index, policy, weighed)
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
    plain = _as_read(subject)
    signed = [
        hit for hit in _SIGNED.finditer(plain) if not _is_glued(plain, hit) and _is_signature(hit, policy)
    ]
    checks = {(portal_id(hit["deal"]), hit["check"]) for hit in signed}
    proven = {number for number, check in checks if number and verifies(number, check, policy.marker.secret)}
    for number, check in sorted((number, check) for number, check in checks if number):
        if number not in proven or verifies(number, check, policy.marker.secret):
            yield number, check, False
    doubts: dict[int, bool] = {}
    for text, hit in _bare(subject, plain, signed, policy):
        number = portal_id(hit["deal"])
        if number and number not in proven:
            doubts[number] = doubts.get(number, True) and _is_doubtful(text, hit)
    for number, doubtful in doubts.items():
        yield number, "", doubtful


def _is_signature(hit: re.Match[str], policy: RoutingPolicy) -> bool:
    """A right one in any spelling; a wrong one only in the form in which they are given: no `#7-rev2`."""
    number, check = portal_id(hit["deal"]), hit["check"]
    if number and verifies(number, check, policy.marker.secret):
        return True
    return check == check.upper() and hit["dash"] == hit["dash"].strip()


def _bare(
    subject: str, plain: str, signed: list[re.Match[str]], policy: RoutingPolicy
) -> list[tuple[str, re.Match[str]]]:
    """What the configured patterns find, with the text in which they do, in the order of that.

    A pattern may spell what is read as `#` in its own way: what it does not find in the plain text it may in
    the subject as written.
    """
    found: list[tuple[str, re.Match[str]]] = []
    for pattern in map(_compiled, policy.marker.patterns):
        for text in dict.fromkeys((plain, subject)):
            hits = [hit for hit in pattern.finditer(text) if hit["deal"]]
            covered = signed if text is plain else ()
            found += [
                (text, hit)
                for hit in hits
                if not _is_no_marker(text, hit) and not any(_overlap(hit, other) for other in covered)
            ]
            if hits:
                break
    return sorted(found, key=lambda each: each[1].span())


def _overlap(one: re.Match[str], other: re.Match[str]) -> bool:
    return one.start() < other.end() and other.start() < one.end()


def _is_glued(subject: str, hit: re.Match[str]) -> bool:
    return hit.start() > 0 and subject[hit.start() - 1].isalnum()


def _is_no_marker(subject: str, hit: re.Match[str]) -> bool:
    """Nobody reads it as a deal: `C#12`, `room_#7`, `##7`, `&#7;`, `a/#7`, `#007`, `#1.5`, `#1,000`.

    A pattern with a word of its own may count as it likes: `DEAL-0007`.
    """
    if _is_glued(subject, hit) or re.match(r"[.,]\d", subject[hit.end() :]):
        return True
    if not subject.startswith("#", hit.start()):
        return False
    before = subject[: hit.start()]
    return before.endswith(("_", "#", "&", "/", "=")) or hit["deal"].startswith("0")


def _is_doubtful(subject: str, hit: re.Match[str]) -> bool:
    """It may count something else; what a configured pattern says before the number is no doubt."""
    before, after = subject[: hit.start()], subject[hit.end() :]
    if re.match(r"[-\u2010-\u2015\u2212/:]\d", after):
        return True
    words = _words(subject[: hit.start("deal")])
    if words and _DEAL.fullmatch(words[-1]):
        return False
    if re.search(r"[^\s(\[{<\"'«„“‘:;.!?|*>—–…]$", before):
        return True
    if (_FORGE.search(before) and re.fullmatch(r"\)\s*", after)) or _IN_BRACKETS.search(before):
        return True
    if len(hit["deal"]) == _COLOUR_DIGITS and _COLOUR.search(subject):
        return True
    named = any(sign.isalpha() for sign in subject[hit.start() : hit.start("deal")])
    return not named and (_counts_a_noun(before, words) or _is_rank(int(hit["deal"]), words, after))


def _counts_a_noun(before: str, words: list[str]) -> bool:
    """`order #7`, and within the clause `заказ покупателя #7`, but not `заказ по #7`."""
    if not words or re.search(r"[!?;|,]\s*$", before):
        return False
    if _OTHER_THINGS.fullmatch(words[-1]) or words[-2:] == ["p", "o"]:
        return True
    if words[-1] in _ABOUT:
        return False
    near = _words(_CLAUSE.sub("", before))[-_NEAR:]
    return any(_OTHER_THINGS.fullmatch(word) for word in near)


def _is_rank(number: int, words: list[str], after: str) -> bool:
    """`#1 priority`, `№1 на рынке`, `we are #1`."""
    following = re.match(r"\s*([^\W\d_]+)", after.lower())
    if following and following[1] in _RANKS:
        return True
    if number > _LAST_RANK:
        return False
    if following is None:
        return bool(words) and words[-1] in _RANK_ENDS
    return following[1].isascii() or _RANK_GOES_ON.fullmatch(following[1]) is not None


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
    """Whether a number is a rank (`#1 priority`) and the addressed employees tell of another deal."""
    plain = _as_read(letter.envelope.subject).lower()
    if not re.search(rf"#{number}\s+(?:{'|'.join(sorted(_RANKS))})\b", plain):
        return False
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
