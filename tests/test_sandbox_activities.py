"""Activities and notifications of the simulated portal: rest.md 2.4 to 2.6 and 5.1, mail-internals 6."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sandbox_company import COMPANY, CONTACT, DEAL, LEAD, Caller, Clock, running

from imaprouter.sandbox.bindings import Pair
from imaprouter.sandbox.quirks import Quirks

ADD, DELETE = "crm.activity.binding.add", "crm.activity.binding.delete"


@pytest.fixture
def portal() -> Iterator[Caller]:
    with running() as caller:
        yield caller


def _letter(caller: Caller, *bindings: Pair, **fields: Any) -> int:
    return caller.portal.crm.add_activity({"SUBJECT": "КП", **fields}, bindings or [(DEAL, 1)])


def _target(pair: Pair) -> dict[str, int]:
    return {"entityTypeId": pair[0], "entityId": pair[1]}


# Reading


def test_get_shows_strings_nulls_and_empty_lists(portal: Caller) -> None:
    """rest.md 2.3."""
    row = portal.ok("crm.activity.get", id=_letter(portal))
    assert (row["ID"], row["TYPE_ID"], row["OWNER_TYPE_ID"], row["RESPONSIBLE_ID"]) == ("1", "4", "2", "5")
    assert (row["PROVIDER_ID"], row["DEADLINE"]) == ("CRM_EMAIL", "9999-12-31T00:00:00+03:00")
    assert (row["ORIGIN_ID"], row["SETTINGS"], row["PROVIDER_PARAMS"]) == (None, [], [])
    assert not {"BINDINGS", "COMMUNICATIONS", "IS_INCOMING_CHANNEL", "URN", "UF_MAIL_MESSAGE"} & set(row)


def test_list_selects(portal: Caller) -> None:
    """SETTINGS by default, COMMUNICATIONS and IS_INCOMING_CHANNEL by name, BINDINGS never."""
    communication = {"TYPE": "EMAIL", "VALUE": "sergey@horns.ru", "ENTITY_TYPE_ID": CONTACT, "ENTITY_ID": 20}
    _letter(portal, COMMUNICATIONS=[communication], SETTINGS={"EMAIL_META": {"from": "a"}})
    plain = portal.ok("crm.activity.list")[0]
    assert plain["SETTINGS"] == {"EMAIL_META": {"from": "a"}}
    assert not {"COMMUNICATIONS", "FILES", "BINDINGS", "IS_INCOMING_CHANNEL"} & set(plain)
    chosen = portal.ok(
        "crm.activity.list", select=["ID", "COMMUNICATIONS", "BINDINGS", "IS_INCOMING_CHANNEL"]
    )[0]
    assert set(chosen) == {"ID", "COMMUNICATIONS", "IS_INCOMING_CHANNEL"}
    shown = chosen["COMMUNICATIONS"][0]
    assert (shown["ENTITY_ID"], shown["VALUE"]) == ("20", "sergey@horns.ru")
    assert shown["ENTITY_SETTINGS"]["COMPANY_TITLE"] == "Рога и Копыта"
    assert "SUBJECT" in portal.ok("crm.activity.list", select=["*", "COMMUNICATIONS"])[0]


def test_list_is_ordered_by_start_time_unless_told(portal: Caller) -> None:
    late = _letter(portal, START_TIME="2026-03-02T12:00:00+03:00")
    early = _letter(portal, START_TIME="2026-03-01T12:00:00+03:00")
    assert [row["ID"] for row in portal.ok("crm.activity.list")] == [str(early), str(late)]
    by_id = portal.ok("crm.activity.list", order={"ID": "ASC"}, select=["ID"])
    assert by_id == [{"ID": str(late)}, {"ID": str(early)}]


def test_list_filters_by_instant_and_drops_unknown_keys(portal: Caller) -> None:
    """mail-internals 7.2."""
    number = _letter(
        portal, START_TIME="2026-03-02T12:00:00+03:00", ORIGINATOR_ID="imaprouter", ORIGIN_ID="ab"
    )
    _letter(portal, (COMPANY, 10))
    same_instant = portal.ok("crm.activity.list", filter={"START_TIME": "2026-03-02T09:00:00+00:00"})
    assert [row["ID"] for row in same_instant] == [str(number)]
    stamped = portal.ok("crm.activity.list", filter={"ORIGINATOR_ID": "imaprouter", "ORIGIN_ID": "ab"})
    assert [row["ID"] for row in stamped] == [str(number)]
    for key in ("URN", "UF_MAIL_MESSAGE", "PARENT_ID", "LOGIC", "BINDING_OWNER_ID", "subject"):
        assert len(portal.ok("crm.activity.list", filter={key: "x"})) == 2
    assert len(portal.ok("crm.activity.list", filter={"OWNER_TYPE_ID": COMPANY, "OWNER_ID": 10})) == 1


def test_filter_by_bindings(portal: Caller) -> None:
    """rest.md 2.4: a list of pairs, ORed, with duplicates; what is unusable disappears altogether."""
    _letter(portal, (DEAL, 1), (COMPANY, 10))
    _letter(portal, (DEAL, 2))

    def found(condition: Any) -> list[str]:
        rows = portal.ok("crm.activity.list", filter={"BINDINGS": condition}, order={"ID": "ASC"})
        return [row["ID"] for row in rows]

    deal, company = {"OWNER_TYPE_ID": DEAL, "OWNER_ID": 1}, {"OWNER_TYPE_ID": COMPANY, "OWNER_ID": 10}
    assert found([deal]) == ["1"]
    assert found([deal, company]) == ["1", "1"]
    assert found([{"OWNER_TYPE_ID": DEAL}]) == ["1", "2"]
    assert found([{"OWNER_ID": 1}]) == found(deal) == found([]) == ["1", "2"]
    body = portal.body("crm.activity.list", filter={"BINDINGS": [deal, company]})
    assert body["total"] == 2


@pytest.mark.parametrize(("provider", "hits"), [("EMAIL", 1), ("EMAIL_COMPRESSED", 0)])
def test_compressed_description_is_searched_by_its_preview(provider: Any, hits: int) -> None:
    """rest.md 2.3, and the two PROVIDER_ columns come along."""
    body = f"<div>{'x' * 250} needle</div>"
    with running(quirks=Quirks(provider_type=provider)) as caller:
        _letter(caller, DESCRIPTION=body)
        assert len(caller.ok("crm.activity.list", filter={"%DESCRIPTION": "needle"})) == hits
        row = caller.ok("crm.activity.list", select=["DESCRIPTION"])[0]
        assert row["DESCRIPTION"] == body
        assert ("PROVIDER_TYPE_ID" in row) is (provider == "EMAIL_COMPRESSED")


@pytest.mark.parametrize(("empty", "text"), [(True, ""), (False, "Activity is not found")])
def test_get_of_a_missing_activity(empty: bool, text: str) -> None:
    """rest.md 2.5."""
    with running(quirks=Quirks(empty_text_on_get=empty)) as caller:
        answer = caller.raw("crm.activity.get", id=77)
        assert (answer.status_code, answer.json()) == (400, {"error": "", "error_description": text})
        assert caller.body("crm.activity.get")["error_description"] == "ID is not defined or invalid."


def test_activities_of_hidden_owners_are_invisible_to_all_but_the_responsible(portal: Caller) -> None:
    """mail-internals 7.1: other bindings give no access."""
    _letter(portal, (DEAL, 1), (COMPANY, 10))
    mine = _letter(portal, (DEAL, 1), RESPONSIBLE_ID=1)
    portal.portal.crm.hidden.add((DEAL, 1))
    assert [row["ID"] for row in portal.ok("crm.activity.list")] == [str(mine)]
    assert portal.refused("crm.activity.get", id=1) == (400, "")


# crm.activity.update, rest.md 2.6


def test_update_writes_stamps_and_leaves_the_editor() -> None:
    clock = Clock()
    with running(clock=clock) as caller:
        number = _letter(caller, RESPONSIBLE_ID=5, AUTHOR_ID=1)
        clock.tick(60)
        fields = {"RESPONSIBLE_ID": 6, "ORIGINATOR_ID": "imaprouter", "ORIGIN_ID": "abc", "COMPLETED": "Y"}
        assert caller.ok("crm.activity.update", id=number, fields=fields) is True
        row = caller.ok("crm.activity.get", id=number)
        assert (row["RESPONSIBLE_ID"], row["ORIGIN_ID"], row["STATUS"]) == ("6", "abc", "2")
        assert (row["EDITOR_ID"], row["CREATED"]) == ("5", "2026-03-02T12:30:00+03:00")
        assert row["LAST_UPDATED"] == "2026-03-02T12:31:00+03:00"
        assert caller.portal.notifications == []


def test_update_removes_what_cannot_be_changed_in_silence(portal: Caller) -> None:
    number = _letter(portal)
    fields = {"OWNER_ID": 2, "BINDINGS": [], "AUTHOR_ID": 6, "ID": 9, "TYPE_ID": 1, "PRIORITY": 3}
    assert portal.ok("crm.activity.update", id=number, fields=fields) is True
    row = portal.ok("crm.activity.get", id=number)
    assert (row["OWNER_ID"], row["TYPE_ID"], row["PRIORITY"]) == ("1", "4", "3")
    assert portal.refused("crm.activity.update", id=number, fields={"OWNER_ID": 2}) == (400, "")


def test_communications_rebuild_the_bindings(portal: Caller) -> None:
    number = _letter(portal, (DEAL, 1), (COMPANY, 10), (LEAD, 9))
    communication = {"TYPE": "EMAIL", "VALUE": "x@y.ru", "ENTITY_TYPE_ID": CONTACT, "ENTITY_ID": 20}
    portal.ok("crm.activity.update", id=number, fields={"COMMUNICATIONS": [communication]})
    assert portal.portal.crm.bindings(number) == [(DEAL, 1), (CONTACT, 20)]


def test_settings_are_replaced_whole(portal: Caller) -> None:
    number = _letter(portal, SETTINGS={"EMAIL_META": {"from": "a"}})
    portal.ok("crm.activity.update", id=number, fields={"SETTINGS": {"X": 1}})
    assert portal.ok("crm.activity.get", id=number)["SETTINGS"] == {"X": 1}


def test_update_needs_the_owner_and_an_existing_activity(portal: Caller) -> None:
    number = _letter(portal)
    fields = {"PRIORITY": 3}
    assert (
        portal.body("crm.activity.update", id=77, fields=fields)["error_description"]
        == "Activity is not found"
    )
    assert portal.refused("crm.activity.update", id=number, fields={"SUBJECT": ""}) == (400, "")
    assert portal.refused("crm.activity.update", id=number, fields={"RESPONSIBLE_ID": 0}) == (400, "")
    portal.portal.crm.read_only.add((DEAL, 1))
    assert (
        portal.body("crm.activity.update", id=number, fields=fields)["error_description"] == "Access denied."
    )
    assert portal.refused("crm.activity.delete", id=number) == (400, "")
    portal.portal.crm.read_only.clear()
    assert portal.ok("crm.activity.delete", id=number) is True
    assert portal.refused("crm.activity.get", id=number) == (400, "")


# Notifications, rest.md 5.1 and mail-internals 6


def test_each_notification_gets_an_id_whatever_its_tag(portal: Caller) -> None:
    call = {"USER_ID": 5, "MESSAGE": "Письмо", "TAG": "t"}
    first, second = portal.ok("im.notify.personal.add", **call), portal.ok("im.notify.system.add", **call)
    third = portal.ok("im.notify", user_id="6", message="x", type="SYSTEM")
    assert first < second < third
    seen = [
        (each.user_id, each.message, each.kind, each.from_user_id) for each in portal.portal.notifications
    ]
    assert seen == [(5, "Письмо", "personal", 1), (5, "Письмо", "system", 1), (6, "x", "system", 1)]


def test_notification_errors(portal: Caller) -> None:
    assert portal.refused("im.notify.personal.add", MESSAGE="x") == (400, "USER_ID_EMPTY")
    assert portal.refused("im.notify.system.add", USER_ID=5, MESSAGE=" ") == (400, "MESSAGE_EMPTY")
    assert portal.ok("im.notify.personal.add", USER_ID=99, MESSAGE="x") is False


# What tests look at


def test_writes_tell_every_state_changing_call(portal: Caller) -> None:
    number = _letter(portal, (DEAL, 1))
    portal.ok("crm.activity.list")
    portal.refused(DELETE, activityId=number, **_target((DEAL, 1)))
    query = f"activityId={number}&entityTypeId=2&entityId=2"
    portal.batch({"a": f"{ADD}?{query}", "l": f"crm.activity.binding.list?activityId={number}"})
    assert [(write.method, write.ok) for write in portal.portal.writes] == [(DELETE, False), (ADD, True)]


def test_a_person_moves_a_card_by_hand(portal: Caller) -> None:
    crm = portal.portal.crm
    number = _letter(portal, (DEAL, 1), (COMPANY, 10))
    crm.move_by_hand(number, (DEAL, 1), (DEAL, 3))
    assert crm.bindings(number) == [(COMPANY, 10), (DEAL, 3)]
    assert crm.owner(number) == (DEAL, 3)
    assert portal.portal.writes == []


def test_set_deal_closes_and_reopens(portal: Caller) -> None:
    portal.portal.crm.set_deal(1, STAGE_ID="WON")
    deal = portal.ok("crm.deal.get", id=1)
    assert (deal["STAGE_SEMANTIC_ID"], deal["CLOSED"]) == ("S", "Y")
    assert deal["DATE_MODIFY"] > "2026-01-12"
    portal.portal.crm.set_deal(1, STAGE_ID="NEW")
    assert portal.ok("crm.deal.get", id=1)["STAGE_SEMANTIC_ID"] == "P"


def test_a_letter_sent_from_the_crm(portal: Caller) -> None:
    """mail-internals 4: its Message-ID stands in SETTINGS, its URN nowhere."""
    number, message_id = portal.portal.crm.send_email(1, "sergey@horns.ru", "КП")
    row = portal.ok("crm.activity.get", id=number)
    assert message_id.startswith(f"<crm.activity.{number}-")
    assert row["SETTINGS"]["MESSAGE_HEADERS"]["Message-Id"] == message_id
    assert (row["DIRECTION"], row["COMPLETED"], row["OWNER_ID"]) == ("2", "Y", "1")
    assert portal.portal.crm.bindings(number) == [(DEAL, 1), (CONTACT, 20)]


def test_ids_are_never_given_twice(portal: Caller) -> None:
    """A cursor on ids would pass over the second one."""
    crm = portal.portal.crm
    first = _letter(portal)
    crm.delete_activity(first)
    assert _letter(portal) == first + 1
    crm.delete(DEAL, 4)
    assert crm.add(DEAL, {"TITLE": "new"}) == 5


def test_a_deleted_lead_takes_only_its_own_letters_with_it(portal: Caller) -> None:
    """rest.md 2.7."""
    crm = portal.portal.crm
    alone, shared = _letter(portal, (LEAD, 9)), _letter(portal, (LEAD, 9), (CONTACT, 20))
    crm.delete(LEAD, 9)
    assert alone not in crm.activities
    assert (crm.bindings(shared), crm.owner(shared)) == ([(CONTACT, 20)], (CONTACT, 20))


def test_a_snapshots_owner_need_not_be_its_first_binding() -> None:
    """After a move the owner is the last binding (rest.md 2.7)."""
    bindings = [{"OWNER_TYPE_ID": "3", "OWNER_ID": "20"}, {"OWNER_TYPE_ID": "2", "OWNER_ID": "1"}]
    activity = {"ID": "700", "OWNER_ID": "1", "OWNER_TYPE_ID": "2", "BINDINGS": bindings}
    with running(snapshot={"activities": [activity]}) as caller:
        assert caller.portal.crm.owner(700) == (DEAL, 1)
        assert caller.portal.crm.bindings(700) == [(CONTACT, 20), (DEAL, 1)]


def test_snapshot_activities_keep_their_bindings() -> None:
    bindings = [{"OWNER_TYPE_ID": "2", "OWNER_ID": "1"}, {"OWNER_TYPE_ID": "4", "OWNER_ID": "10"}]
    activities = [
        {"ID": "700", "OWNER_ID": "1", "OWNER_TYPE_ID": "2", "SUBJECT": "a"},
        {"ID": "701", "SUBJECT": "b", "BINDINGS": bindings, "RESPONSIBLE_ID": "6"},
    ]
    with running(snapshot={"activities": activities}) as caller:
        assert caller.portal.crm.bindings(700) == [(DEAL, 1)]
        assert caller.portal.crm.bindings(701) == [(DEAL, 1), (COMPANY, 10)]
        assert caller.ok("crm.activity.get", id=701)["RESPONSIBLE_ID"] == "6"
