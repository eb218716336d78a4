"""Authentication-Results (RFC 8601) to `Authentication`: what a server says of From, in one linear pass.

Only what speaks of the sender's domain is kept: the results of DMARC, DKIM and SPF, and the domains they
hold for. Who wrote a header is told by its name alone, so that is for `rules.trust` to weigh.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from imaprouter.address import domain_of, normalise
from imaprouter.mail.charset import Note
from imaprouter.model import Authentication
from imaprouter.text import clean

#: Headers that are read, the topmost ones: a server of ours writes above everybody else's.
MOST_HEADERS = 50
#: Of one header (imap.md 5); senders can make it long with many signatures.
LONGEST = 8192
#: The result of `dmarc` in a header that cannot be read to its end: what is hidden may be a fail.
UNREADABLE = "unreadable"

# The properties that name a domain, by the name under which it is kept. Yandex writes header.i and smtp.mail.
_DOMAINS = {
    "dmarc": {"header.from": "header.from"},
    "dkim": {"header.d": "header.d", "header.i": "header.d"},
    "spf": {"smtp.mailfrom": "smtp.mailfrom", "smtp.mail": "smtp.mailfrom"},
}
_METHODS = tuple(_DOMAINS)
_KEPT_AS = {method: next(iter(names.values())) for method, names in _DOMAINS.items()}
_FAILS_FIRST = {"fail": 0, "hardfail": 0, "softfail": 1, "pass": 3}
_OTHERS = 2

# Without another one inside.
_COMMENT = re.compile(r"\([^()]*+\)")

_Result = tuple[str, str]


def read(texts: Iterable[str], note: Note) -> tuple[Authentication, ...]:
    """Return each Authentication-Results header as what it says, in order. Never raises.

    A method given twice counts as its worst result, and DKIM as a pass when any signature passes (RFC 6376
    6.1), with the domains of all that do: {"dkim": "pass", "dkim.header.d": "horns.ru esp.com"}.
    """
    headers = list(texts)
    if len(headers) > MOST_HEADERS:
        note(f"more than {MOST_HEADERS} of them, the topmost are read")
    return tuple(_read(text, note) for text in headers[:MOST_HEADERS])


def _read(text: str, note: Note) -> Authentication:
    parts, whole = _parts(clean(text[:LONGEST]))
    # Microsoft begins with the first result, without the name of a server.
    server = "" if "=" in parts[0] else next(iter(parts[0].lower().split()), "")
    if not whole or len(text) > LONGEST:
        note("cannot be read to its end")
        return Authentication(server, {"dmarc": UNREADABLE})
    found: dict[str, list[_Result]] = {}
    for part in parts:
        for method, result in _result(part):
            found.setdefault(method, []).append(result)
    results: dict[str, str] = {}
    for method, all_of_it in found.items():
        results |= _summed_up(method, all_of_it)
    return Authentication(server, results)


def _parts(text: str) -> tuple[list[str], bool]:
    """Return what stands between semicolons, without comments, and whether every bracket and quote is closed.

    Quoted text is made one word: senders can put `; dmarc=pass` into it.
    """
    return _quick_parts(text) or _careful_parts(text)


def _quick_parts(text: str) -> tuple[list[str], bool] | None:
    """The same of a text as servers write it: nothing quoted, no comment in a comment."""
    if '"' in text or "\\" in text:
        return None
    if "(" in text:
        text = _COMMENT.sub(" ", text)
        if "(" in text:
            return None
    return text.split(";"), True


def _careful_parts(text: str) -> tuple[list[str], bool]:
    kept: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
            kept.append("" if depth else "_")
        elif character == "\\" and (depth or quoted):
            escaped = True
        elif quoted:
            quoted = character != '"'
            kept.append(_as_word(character) if quoted else "")
        elif depth or character == "(":
            depth += {"(": 1, ")": -1}.get(character, 0)
            kept.append("" if depth else " ")
        elif character == '"':
            quoted = True
            kept.append("_")  # also where nothing is quoted, or the next word would be the value
        else:
            kept.append(character)
    return "".join(kept).split(";"), not (depth or quoted or escaped)


def _as_word(character: str) -> str:
    return character if character.isalnum() or character in "@.-" else "_"


def _result(part: str) -> Iterator[tuple[str, _Result]]:
    """Read `dkim=pass header.d=horns.ru` as (dkim, (pass, horns.ru)); nothing when it does not concern us."""
    text = part.lower().lstrip()
    if not text.startswith(_METHODS):
        return  # most parts speak of other things
    if "= " in text or " =" in text or not text.isascii():
        text = " ".join(text.split()).replace(" =", "=").replace("= ", "=")
    words = text.split()
    method, _, result = words[0].partition("=")
    method = method.partition("/")[0]
    if method not in _DOMAINS or not result:
        return
    properties = dict(word.split("=", 1) for word in words[1:] if "=" in word)
    if method == "spf" and "smtp.helo" in properties and not properties.keys() & _DOMAINS["spf"].keys():
        return  # of the greeting, which says nothing of From
    named = (properties[name] for name in _DOMAINS[method] if name in properties)
    # A quoted value begins with a mark of ours.
    yield method, (result, domain_of(normalise(f"x@{next(named, '').lstrip('_').rpartition('@')[2]}")))


def _summed_up(method: str, found: list[_Result]) -> dict[str, str]:
    if len(found) == 1:
        ((result, domain),) = found
        return {method: result, f"{method}.{_KEPT_AS[method]}": domain} if domain else {method: result}
    results = [result for result, _ in found]
    chosen = min(results, key=lambda result: _FAILS_FIRST.get(result, _OTHERS))
    if method == "dkim" and "pass" in results:
        chosen = "pass"
    domains = dict.fromkeys(domain for result, domain in found if result == chosen and domain)
    summary = {method: chosen}
    if domains:
        summary[f"{method}.{_KEPT_AS[method]}"] = " ".join(domains)
    return summary
