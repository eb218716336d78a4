"""Why something was concluded: a stable code for programs, a sentence for people. Pure.

A rule gives reasons as `why(code, …)`; sentences come into being only where somebody reads them, in his
language. SENTENCES is the one list of what can be said: a code without a sentence is an error of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from gettext import NullTranslations
from typing import NamedTuple, TypeAlias

Values: TypeAlias = dict[str, str | tuple[str, ...]]

#: English, in which the sentences are written.
ENGLISH = NullTranslations()


@dataclass(frozen=True, slots=True)
class Reason:
    code: str
    #: What fills the sentence: addresses, numbers, lists of them.
    values: Values = field(default_factory=dict)


class Sentence(NamedTuple):
    one: str
    #: With more than one in the list `counted`.
    many: str = ""
    counted: str = ""


def N_(text: str) -> str:
    """Mark a sentence for extraction into the catalogues."""
    return text


SENTENCES: Mapping[str, Sentence] = {
    # marker
    "no_marker": Sentence(N_("no marker in the subject")),
    "marker": Sentence(N_("the subject names deal {deal}")),
    "several_markers": Sentence(
        N_("the subject names deals {deals}, and the sender does not tell which is meant")
    ),
    "signed_marker": Sentence(N_("the subject carries the signed marker of deal {deal}")),
    "wrong_signature": Sentence(N_("the marker of deal {deal} is signed wrongly")),
    "crm_marker": Sentence(N_("the subject carries Bitrix24's mark of a letter from deal {deal}")),
    "wrong_crm_marker": Sentence(N_("Bitrix24's mark of letter {activity} has the wrong code")),
    "no_such_letter": Sentence(N_("no letter {activity} of Bitrix24 is known")),
    "counts_something_else": Sentence(
        N_("the number {deal} counts something else than a deal of the sender's")
    ),
    # what is wrong with a deal that a marker, a tag or a thread names
    "no_such_deal": Sentence(N_("deal {deal} does not exist")),
    "recurring_template": Sentence(N_("deal {deal} is a template of recurring deals")),
    "deal_closed": Sentence(N_("deal {deal} is closed")),
    "not_the_senders_deal": Sentence(N_("{client} is known as somebody else's client, not of deal {deal}")),
    "not_the_clients_deal": Sentence(N_("{client} is not known as a client of deal {deal}")),
    # thread
    "no_parents": Sentence(N_("it answers no message")),
    "unknown_parents": Sentence(N_("none of the messages that it answers is known")),
    "thread_decision": Sentence(N_("an earlier letter of the thread belongs to {target}")),
    "thread_person": Sentence(N_("a person put an earlier letter of the thread into {target}")),
    "thread_portal": Sentence(N_("it answers a letter that Bitrix24 sent from {target}")),
    "wrong_crm_id": Sentence(N_("the id of Bitrix24's letter {activity} has the wrong code")),
    "thread_without_deal": Sentence(
        N_("an earlier letter of the thread belongs to {target}, which names no deal")
    ),
    "thread_weak": Sentence(N_("other letters that answer the same unseen message belong to {target}")),
    "thread_conversation": Sentence(N_("other letters of the same Outlook conversation belong to {target}")),
    "thread_contradicts": Sentence(
        N_("another letter of the thread belongs to {targets}: the nearest counts"),
        N_("other letters of the thread belong to {targets}: the nearest counts"),
        "targets",
    ),
    "hint_outweighed": Sentence(
        N_("letters of the same thread hint at {target}, but subject, sender or recipients say otherwise")
    ),
    "hint_not_the_clients": Sentence(
        N_("letters of the same thread hint at {target}, but {client} is not known as its client")
    ),
    # address
    "no_tag": Sentence(N_("no recipient address carries a deal number")),
    "plus_tag": Sentence(N_("the address {address} names deal {deal}")),
    "several_tags": Sentence(N_("the recipients name deals {deals}")),
    "alias_narrows": Sentence(
        N_("an alias narrows the candidates to pipeline {pipelines}"),
        N_("aliases narrow the candidates to pipelines {pipelines}"),
        "pipelines",
    ),
    # participants
    "not_a_letter": Sentence(N_("a machine wrote it: its sender says nothing")),
    "from_unclear": Sentence(N_("From can be read in two ways and is not trusted")),
    "unknown_client": Sentence(
        N_("{clients} is not known in the CRM"), N_("{clients} are not known in the CRM"), "clients"
    ),
    "no_client": Sentence(N_("nobody on the client's side has an address")),
    "only_lead": Sentence(N_("{client} is known only by lead {lead}")),
    "several_leads": Sentence(N_("{client} is known by several open leads")),
    "closed_leads": Sentence(N_("{client} is known only by closed leads")),
    "shared_address": Sentence(N_("{client} belongs to several contacts or companies")),
    "client_of": Sentence(
        N_("{client} is a client of deal {deals}"), N_("{client} is a client of deals {deals}"), "deals"
    ),
    "is_client": Sentence(N_("{client} belongs to {target}")),
    "responsible_addressed": Sentence(
        N_("{people} is responsible for deal {deals}"),
        N_("{people} is responsible for deals {deals}"),
        "deals",
    ),
    "no_responsible": Sentence(
        N_("{people} is responsible for none of them"),
        N_("{people} are responsible for none of them"),
        "people",
    ),
    "several_deals": Sentence(N_("deals {deals} fit equally")),
    "latest_deal": Sentence(N_("deal {deal} was changed last")),
    "held_by": Sentence(
        N_("{people} is responsible for deal {deals}"),
        N_("{people} is responsible for deals {deals}"),
        "deals",
    ),
    "no_active_deal": Sentence(N_("{client} has no active deal")),
    "no_active_deal_in_pipeline": Sentence(
        N_("{client} has no active deal in pipeline {pipelines}"),
        N_("{client} has no active deal in pipelines {pipelines}"),
        "pipelines",
    ),
    "last_closed_deal": Sentence(N_("deal {deal} was closed last")),
    "several_clients": Sentence(N_("{clients} are different clients")),
    "former_addressed": Sentence(
        N_("{people} was responsible for deal {deals} until {date}"),
        N_("{people} was responsible for deals {deals} until {date}"),
        "deals",
    ),
    "observer_addressed": Sentence(
        N_("{people} observes deal {deals}"), N_("{people} observes deals {deals}"), "deals"
    ),
    # participants: why a deal of the client's was not chosen
    "other_responsible": Sentence(
        N_("{people}, who is not addressed, is responsible for deal {deals}"),
        N_("{people}, who is not addressed, is responsible for deals {deals}"),
        "deals",
    ),
    "other_responsibles": Sentence(N_("{people}, who are not addressed, are responsible for deals {deals}")),
    "dismissed_responsible": Sentence(
        N_("{people}, who is responsible for deal {deals}, is no active employee"),
        N_("{people}, who is responsible for deals {deals}, is no active employee"),
        "deals",
    ),
    "unknown_responsible": Sentence(
        N_("nobody known is responsible for deal {deals}"),
        N_("nobody known is responsible for deals {deals}"),
        "deals",
    ),
    "handed_over": Sentence(
        N_("{people} handed deal {deals} over on {date}, too long ago to count"),
        N_("{people} handed deals {deals} over on {date}, too long ago to count"),
        "deals",
    ),
    "another_pipeline": Sentence(
        N_("deal {deals} is in another pipeline"), N_("deals {deals} are in another pipeline"), "deals"
    ),
    "companys_deal": Sentence(
        N_("deal {deals} is the company's, not {client}'s own"),
        N_("deals {deals} are the company's, not {client}'s own"),
        "deals",
    ),
    "created_later": Sentence(
        N_("deal {deals} was created after the letter was written"),
        N_("deals {deals} were created after the letter was written"),
        "deals",
    ),
    "changed_earlier": Sentence(
        N_("deal {deals} was changed before that"), N_("deals {deals} were changed before that"), "deals"
    ),
    "closed_earlier": Sentence(
        N_("deal {deals} was closed before that"), N_("deals {deals} were closed before that"), "deals"
    ),
    "no_active_deal_then": Sentence(N_("{client} had no active deal when the letter was written")),
    "left": Sentence(N_("left as it is")),
    # fallback
    "employee_wrote": Sentence(
        N_("{person} is an employee: Bitrix24 makes no activity of a colleague's letter")
    ),
    "forwards": Sentence(N_("it forwards a letter of {client}")),
    "forwarded_belongs": Sentence(N_("that letter belongs to {target}")),
    "own_notification": Sentence(N_("a notification of Bitrix24 to an employee")),
    "bounce_names_nothing": Sentence(N_("a bounce that names no known message")),
    "auto_reply_names_nothing": Sentence(N_("an automatic reply that names no known message")),
    "system_names_nothing": Sentence(N_("a notification of Bitrix24 that concerns no known client")),
    "loop": Sentence(N_("a loop: more than {limit} letters between the same two addresses within an hour")),
    "nothing_known": Sentence(N_("no rule knows a client or a deal: left as Bitrix24 made it")),
    "sent_from_crm": Sentence(N_("it was written in the CRM: whoever wrote it chose the deal")),
    "defect": Sentence(N_("imaprouter failed on this letter; the log says how")),
    "unreadable": Sentence(
        N_("the server cannot hand over this message; it is asked again at every connection")
    ),
    # trust
    "from_not_authentic": Sentence(N_("{server} says that {sender} did not send it: {said}")),
    "from_not_proven": Sentence(N_("{server} has no proof that {sender} sent it: {said}")),
    "from_not_checked": Sentence(N_("no mail server of ours says whether {sender} sent it")),
    "reply_to_not_proven": Sentence(N_("the proof of From does not cover Reply-To {client}")),
    # conflict
    "rule_says": Sentence(N_("{rule}: deal {deal}")),
    "stronger_wins": Sentence(N_("the stronger rule wins")),
    "person_decides": Sentence(N_("a person decides")),
    "outranked": Sentence(N_("the stronger rule decides: {rule}")),
    # what a version without codes wrote, in its own words
    "earlier": Sentence(N_("{text}")),
}

#: What 'Maria is responsible for deal 1' says already: told in the trail, not in a decision's own sentence.
IMPLIED = frozenset(
    {"other_responsible", "other_responsibles", "dismissed_responsible", "unknown_responsible"}
)

_RULES: Mapping[str, str] = {
    "marker": N_("marker in the subject"),
    "thread": N_("thread"),
    "address": N_("recipient address"),
    "participants": N_("sender and recipients"),
}
_OBJECTS: Mapping[str, str] = {
    "deal": N_("deal {id}"),
    "company": N_("company {id}"),
    "contact": N_("contact {id}"),
    "lead": N_("lead {id}"),
}


def why(code: str, **values: object) -> Reason:
    """A reason; lists and tuples become lists of words. KeyError for a code that has no sentence."""
    SENTENCES[code]
    return Reason(
        code, {name: value if type(value) is str else _plain(value) for name, value in values.items()}
    )


def sentence(reasons: Iterable[Reason], language: NullTranslations = ENGLISH) -> str:
    """The reasons as one sentence in this language, parts joined by semicolons."""
    return "; ".join(_rendered(reason, language) for reason in reasons)


def listed(words: Iterable[str], language: NullTranslations = ENGLISH) -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return language.gettext("{first} and {last}").format(first=", ".join(items[:-1]), last=items[-1])


def named(target: str, language: NullTranslations = ENGLISH) -> str:
    """`deal 7`, as a target or a binding calls itself, in this language; anything else stays as it is."""
    kind, _, number = target.partition(" ")
    template = _OBJECTS.get(kind)
    return language.gettext(template).format(id=number) if template and number else target


def _rendered(reason: Reason, language: NullTranslations) -> str:
    one, many, counted = SENTENCES[reason.code]
    if many:
        # A list carries no numeral: twenty-one deals are 'deals', though in Russian 21 takes the form of 1.
        template = language.ngettext(one, many, min(len(reason.values.get(counted, ())), 2))
    else:
        template = language.gettext(one)
    words = {name: _shown(name, value, language) for name, value in reason.values.items()}
    return template.format_map(words)


def _shown(name: str, value: str | tuple[str, ...], language: NullTranslations) -> str:
    words = (value,) if isinstance(value, str) else value
    if name in {"target", "targets"}:
        words = tuple(named(word, language) for word in words)
    elif name == "rule":
        words = tuple(language.gettext(_RULES[word]) if word in _RULES else word for word in words)
    return listed(words, language)


def _plain(value: object) -> str | tuple[str, ...]:
    # Numbers, texts and tuples by their types: to ask whether a thing is iterable takes far longer.
    if isinstance(value, int | str) or not isinstance(value, tuple | list | Iterable):
        return str(value)
    return tuple(str(item) for item in value)
