"""Faults of the portal, of the line to it and of those who work in it; how each ends is in `case`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from faults.harness import Site
from faults.laws import MISSING, REVIEW, Fate
from faults.proxy import Proxy
from imaprouter.model import Binding, State, deal
from imaprouter.sandbox.faults import Kind
from imaprouter.sandbox.limits import Limits

MakeSite = Callable[..., Site]

LIST, MOVE, UPDATE, NOTIFY = (
    "crm.activity.binding.list",
    "crm.activity.binding.move",
    "crm.activity.update",
    "im.notify.system.add",
)

ANSWERS: list[Kind] = [
    "http_500_html",
    "http_502_html",
    "http_504_after",
    "internal_500",
    "limit_503",
    "operating_429",
    "http_403_html",
    "timeout_before",
    "timeout_after",
    "close_before",
    "close_after",
    "truncated_json",
]


@pytest.mark.parametrize("kind", ANSWERS)
def test_answer(site: Site, kind: Kind) -> None:
    """Each step of two corrections meets it once, executed or not, and so do two requests of any kind."""
    with site.case():
        site.post("moved", "moved", "right")
        for method in (LIST, MOVE, UPDATE, NOTIFY):
            site.portal.faults.add(kind, method=method)
        site.portal.faults.add(kind, times=2)
        site.sync.sync_once()
        site.until(site.book.caught_up)


@pytest.mark.parametrize("method", [LIST, MOVE, UPDATE, NOTIFY])
@pytest.mark.parametrize("code", ["OPERATION_TIME_LIMIT", "QUERY_LIMIT_EXCEEDED"])
def test_limit_of_one_command(site: Site, method: str, code: str) -> None:
    """Inside a batch that is answered: nothing of that command was executed."""
    with site.case():
        site.portal.faults.add("command_error", method=method, code=code, times=2)
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)


@pytest.mark.parametrize("after", [0, 60, 400], ids=lambda after: f"{after}_bytes")
def test_connection_cut_after_execution(site: Site, after: int) -> None:
    """Before the answer, in its head, in its body."""
    with site.case():
        site.rest.cut(after, behind=b"binding.move")
        site.post()
        site.sync.sync_once()
        site.until(lambda: site.rest.cuts)


def test_half_open(site: Site) -> None:
    """Packets are swallowed while a move is under way."""
    with site.case():
        site.rest.cut(0, behind=b"binding.move", silent=True)
        site.post()
        site.sync.sync_once()
        site.until(lambda: any(event["event"] in ("binder.failed", "portal.retry") for event in site.news()))


def test_nothing_listens(site: Site) -> None:
    with site.case():
        site.rest.refusing = True
        site.rest.rst()
        site.post()
        site.sync.sync_once()
        site.until_said("binder.failed")


BODIES = [
    "",
    "7",
    "null",
    "[]",
    '"yes"',
    '{"result":null}',
    '{"result":7}',
    '{"result":[]}',
    '{"result":{}}',
    '{"result":[[]]}',
    '{"result":{"result":7}}',
    '{"result":{"items":7}}',
    '{"error":7}',
    '{"error":{"code":7}}',
    "<html>",
]


@pytest.mark.parametrize("body", BODIES)
def test_wrong_types(site: Site, body: str) -> None:
    """Status 200, and JSON of another shape, for a second of everything that is asked."""
    with site.case():
        site.post()
        site.sync.sync_once()
        site.rest.mangle = _instead(body.encode())
        asked = len(site.portal.requests)
        site.until(lambda: len(site.portal.requests) > asked + 3)


def _instead(body: bytes) -> Callable[[bytes], bytes]:
    """Put `body` in the place of the body of each answer, filled up with blanks."""

    def mangle(data: bytes) -> bytes:
        head, end, _ = data.partition(b"\r\n\r\n")
        if not data.startswith(b"HTTP/"):
            head, end = b"", b""
        length = len(data) - len(head) - len(end)
        return head + end + (body.ljust(length) if length >= len(body) else b" " * length)

    return mangle


RESULTS = [7, "yes", None, {}, [], [7]]


@pytest.mark.parametrize("result", RESULTS, ids=repr)
@pytest.mark.parametrize("method", [LIST, MOVE, UPDATE, NOTIFY])
def test_wrong_types_of_one_command(site: Site, method: str, result: object) -> None:
    """Inside a batch that is well; nothing of the command was executed, and nobody has said so."""
    with site.case():
        site.portal.faults.add("wrong_result", method=method, result=result, times=2)
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)


def test_redirected_elsewhere(site: Site) -> None:
    """To a page that is not REST, on another port: nobody calls there, and mail is decided meanwhile."""
    with site.case(), Proxy(site.rest.port) as elsewhere:
        answer = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{elsewhere.port}/login/\r\n"
        answer += "Content-Length: 0\r\n\r\n"
        site.rest.mangle = lambda data: answer.encode() if data.startswith(b"HTTP/") else b""
        site.post()
        site.sync.sync_once()
        site.until_said("binder.failed", 2)
        site.rest.heal()
        site.until(site.book.caught_up)
        assert elsewhere.connections == 0


def test_renamed(site: Site) -> None:
    """302 to a new address: the call is posted there, and so are those that follow."""
    with site.case():
        site.portal.faults.add("rename_302", times=None)
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)


def test_unauthorised_for_a_while(site: Site) -> None:
    """The webhook's creator was dismissed by mistake: mail is decided meanwhile, nothing is given up."""
    with site.case():
        site.portal.faults.add(
            "error", status=401, code="INVALID_CREDENTIALS", text="Invalid request credentials", times=None
        )
        site.post()
        site.sync.sync_once()
        for message_id in list(site.book.fates)[-3:]:
            site.until_known(message_id)
        site.until_said("binder.failed", 3)


def test_unauthorised_from_the_start(make_site: MakeSite) -> None:
    """Letters are not decided against an index that was never filled; they wait on the server."""
    site = make_site()
    site.portal.faults.add("error", status=401, code="INVALID_CREDENTIALS", times=None)
    with site.case(warm=False):
        site.post()
        site.until_said("index.refresh_failed", 2)
        assert site.messages() == []


def test_rights_taken_from_one_deal(site: Site) -> None:
    """Deal 1 may not be edited: visible as failed, the others go on; with the right it is done."""
    with site.case():
        site.portal.crm.read_only.add((2, 1))
        site.post()
        site.sync.sync_once()
        site.until(lambda: any(message.state is State.FAILED for message in site.messages()))
        site.post("right", "question")
        site.sync.sync_once()
        for message_id in list(site.book.fates)[-2:]:
            site.until_known(message_id)
        site.portal.crm.read_only.clear()


def test_deal_of_the_activity_is_hidden(site: Site) -> None:
    """No list shows an activity whose owner may not be read: it is waited for, and found when it may."""
    with site.case():
        site.portal.crm.hidden.add((2, 2))
        site.post()
        site.sync.sync_once()
        for message_id in list(site.book.fates)[-3:]:
            site.until_known(message_id)
        asked, written = len(site.portal.requests), len(site.portal.writes)
        site.until(lambda: len(site.portal.requests) > asked + 3)
        assert len(site.portal.writes) == written
        site.portal.crm.hidden.clear()


def test_contact_of_the_activity_is_hidden(site: Site) -> None:
    """What is not shown among the bindings stays bound."""
    with site.case():
        site.portal.crm.hidden.add((3, 20))
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)
        site.portal.crm.hidden.clear()


def test_target_is_hidden(make_site: MakeSite) -> None:
    """Nothing tells it from one that was deleted: a person decides."""
    site = make_site()
    with site.case():
        raw, _ = site.written("moved")
        site.book.post(raw, REVIEW)
        site.until_known(site.book.expect(raw, REVIEW))
        site.portal.crm.hidden.add((2, 1))
        site.sync.sync_once()
        site.until(site.book.caught_up)


def test_bindings_may_not_be_read(site: Site) -> None:
    """Visible as failed, and done when they may."""
    with site.case():
        site.portal.faults.add("command_error", method=LIST, code="ACCESS_DENIED", times=None)
        site.post()
        site.sync.sync_once()
        site.until(lambda: any(message.state is State.FAILED for message in site.messages()))


def test_activity_deleted_before_it_was_bound(site: Site) -> None:
    with site.case():
        site.post("right", "question")
        raw, _ = site.written("moved")
        site.book.post(raw, Fate())
        number = _imported_unseen(site)
        site.rest.meanwhile(_call(LIST, number), lambda: site.portal.crm.delete_activity(number))
        site.rest.resume()
        site.until(site.book.caught_up)


def test_deal_deleted_between_decision_and_binding(make_site: MakeSite) -> None:
    """An administrator's webhook could bind to it all the same: a person decides instead."""
    site = make_site()
    with site.case():
        raw, _ = site.written("moved")
        site.book.post(raw, REVIEW)
        site.until_known(site.book.expect(raw, REVIEW))
        site.portal.crm.delete(2, 1)
        site.post("right")
        site.sync.sync_once()


def test_activity_before_the_mail(site: Site) -> None:
    """The portal was faster."""
    with site.case():
        site.mail.pause()
        site.post()
        site.sync.sync_once()
        asked = len(site.portal.requests)
        site.until(lambda: len(site.portal.requests) > asked + 2)


def test_activity_late(site: Site) -> None:
    """The message has waited through many polls."""
    with site.case():
        site.post()
        for message_id in list(site.book.fates)[-3:]:
            site.until_known(message_id)
        asked = len(site.portal.requests)
        site.until(lambda: len(site.portal.requests) > asked + 5)


@pytest.mark.parametrize("kind", ["moved", "right"])
def test_activity_twice(site: Site, kind: str) -> None:
    """The portal makes two of one mail: both end in the right deal, and one notification is sent."""
    with site.case():
        site.post("moved" if kind == "moved" else "right")
        site.sync.sync_once()
        site.until(site.book.caught_up)
        twin = site.book.repeat(max(site.book.landings))
        wanted = 1 if kind == "moved" else 2
        site.until(lambda: site.deals(twin) == [wanted])


def test_activity_twice_at_once(site: Site) -> None:
    """Both are there before the message is paired."""
    with site.case():
        site.rest.pause()
        site.post("moved")
        site.sync.sync_once()
        twin = site.book.repeat(max(site.book.landings))
        site.rest.resume()
        site.until(lambda: site.deals(twin) == [1])


def test_activity_never(make_site: MakeSite) -> None:
    """Missing after binding.wait, which a person is told; corrected when it comes after all."""
    site = make_site()
    site.options["binding.wait"] = "'2s'"
    with site.case():
        raw, fate = site.written("moved")
        never, _ = site.written("moved")
        site.book.post(raw, fate)
        site.book.post(never, MISSING)
        site.sync.hold = lambda letter: True
        site.until(lambda: [message.state for message in site.messages()].count(State.MISSING) == 2)
        assert site.said("message.missing") == 2
        site.sync.hold = lambda letter: letter.message_id.strip("<>") == site.book.expect(never, MISSING)


@pytest.mark.parametrize(("minutes", "zone"), [(-10, 12), (10, -8)], ids=["behind", "ahead"])
def test_clock_and_zone_of_the_portal(make_site: MakeSite, minutes: int, zone: int) -> None:
    """The portal's clock is ten minutes off, its zone another continent's."""

    def clock() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=minutes)

    site = make_site(clock=clock, zone=timedelta(hours=zone))
    with site.case():
        site.post()


def test_limits_of_a_small_plan(make_site: MakeSite) -> None:
    """The portal's bucket is smaller than we were told: 503s until all is done, and no call is lost."""
    site = make_site(limits=Limits(burst=3, per_second=4))
    with site.case():
        site.post()
        site.post()
        site.sync.sync_once()
        site.until(site.book.caught_up)


@pytest.mark.parametrize(("method", "bound"), [(LIST, 2), (MOVE, 2), (UPDATE, 1)])
def test_another_integration_binds_at_the_same_time(site: Site, method: str, bound: int) -> None:
    """Just before we read, before our move, behind it: it has the last word, and no fight."""
    with site.case():
        raw, _ = site.written("moved")
        # Once our move is confirmed, the responsible is told in the request that stamps.
        target = deal(1) if method == UPDATE else None
        site.book.post(raw, Fate(target, by_hand=(Binding(3, 20), Binding(2, 3))))
        number = _imported_unseen(site)
        hand = site.portal.crm.move_by_hand
        site.rest.meanwhile(_call(method, number), lambda: hand(number, (2, bound), (2, 3)))
        site.rest.resume()
        site.until(site.book.caught_up)


def test_somebody_adds_a_deal_between_our_read_and_our_move(site: Site) -> None:
    """The owner is ours afterwards, and does not tell: the next look at what changed does."""
    with site.case():
        raw, _ = site.written("moved")
        site.book.post(raw, Fate(deal(1), by_hand=(Binding(3, 20), Binding(2, 3), Binding(2, 1))))
        number = _imported_unseen(site)
        crm = site.portal.crm
        site.rest.meanwhile(
            _call(MOVE, number), lambda: crm.bind_by_hand(number, *crm.bindings(number), (2, 3))
        )
        site.rest.resume()
        site.until(site.book.caught_up)
        site.until_said("message.overruled")
        assert sorted(site.deals(number)) == [1, 3]


def _imported_unseen(site: Site) -> int:
    """Let the portal import the mail while it cannot be asked; returns the number of the last activity."""
    site.rest.pause()
    site.sync.sync_once()
    return max(site.book.landings)


def _call(method: str, number: int) -> bytes:
    """How a batch names this call for this activity."""
    name = "id" if method == UPDATE else "activityId"
    return f"{method}?{name}={number}".encode()


def test_another_integration_undoes_what_we_did(site: Site) -> None:
    """Deal 2 again, each time: its choice stays, and we do not write a second time."""
    with site.case():
        raw, _ = site.written("moved")
        site.book.post(raw, Fate(deal(1), by_hand=(Binding(3, 20), Binding(2, 2))))
        site.sync.sync_once()
        number = max(site.book.landings)
        site.until(lambda: site.deals(number) == [1])
        site.until(site.book.caught_up)
        site.portal.crm.move_by_hand(number, (2, 1), (2, 2))
        site.until_said("message.overruled")
        moves = [write for write in site.portal.writes if write.method == MOVE]
        assert [str(write.params["activityId"]) for write in moves].count(str(number)) == 1


def test_everything_at_once(site: Site) -> None:
    """The portal answers every second request with another fault while mail comes in."""
    with site.case():
        kinds = [kind for kind in ANSWERS if not kind.startswith("timeout")]
        for _ in range(12):
            site.portal.faults.add(site.random.choice(kinds), skip=1)
        for _ in range(4):
            site.post()
            site.sync.sync_once()
        site.until(site.book.caught_up)
