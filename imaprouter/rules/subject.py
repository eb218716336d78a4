"""The deal numbers that a person would read in a subject, and what may be doubted of each. No rule itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache

from imaprouter.address import portal_id
from imaprouter.marker_signature import verifies
from imaprouter.policy import RoutingPolicy

# The form of a signature, with any dash, also one that somebody set apart by blanks.
_SIGNED = re.compile(
    r"#(?P<deal>\d{1,10})(?P<dash>\s*[-\u2010-\u2015\u2212]\s*)"
    r"(?P<check>(?=[0-9]*[A-Za-z])(?=[A-Za-z]*[0-9])[0-9A-Za-z]{4})\b"
)
_DIGIT = re.compile(r"\d")
# Always a marker behind these.
_DEAL = re.compile(r"сдел(?:к|ок)\w*|deals?")
# A number behind these counts something else, unless the sender has that very deal.
_OTHER_THINGS = re.compile(
    r"(?:order|request|invoice|rechnung|ticket|issue|quot|contract|agreement|version|colou?r|background|school"
    r"|booking|reservation|shipment|receipt|payment|proforma|claim|parcel|delivery|tracking"
    r"|заказ(?:а|у|ом|е|ы|ов|ам|ах)?\b|сч[её]т|договор|накладн|приложен|поручен|фактур|тендер|школ"
    r"|заявк|тикет|задач|инвойс|соглашени"
    r"|спецификаци|протокол|закупк|претензи|обращени|квитанци|брон|отправлени|посылк|доставк|плат[её]ж"
    r"|возврат"
    r"|zamówieni|faktur|zgłoszeni|umow|rachun|przesyłk|reklamacj|zapytani|zleceni|paragon)\w*"
    r"|c|prs?|pos?|rfqs?|rmas?|cases?|bugs?|tasks?|items?|pages?|rooms?"
    r"|акт(?:а|у|ом|е|ы|ов)?|ттн|упд|лот(?:а|у)?"
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


class Doubt(IntEnum):
    """What a bare number may be instead of a deal's, in the order of how much speaks for that."""

    NONE = 0
    #: It may count something else: `order #7`.
    OTHER = 1
    #: It says how good something is: `#1 priority`.
    RANK = 2


@lru_cache(maxsize=16)
def as_read(subject: str) -> str:
    """The subject with `№ 123`, `＃１２３` and `# 123` written as `#123`."""
    # NFKC makes two letters of №.
    plain = unicodedata.normalize("NFKC", subject.replace("№", "#"))
    return re.sub(r"#\s+(?=\d)", "#", plain)


def numbers(subject: str, policy: RoutingPolicy) -> Iterator[tuple[int, str, Doubt]]:
    """(deal, signature or '', doubt): the signed ones first, then the bare ones that no signature covers.

    Each of them once; of a deal whose signature is right, nothing else.
    """
    plain = as_read(subject)
    if not _DIGIT.search(plain + subject):
        return
    signed = [
        hit for hit in _SIGNED.finditer(plain) if not _is_glued(plain, hit) and _is_signature(hit, policy)
    ]
    checks = {(portal_id(hit["deal"]), hit["check"]) for hit in signed}
    proven = {number for number, check in checks if number and verifies(number, check, policy.marker.secret)}
    for number, check in sorted((number, check) for number, check in checks if number):
        if number not in proven or verifies(number, check, policy.marker.secret):
            yield number, check, Doubt.NONE
    doubts: dict[int, Doubt] = {}
    for text, hit in _bare(subject, plain, signed, policy):
        number = portal_id(hit["deal"])
        if number and number not in proven:
            doubts[number] = min(doubts.get(number, Doubt.RANK), _doubt(text, hit))
    for number, doubt in doubts.items():
        yield number, "", doubt


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


def _doubt(subject: str, hit: re.Match[str]) -> Doubt:
    """What a configured pattern says before the number is no doubt."""
    before, after = subject[: hit.start()], subject[hit.end() :]
    if re.match(r"[-\u2010-\u2015\u2212/:]\d", after):
        return Doubt.OTHER
    words = _words(subject[: hit.start("deal")])
    if words and _DEAL.fullmatch(words[-1]):
        return Doubt.NONE
    named = any(sign.isalpha() for sign in subject[hit.start() : hit.start("deal")])
    following = re.match(r"\s*([^\W\d_]+)", after.lower())
    next_word = following[1] if following else ""
    if not named and next_word in _RANKS:
        return Doubt.RANK
    glued = re.search(r"[^\s(\[{<\"'«„“‘:;.!?|*>—–…]$", before)
    forge = _FORGE.search(before) and re.fullmatch(r"\)\s*", after)
    colour = len(hit["deal"]) == _COLOUR_DIGITS and _COLOUR.search(subject)
    if glued or forge or colour or _IN_BRACKETS.search(before):
        return Doubt.OTHER
    counts = not named and (_counts_a_noun(before, words) or _goes_on_as_rank(hit, words, next_word))
    return Doubt.OTHER if counts else Doubt.NONE


def _counts_a_noun(before: str, words: list[str]) -> bool:
    """`order #7`, and within the clause `заказ покупателя #7`, but not `заказ по #7`."""
    if not words or re.search(r"[!?;|,]\s*$", before):
        return False
    if _is_other_thing(words[-1]) or words[-2:] == ["p", "o"]:
        return True
    if words[-1] in _ABOUT:
        return False
    clause = _CLAUSE.match(before)
    near = _words(before[clause.end() :] if clause else before)[-_NEAR:]
    return any(map(_is_other_thing, near))


@lru_cache(maxsize=4096)
def _is_other_thing(word: str) -> bool:
    return _OTHER_THINGS.fullmatch(word) is not None


def _goes_on_as_rank(hit: re.Match[str], words: list[str], next_word: str) -> bool:
    """`№1 на рынке`, `#1 supplier`, `we are #1`: only the first numbers are written so."""
    if int(hit["deal"]) > _LAST_RANK:
        return False
    if not next_word:
        return bool(words) and words[-1] in _RANK_ENDS
    return next_word.isascii() or _RANK_GOES_ON.fullmatch(next_word) is not None


def _words(text: str) -> list[str]:
    """The words of a text, without those at its end that only say that a number comes."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    while words and (words[-1] in _FILLERS or words[-2:] == ["на", "оплату"]):
        words = words[:-1] if words[-1] in _FILLERS else words[:-2]
    return words


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
