"""`metrics.listen`: figures for Prometheus and /healthz over HTTP, for those who ask; no door otherwise."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dovecot import Dovecot
from office import CODE, Office, sample_letter
from prometheus_client.parser import text_string_to_metric_families
from test_tls import listening

from imaprouter.alerts import Kind, judged
from imaprouter.config import AlertSettings
from imaprouter.errors import ConfigError
from imaprouter.metrics import MetricsServer, Seen, View, families
from imaprouter.standing import FolderStanding, Part, PartKind, Pulse, Standing, Tally
from imaprouter.store.journal import Journal

NOW = datetime(2026, 11, 3, 9, tzinfo=UTC)
INBOX = Part(PartKind.FOLDER, "sales", "INBOX")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def get(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str]:
    """Status and body."""
    line = http.client.HTTPConnection(host, port, timeout=20)
    try:
        line.request(method, path)
        answer = line.getresponse()
        return answer.status, answer.read().decode()
    finally:
        line.close()


def figures(text: str) -> dict[tuple[str, str], float]:
    """Every sample by its name and its labels' values, a folder's as `sales/INBOX`."""
    return {
        (sample.name, "/".join(sample.labels[label] for label in sorted(sample.labels, reverse=True))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def office(tmp_path: Path, dovecot: Dovecot, user: str) -> Iterator[Office]:
    with Office(tmp_path, dovecot, user) as opened:
        yield opened


@contextmanager
def served(path: Path, host: str = "127.0.0.1") -> Iterator[int]:
    """A server by itself on a journal; its port."""
    port = free_port()
    view = View(path, (INBOX,), AlertSettings(), timedelta(minutes=5), 7)
    server = MetricsServer((host, port), lambda: view)
    server.start()
    try:
        yield port
    finally:
        server.close()


# ── with the service ──────────────────────────────────────────────────────────────────────────────────────


def test_figures_of_a_running_service(office: Office) -> None:
    """What `health` and `status` say, as numbers; no address, no subject and no secret."""
    port = free_port()
    office.options["metrics.listen"] = f"'127.0.0.1:{port}'"
    office.deliver(sample_letter("reply-to-masha"), sample_letter("to-sales-only"))
    office.sync.sync_once()
    began = time.time()
    with office.service() as process:
        office.until(lambda: office.heard("metrics.listening"))
        office.until(lambda: office.settled(2))
        office.until(lambda: get(port, "/healthz")[0] == 200)
        status, text = get(port, "/metrics")
        found = figures(text)
        lines = get(port, "/healthz")[1].splitlines()
        assert len(listening(process.pid)) == 1
        assert office.stop(process) == 0
    assert status == 200
    assert found["imaprouter_messages", "review"] == 1
    assert found["imaprouter_recorded_messages_total", ""] == 2
    assert found["imaprouter_portal_requests_total", ""] > 5
    assert found["imaprouter_incidents", "mailbox"] == 0
    assert found["process_resident_memory_bytes", ""] > 1_000_000
    for name in ("imaprouter_index_refreshed", "imaprouter_portal_polled"):
        assert found[f"{name}_timestamp_seconds", ""] > began - 1
    assert found["imaprouter_folder_heard_timestamp_seconds", "sales/INBOX"] > began - 1
    assert [line.split()[0] for line in lines] == ["ok"] * 6
    parts = [line.split()[1] for line in lines]
    assert parts == ["service", "sales/INBOX", "sales/Sent", "index", "binder", "messages"]
    assert all(found["imaprouter_well", part] == 1 for part in parts)
    assert CODE not in text
    assert "@" not in text
    with pytest.raises(ConnectionRefusedError):
        get(port, "/metrics")


def test_a_mailbox_that_fails_is_no_longer_healthy(tmp_path: Path, own_dovecot: Dovecot, user: str) -> None:
    """503, and the part's name; why is for those with a shell."""
    port = free_port()
    with Office(tmp_path, own_dovecot, user) as office:
        office.options["metrics.listen"] = f"'127.0.0.1:{port}'"
        with office.service():
            office.until(lambda: office.heard("folder.opened"))
            own_dovecot.kill()
            office.until(lambda: office.heard("folder.failed"))
            office.until(lambda: "failed  sales/INBOX\n" in get(port, "/healthz")[1])
            assert get(port, "/healthz")[0] == 503
            assert figures(get(port, "/metrics")[1])["imaprouter_well", "sales/INBOX"] == 0
            assert str(own_dovecot.port) not in get(port, "/healthz")[1]


def test_a_reload_opens_moves_and_closes_the_door(office: Office) -> None:
    """A port that is taken is refused, and the one from before answers on."""
    first, second = free_port(), free_port()
    with office.service() as process, socket.create_server(("127.0.0.1", 0)) as taken:
        office.until(lambda: office.heard("folder.opened"))
        assert listening(process.pid) == []
        office.options["metrics.listen"] = f"'127.0.0.1:{first}'"
        office.reload(process)
        requests = figures(get(first, "/metrics")[1])["imaprouter_portal_requests_total", ""]
        assert requests > 0
        office.options["binding.notify"] = "false"
        office.reload(process)
        assert figures(get(first, "/metrics")[1])["imaprouter_portal_requests_total", ""] >= requests
        office.options["metrics.listen"] = f"'127.0.0.1:{second}'"
        office.reload(process)
        assert get(second, "/metrics")[0] == 200
        office.options["metrics.listen"] = f"'127.0.0.1:{taken.getsockname()[1]}'"
        office.reload(process)
        assert office.times_heard("config.refused") == 1
        assert get(second, "/metrics")[0] == 200
        assert len(listening(process.pid)) == 1
        office.options["metrics.listen"] = "''"
        office.reload(process)
        assert listening(process.pid) == []
        assert office.stop(process) == 0
    assert office.times_heard("metrics.listening") == 2


def test_a_port_that_is_taken_ends_the_start(office: Office) -> None:
    """With a sentence that names the key."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        office.options["metrics.listen"] = f"'127.0.0.1:{taken.getsockname()[1]}'"
        with office.service() as process:
            assert process.wait(30) == 2
    assert "metrics.listen: cannot listen on 127.0.0.1 port" in office.output.read_text("utf-8")


# ── by itself ─────────────────────────────────────────────────────────────────────────────────────────────


def test_only_two_pages_and_reading(tmp_path: Path) -> None:
    Journal(tmp_path / "j.db").close()
    with served(tmp_path / "j.db") as port:
        # A journal without a service is one on which nobody has been at work.
        for method, path, status in (
            ("GET", "/", 404),
            ("GET", "/metrics/../healthz", 404),
            ("GET", "/healthz?x=1", 503),
            ("GET", "/healthz", 503),
            ("HEAD", "/metrics", 405),
            ("POST", "/metrics", 405),
            ("DELETE", "/healthz", 405),
        ):
            assert get(port, path, method)[0] == status, path


def test_a_journal_that_cannot_be_read_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On both pages, and the log says why."""
    path = tmp_path / "j.db"
    path.write_bytes(b"nonsense" * 1000)
    caplog.set_level(logging.WARNING)
    with served(path) as port:
        assert [get(port, page)[0] for page in ("/metrics", "/healthz")] == [503, 503]
    said = [vars(record)["fields"]["error"] for record in caplog.records if record.msg == "metrics.failed"]
    assert len(said) == 2
    assert str(path) in said[0]


def test_a_client_that_says_nothing_does_not_keep_the_door(tmp_path: Path) -> None:
    """Nor one that goes away in the middle, nor what is no HTTP."""
    Journal(tmp_path / "j.db").close()
    with served(tmp_path / "j.db") as port, socket.create_connection(("127.0.0.1", port)):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(b"GET /met")
        with socket.create_connection(("127.0.0.1", port)) as nonsense:
            nonsense.sendall(b"\x16\x03\x01\x00\xff" * 100 + b"\r\n\r\n")
        assert get(port, "/metrics")[0] == 200


def test_the_older_protocol_is_not_the_only_one(tmp_path: Path) -> None:
    """::1 is this machine, too."""
    Journal(tmp_path / "j.db").close()
    with served(tmp_path / "j.db", "::1") as port:
        assert get(port, "/metrics", host="::1")[0] == 200


def test_an_address_of_another_machine_is_a_mistake(tmp_path: Path) -> None:
    view = View(tmp_path / "j.db", (), AlertSettings(), timedelta(minutes=5), 0)
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1"):
        MetricsServer(("192.0.2.1", 9108), lambda: view)


def test_every_figure() -> None:
    """Names and values, for those who write rules for them; what has never been has no value."""
    standing = Standing(
        now=NOW,
        folders=(
            FolderStanding(
                INBOX,
                Pulse(worked_at=NOW, heard_at=NOW),
                last_arrived_at=NOW - timedelta(seconds=90),
                last_recorded_at=NOW - timedelta(seconds=60),
            ),
            FolderStanding(Part(PartKind.FOLDER, "sales", 'a"\n\\b'), Pulse()),
        ),
        index=Pulse(worked_at=NOW, heard_at=NOW),
        binder=Pulse(worked_at=NOW),
        refreshed_at=NOW,
        tallies=(("waiting", Tally(2, NOW)), ("review", Tally())),
    )
    verdicts = tuple(judged(standing, AlertSettings(), running=True, refresh_every=timedelta(minutes=5)))
    seen = Seen(standing, verdicts, {Kind.PORTAL: 1}, 12, 34)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(seen, "1.2")
        for sample in family.samples
    }
    moment = NOW.timestamp()
    assert found == {
        ("imaprouter_info", "1.2"): 1,
        ("imaprouter_well", "service"): 1,
        ("imaprouter_well", "sales/INBOX"): 1,
        ("imaprouter_well", 'sales/a"\n\\b'): 0,
        ("imaprouter_well", "index"): 1,
        ("imaprouter_well", "binder"): 1,
        ("imaprouter_well", "messages"): 1,
        ("imaprouter_folder_lag_seconds", "sales", "INBOX"): 30,
        ("imaprouter_folder_heard_timestamp_seconds", "sales", "INBOX"): moment,
        ("imaprouter_messages", "waiting"): 2,
        ("imaprouter_messages", "review"): 0,
        ("imaprouter_oldest_message_timestamp_seconds", "waiting"): moment,
        ("imaprouter_recorded_messages_total",): 12,
        ("imaprouter_index_refreshed_timestamp_seconds",): moment,
        ("imaprouter_portal_requests_total",): 34,
        ("imaprouter_incidents", "portal"): 1,
    }
    assert all(re.fullmatch(r"imaprouter_[a-z_]+", name) for name, *_ in found)
