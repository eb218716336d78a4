"""The portal's loose values, rows and batch forms, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.bitrix24 import commands, rows, values, writes
from imaprouter.bitrix24.commands import Command
from imaprouter.bitrix24.failures import failure
from imaprouter.errors import PortalError, PortalRefused
from imaprouter.log import mask
from imaprouter.model import Activity, Binding, Company, Contact, Deal, Direction, Lead, User

MOSCOW = timezone(timedelta(hours=3))

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

#: As the portal's documentation shows a synced letter (rest.md 2.3).
INCOMING = {
    "ID": "7685",
    "OWNER_ID": "1000977",
    "OWNER_TYPE_ID": "1",
    "TYPE_ID": "4",
    "PROVIDER_ID": "CRM_EMAIL",
    "PROVIDER_TYPE_ID": "EMAIL_COMPRESSED",
    "SUBJECT": "Re: КП \N{HUNDRED POINTS SYMBOL}",
    "CREATED": "2025-03-10T10:57:41+03:00",
    "LAST_UPDATED": "2025-03-10T10:57:41+03:00",
    "START_TIME": "2025-03-10T10:57:34+03:00",
    "COMPLETED": "N",
    "RESPONSIBLE_ID": "29",
    "DIRECTION": "1",
    "SETTINGS": {
        "EMAIL_META": {
            "__email": "Some_Email@gmail.com",
            "from": "Иванов, Сергей <Sergey@Horns.ru>",
            "replyTo": "",
            "to": '"some_email@gmail.com" <some_email@gmail.com>, Маша <masha@company.ru>',
            "cc": "undisclosed-recipients:;",
            "bcc": "",
        },
        "SANITIZE_ON_VIEW": 1,
    },
    "ORIGINATOR_ID": None,
    "ORIGIN_ID": None,
}


def test_an_incoming_letter_is_read_as_the_portal_shows_it() -> None:
    assert rows.activity(INCOMING) == Activity(
        id=7685,
        mailbox_email="some_email@gmail.com",
        direction=Direction.INCOMING,
        subject="Re: КП \N{HUNDRED POINTS SYMBOL}",
        start_time=datetime(2025, 3, 10, 7, 57, 34, tzinfo=UTC),
        created_at=datetime(2025, 3, 10, 7, 57, 41, tzinfo=UTC),
        updated_at=datetime(2025, 3, 10, 7, 57, 41, tzinfo=UTC),
        owner=Binding(1, 1000977),
        responsible_id=29,
        completed=False,
        from_=frozenset({"sergey@horns.ru"}),
        to=frozenset({"some_email@gmail.com", "masha@company.ru"}),
    )


def test_a_letter_sent_by_the_crm_has_its_message_id() -> None:
    headers = {"Message-Id": "<crm.activity.123-ABC123@company.bitrix24.ru>", "Reply-To": "m@company.ru"}
    row = {**INCOMING, "DIRECTION": "2", "COMPLETED": "Y", "SETTINGS": {"MESSAGE_HEADERS": headers}}
    activity = rows.activity(row)
    assert activity.message_id == "crm.activity.123-abc123@company.bitrix24.ru"
    assert (activity.direction, activity.completed) == (Direction.OUTGOING, True)


def test_settings_that_are_an_empty_list_leave_an_activity_without_addresses() -> None:
    activity = rows.activity({**INCOMING, "SETTINGS": [], "OWNER_ID": None})
    assert (activity.mailbox_email, activity.from_, activity.owner) == ("", frozenset(), None)


def test_rows_of_crm_objects() -> None:
    multifield = [{"ID": "215", "VALUE_TYPE": "WORK", "VALUE": " Info@Horns.RU ", "TYPE_ID": "EMAIL"}]
    assert rows.company({"ID": "10", "TITLE": "Рога", "ASSIGNED_BY_ID": "5", "EMAIL": multifield}) == Company(
        10, "Рога", 5, ("info@horns.ru",)
    )
    assert rows.contact({"ID": "20", "NAME": "Сергей", "LAST_NAME": "Иванов", "COMPANY_ID": "10"}) == Contact(
        20, "Сергей Иванов", 0, (10,), first_name="Сергей", last_name="Иванов"
    )
    assert rows.lead({"ID": "3", "STATUS_SEMANTIC_ID": "S", "COMPANY_ID": "0", "CONTACT_ID": None}) == Lead(
        3, semantic="S"
    )
    assert rows.user({"ID": "5", "EMAIL": "Masha@company.ru", "NAME": "Мария", "ACTIVE": False}) == User(
        5, "Мария", "masha@company.ru", active=False
    )
    assert rows.deal(
        {
            "id": 1,
            "title": "Продажа",
            "categoryId": 0,
            "stageId": "NEW",
            "stageSemanticId": "P",
            "isRecurring": "N",
            "assignedById": 5,
            "companyId": 0,
            "contactId": 20,
            "contactIds": [20, 21],
            "leadId": None,
            "createdTime": "2026-01-10T10:00:00+03:00",
            "updatedTime": "2026-01-12T10:00:00+03:00",
            "lastActivityTime": "",
        }
    ) == Deal(
        1,
        "Продажа",
        stage_id="NEW",
        responsible_id=5,
        contact_ids=(20, 21),
        created_at=datetime(2026, 1, 10, 10, tzinfo=MOSCOW),
        modified_at=datetime(2026, 1, 12, 10, tzinfo=MOSCOW),
    )


def test_bindings_are_read_in_both_spellings_and_keep_their_order() -> None:
    camel = [{"entityTypeId": 3, "entityId": 7}, {"entityTypeId": 2, "entityId": 5}]
    upper = [{"ENTITY_TYPE_ID": "3", "ENTITY_ID": "7"}, {"ENTITY_TYPE_ID": "2", "ENTITY_ID": "5"}]
    assert rows.bindings(camel) == rows.bindings(upper) == (Binding(3, 7), Binding(2, 5))
    assert rows.bindings([]) == rows.bindings(None) == ()


@given(json_like)
def test_no_value_of_the_portal_breaks_a_row(value: Any) -> None:
    row = dict.fromkeys(
        [*rows.ACTIVITY_FIELDS, *rows.DEAL_FIELDS, *rows.CONTACT_FIELDS, "ACTIVE", "TITLE"], value
    )
    for parse in (rows.activity, rows.deal, rows.contact, rows.company, rows.lead, rows.user):
        parse(row)
    rows.activity({"SETTINGS": {"EMAIL_META": row | {"from": value, "to": value, "__email": value}}})
    rows.activity({"SETTINGS": {"MESSAGE_HEADERS": {"Message-Id": value}}})
    rows.bindings(value)
    when = values.moment(value)
    assert when is None or when.tzinfo is not None


@given(st.text(st.characters()))
def test_texts_hold_no_half_characters(text: str) -> None:
    values.text(text).encode()


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("12", 12),
        (12, 12),
        (12.0, 12),
        (" 7 ", 7),
        ("", 0),
        (None, 0),
        (False, 0),
        ("x", 0),
        ("١", 0),
        ([], 0),
    ],
)
def test_integers_arrive_in_many_forms(value: Any, number: int) -> None:
    assert values.integer(value) == number


def test_a_time_without_offset_is_no_instant() -> None:
    assert values.moment("2026-01-10T10:00:00") is None
    assert values.moment("24.08.2023 13:19:39") is None
    assert values.moment({}) is None


names = st.text(st.characters(codec="utf-8", exclude_characters="[]="), min_size=1, max_size=6)
params = st.dictionaries(
    names,
    st.text(st.characters(codec="utf-8")) | st.dictionaries(names, st.integers(), min_size=1),
    max_size=4,
)


@given(params)
def test_a_command_survives_url_parsing(given_params: dict[str, Any]) -> None:
    """What PHP reads out of the query is what was put in, whatever characters it has."""
    _, _, query = str(Command("m", given_params)).partition("?")
    expected = {
        (f"{name}[{inner}]" if isinstance(item, dict) else name): str(content)
        for name, item in given_params.items()
        for inner, content in (item.items() if isinstance(item, dict) else [("", item)])
    }
    assert dict(parse_qsl(query, keep_blank_values=True)) == expected
    assert query.isascii()
    assert "#" not in query


def test_a_command_writes_lists_flags_dates_and_references_as_php_wants_them() -> None:
    command = Command(
        "crm.activity.list",
        {
            "select": ("ID", "SUBJECT"),
            "filter": {
                ">ID": commands.reference(3, 49, "ID"),
                ">=CREATED": datetime(2026, 1, 1, tzinfo=MOSCOW),
            },
            "flag": True,
            "none": None,
        },
    )
    assert parse_qsl(str(command).partition("?")[2]) == [
        ("select[0]", "ID"),
        ("select[1]", "SUBJECT"),
        ("filter[>ID]", "$result[c3][49][ID]"),
        ("filter[>=CREATED]", "2026-01-01T00:00:00+03:00"),
        ("flag", "1"),
    ]


def refused(code: str, message: str = "") -> PortalError:
    return PortalRefused(message, code=code)


def test_refusals_that_mean_that_nothing_is_left_to_do() -> None:
    add = writes.add(1, Binding(2, 5))
    delete = writes.delete(1, Binding(2, 5))
    move = writes.move(1, Binding(2, 5), Binding(2, 6))
    assert writes.already_so(add, refused("ACTIVITY_IS_ALREADY_BOUND"))
    assert writes.already_so(move, refused("ACTIVITY_IS_ALREADY_BOUND"))
    assert writes.already_so(delete, refused("BINDING_NOT_FOUND"))
    assert not writes.already_so(move, refused("BINDING_NOT_FOUND"))
    assert not writes.already_so(delete, refused("LAST_BINDING_CANNOT_BE_DELETED"))
    assert not writes.already_so(add, refused(""))


@pytest.mark.parametrize("suffix", ["", "_ERROR"])
def test_both_spellings_of_the_move_errors_are_known(suffix: str) -> None:
    move = writes.move(1, Binding(2, 5), Binding(2, 5))
    assert writes.already_so(move, refused(f"SOURCE_AND_TARGET_ENTITY_ID_ARE_EQUAL{suffix}"))
    assert not writes.already_so(move, refused(f"SOURCE_AND_TARGET_ENTITY_TYPES_ARE_NOT_EQUAL{suffix}"))


def test_the_move_errors_of_old_builds_are_known_by_their_fixed_text() -> None:
    move = writes.move(1, Binding(2, 5), Binding(2, 5))
    equal = refused("0", "crm.activity.binding.move: 0: Source and target entity ID cannot be equal")
    unequal = refused("0", "crm.activity.binding.move: 0: Source and target entity types are not equal")
    assert writes.already_so(move, equal)
    assert not writes.already_so(move, unequal)


def test_an_update_carries_nothing_that_could_move_a_binding() -> None:
    for command in (writes.stamp(1, "x"), writes.set_responsible(1, 5)):
        assert not {"OWNER_ID", "OWNER_TYPE_ID", "BINDINGS", "COMMUNICATIONS", "SETTINGS"} & set(
            command.params["fields"]
        )


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("POST https://a.ru/rest/1/c0de/profile 200", "POST https://a.ru/rest/1/***/profile 200"),
        ("https://a.ru/rest/api/1/c0de/x", "https://a.ru/rest/api/1/***/x"),
        ("[(b'Location', b'https://a.ru/rest/1/c0de')]", "[(b'Location', b'https://a.ru/rest/1/***')]"),
        ("https://a.ru/rest/profile", "https://a.ru/rest/profile"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_what_people_are_shown_of_the_crm_is_inert() -> None:
    """A lead's title is a stranger's subject, a contact's name his display name."""
    written = "\x1b[2J\u202egnp.\r\nexe"
    lead = rows.lead({"ID": "1", "TITLE": written})
    contact = rows.contact({"ID": "2", "NAME": written, "LAST_NAME": "\x07"})
    assert lead == Lead(1, title="[2Jgnp. exe")
    assert contact == Contact(2, name="[2Jgnp. exe", first_name="[2Jgnp. exe")
    error = failure(
        "crm.item.list", 400, {"error": f"NO{written}", "error_description": written}, datetime.now(UTC)
    )
    assert str(error) == "crm.item.list: NO[2Jgnp. exe: [2Jgnp. exe"
