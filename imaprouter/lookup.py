"""What the index did not know when a letter was decided is asked of the portal, and the letter decided again.

Only the binder's thread does this: reading mail never waits for the portal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from imaprouter.arrival import WatchedFolder, standing
from imaprouter.bitrix24.activities import activities_by_id
from imaprouter.bitrix24.clients import (
    companies_by_id,
    contacts_by_id,
    deals_by_id,
    deals_of_clients,
    find_by_email,
)
from imaprouter.bitrix24.portal import Portal
from imaprouter.copies import together
from imaprouter.decide import decide
from imaprouter.errors import PortalDenied, PortalError
from imaprouter.log import event
from imaprouter.model import Company, Contact, Deal, Direction, Question, State
from imaprouter.store.index import Index
from imaprouter.store.journal import Journal
from imaprouter.store.knowledge import Knowledge
from imaprouter.store.messages import NewMessage, StoredMessage

logger = logging.getLogger(__name__)

# Messages whose questions go into one round.
ROUND = 50


def answer_questions(
    portal: Portal,
    journal: Journal,
    knowledge: Knowledge,
    watched: Callable[[str, str], WatchedFolder | None],
    now: datetime,
    *,
    ask: bool = True,
) -> int:
    """Ask the portal for what open decisions lack, and decide them again; returns how many.

    `watched` gives the configuration of (mailbox, folder). Raises PortalError; then the questions stay open.
    Without `ask` they are decided with what the index knows.
    """
    messages = journal.messages.open_questions(ROUND)
    if not messages:
        return 0
    if ask:
        questions = {question for message in messages for question in message.decision.unknown}
        _fetch_what_may_be_read(portal, knowledge, questions)
    with journal.transaction():
        for message in messages:
            folder = watched(message.mailbox, message.folder)
            new = _again(message, folder, journal, knowledge)
            decides_otherwise = _is_other(message, new)
            journal.messages.redecide(message.id, new, now, settled_too=decides_otherwise)
            if decides_otherwise or message.state is not State.SETTLED:
                _reopen(message, new, journal, now)
                _tell(message.id, new)
    return len(messages)


def _is_other(message: StoredMessage, new: NewMessage) -> bool:
    """Whether a late copy in another mailbox changes where the letter belongs, or makes it a question."""
    before, after = message.decision, new.decision
    return (after.target is not None or after.review) and (before.target, before.review) != (
        after.target,
        after.review,
    )


def _reopen(message: StoredMessage, new: NewMessage, journal: Journal, now: datetime) -> None:
    """What is paired with the message has something to do now, or waits for a person."""
    known = journal.activities.of_message(message.id)
    if not known or message.person_target:
        return
    if new.state is State.WAITING:
        journal.messages.set_state(message.id, State.PAIRED, now)
        for paired in known:
            journal.activities.resume(paired.activity.id, now)
    elif new.state is State.REVIEW:
        for paired in known:
            journal.activities.unschedule(paired.activity.id)


def reconsider(
    portal: Portal,
    journal: Journal,
    knowledge: Knowledge,
    watched: Callable[[str, str], WatchedFolder | None],
    strange: Mapping[int, Sequence[int]],
    now: datetime,
) -> None:
    """Decide messages again whose activities are bound to deals that the index does not know.

    `strange`: message id to such deals. One that is younger than the last refresh may be the right one.
    """
    questions = {Question("deal", str(deal)) for deals in strange.values() for deal in deals}
    _fetch_what_may_be_read(portal, knowledge, questions)
    messages = list(filter(None, map(journal.messages.get, strange)))
    writers = {
        Question("client", address.email) for message in messages for address in message.envelope.writers
    }
    _fetch_what_may_be_read(portal, knowledge, writers)
    with journal.transaction():
        for message in messages:
            new = _again(message, watched(message.mailbox, message.folder), journal, knowledge)
            journal.messages.redecide(message.id, new, now)
            _tell(message.id, new)


def _fetch_what_may_be_read(portal: Portal, index: Index, questions: set[Question]) -> None:
    """All answers at once; where the portal refuses one for good, one by one, so that it bars no other."""
    try:
        fetch_answers(portal, index, questions)
    except PortalError as error:
        if _is_no_answer(error):
            raise
        for question in sorted(questions, key=lambda each: (each.about, each.key)):
            try:
                fetch_answers(portal, index, [question])
            except PortalError as refusal:
                if _is_no_answer(refusal):
                    raise
                event(
                    logger,
                    logging.WARNING,
                    "question.refused",
                    about=question.about,
                    key=question.key,
                    error=str(refusal),
                )


def _is_no_answer(error: PortalError) -> bool:
    """Whether the question stays open: the portal could not be asked, or nothing at all may be asked now."""
    return error.temporary or (isinstance(error, PortalDenied) and error.everything)


def fetch_answers(portal: Portal, index: Index, questions: Iterable[Question]) -> None:
    """Bring into the index what the portal knows of these questions."""
    asked = list(questions)
    clients = find_by_email(portal, [question.key for question in asked if question.about == "client"])
    contacts = {contact.id: contact for client in clients.values() for contact in client.contacts}
    companies = {company.id: company for client in clients.values() for company in client.companies}
    leads = {lead.id: lead for client in clients.values() for lead in client.leads}
    company_ids = {number for client in clients.values() for number in client.company_ids}
    deals = deals_by_id(portal, _numbers(asked, "deal"))
    deals |= {deal.id: deal for deal in deals_of_clients(portal, sorted(contacts), sorted(company_ids))}
    _add_clients_of(portal, deals.values(), contacts, companies)
    letters = activities_by_id(portal, _numbers(asked, "activity")).values()
    generation = index.generation()
    with index.writing():
        index.put_companies(list(companies.values()), generation)
        index.put_contacts(list(contacts.values()), generation)
        index.put_leads(list(leads.values()), generation)
        index.put_deals(list(deals.values()), generation)
        index.put_sent_letters(letter for letter in letters if letter.direction is Direction.OUTGOING)


def _add_clients_of(
    portal: Portal, deals: Iterable[Deal], contacts: dict[int, Contact], companies: dict[int, Company]
) -> None:
    """The contacts and companies of these deals: `sender_check` asks whose client a sender is."""
    deals = list(deals)
    missing = {number for deal in deals for number in deal.contact_ids} - contacts.keys()
    contacts.update(contacts_by_id(portal, sorted(missing)))
    wanted = {deal.company_id for deal in deals if deal.company_id}
    wanted |= {number for contact in contacts.values() for number in contact.company_ids}
    companies.update(companies_by_id(portal, sorted(wanted - companies.keys())))


def _tell(number: int, new: NewMessage) -> None:
    event(
        logger,
        logging.INFO,
        "message.decided_again",
        id=number,
        outcome=new.decision.outcome.value,
        target=str(new.decision.target or "-"),
        rule=new.decision.rule,
        review=new.decision.review,
        state=new.state.value,
    )


def _again(
    message: StoredMessage, folder: WatchedFolder | None, journal: Journal, knowledge: Knowledge
) -> NewMessage:
    """The message with a second decision; without its folder's configuration the first one stands."""
    decision = message.decision
    if folder:
        copies = journal.messages.copies(message.mailbox, message.envelope, message.internal_date)
        letter = folder.letter(
            message.envelope, message.internal_date, recent=_recent(message, folder, journal)
        )
        letter = together(letter, [copy.envelope for copy in copies])
        decision = decide(letter, knowledge, folder.policy)
    new = NewMessage(
        uid=message.uid,
        direction=message.direction,
        envelope=message.envelope,
        decision=decision,
        internal_date=message.internal_date,
        size=message.size,
        seen=message.seen,
        state=message.state,
    )
    incoming = folder is None or folder.kind == "incoming"
    becomes_activity = incoming or message.direction is Direction.OUTGOING
    return standing(new, becomes_activity=becomes_activity, ask_portal=False)


def _recent(message: StoredMessage, folder: WatchedFolder, journal: Journal) -> int:
    """Letters between the two parties within the hour up to this one, itself included."""
    return journal.messages.exchange(
        message.mailbox,
        folder.pair_key(message.envelope),
        message.internal_date,
        message.envelope.date,
        folder.policy.loop.limit + 1,
    ).letters


def _numbers(questions: list[Question], about: str) -> list[int]:
    return sorted({int(question.key) for question in questions if question.about == about})
