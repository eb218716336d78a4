"""The log: events as text and as JSON Lines, without secrets and without what a terminal would obey."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imaprouter import log
from imaprouter.model import Outcome

logger = logging.getLogger("imaprouter.test")
LIBRARIES = ["httpx", "httpcore", "imapclient", "mailparser", "stamina"]
on_one_capture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets up does not outlive it."""
    monkeypatch.setattr(log, "_secrets", [])
    loggers = [logging.getLogger(), *map(logging.getLogger, LIBRARIES)]
    before = [(each, each.level, list(each.handlers)) for each in loggers]
    yield
    for each, level, handlers in before:
        each.setLevel(level)
        each.handlers[:] = handlers


class Output:
    """What was written to standard error since the last look."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def text(self) -> str:
        out, err = self._capture.readouterr()
        assert out == ""
        return err

    def line(self) -> str:
        (line,) = self.text().split("\n")[:-1]
        return line

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.line()))


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    return Output(capsys)


def _fail(text: str) -> None:
    raise RuntimeError(text)


def test_text_has_time_level_event_and_fields(output: Output) -> None:
    log.setup("text")
    log.event(
        logger, logging.INFO, "message.decided", id=7, subject="Re: КП", outcome=Outcome.DEAL, target=None
    )
    time, rest = output.line().split(" ", 1)
    assert datetime.fromisoformat(time).utcoffset() is not None
    assert rest == 'INFO    message.decided id=7 subject="Re: КП" outcome=deal target=None'


def test_json_has_time_level_event_and_fields(output: Output) -> None:
    log.setup("json")
    log.event(
        logger,
        logging.WARNING,
        "message.decided",
        id=7,
        subject="Re: КП",
        outcome=Outcome.DEAL,
        target=None,
        review=False,
        candidates=(1, 2),
        since=datetime(2026, 1, 31, tzinfo=UTC),
        wait=timedelta(seconds=5),
    )
    line = output.json()
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert line == {
        "level": "WARNING",
        "event": "message.decided",
        "logger": "imaprouter.test",
        "id": 7,
        "subject": "Re: КП",
        "outcome": "deal",
        "target": None,
        "review": False,
        "candidates": [1, 2],
        "since": "2026-01-31T00:00:00.000+00:00",
        "wait": 5.0,
    }


def test_json_is_readable_where_letters_are_not_latin(output: Output) -> None:
    log.setup("json")
    log.event(logger, logging.INFO, "message.decided", subject="Счёт №5")
    assert "Счёт №5" in output.text()


def test_a_field_may_have_any_name(output: Output) -> None:
    """Not even the names that logging and the line itself use are in the way."""
    names = {"name": "a", "message": "b", "args": "c", "logger": "d", "level": "e", "event": "f", "time": "g"}
    log.setup("text")
    log.event(logger, logging.INFO, "x", **names)
    assert output.line().endswith(" x name=a message=b args=c logger=d level=e event=f time=g")
    log.setup("json")
    log.event(logger, logging.INFO, "x", **names)
    line = output.json()
    assert (line["event"], line["level"], line["logger"]) == ("x", "INFO", "imaprouter.test")
    assert (line["event_"], line["level_"], line["logger_"], line["time_"]) == ("f", "e", "d", "g")
    assert (line["name"], line["message"], line["args"]) == ("a", "b", "c")


@pytest.mark.parametrize("value", ["", "two words", 'a"b', "a=b", "a\\b", "'"])
def test_text_quotes_what_could_be_misread(output: Output, value: str) -> None:
    log.setup("text")
    log.event(logger, logging.INFO, "x", key=value)
    assert output.line().endswith(f" x key={json.dumps(value)}")


def test_a_library_says_who_it_is(output: Output) -> None:
    log.setup("text")
    logging.getLogger("imapclient.imaplib").warning("lost %s", "line")
    assert output.line().endswith(" WARNING imapclient.imaplib: lost line")


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (2, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        (1, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        (0, ["INFO", "WARNING", "ERROR"]),
        (-1, ["WARNING", "ERROR"]),
        (-2, ["ERROR"]),
        (-5, ["ERROR"]),
    ],
)
def test_verbosity_chooses_the_levels(output: Output, verbosity: int, shown: list[str]) -> None:
    log.setup("text", verbosity)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log.event(logger, level, "x")
    assert [line.split()[1] for line in output.text().splitlines()] == shown


def test_a_second_setup_replaces_the_first(output: Output) -> None:
    log.setup("text")
    log.setup("json")
    log.event(logger, logging.INFO, "once")
    assert output.json()["event"] == "once"


def test_libraries_do_not_print_addresses_and_mail_headers(output: Output) -> None:
    """Even when everything of ours is wanted."""
    log.setup("text", 2)
    logging.getLogger("httpx").info("HTTP Request: POST https://x/rest/1/code/")
    logging.getLogger("httpcore.http11").debug("receive_response_headers")
    logging.getLogger("imapclient.imaplib").debug("< b'Subject: secret'")
    logging.getLogger("mailparser.core").error("cannot parse From")
    logging.getLogger("stamina").warning("stamina.retry_scheduled")
    assert output.text() == ""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_masked_wherever_they_stand(output: Output, log_format: Any) -> None:
    secret = 'it\'s "s3cret" П'
    log.setup(log_format)
    log.register_secret(secret)
    log.event(
        logger, logging.INFO, f"x {secret}", a=secret, b=[{"c": secret}, ValueError(secret)], d={secret: 1}
    )
    logging.getLogger("other").warning("login %r %s", secret, secret)
    try:
        _fail(secret)
    except RuntimeError:
        logger.exception("boom")
    said = output.text()
    assert said.count(log.MASK) >= 7
    assert "s3cret" not in said


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_code_of_a_webhook_is_masked_unregistered(output: Output, log_format: Any) -> None:
    log.setup(log_format)
    log.event(logger, logging.INFO, "x", url="https://company.bitrix24.ru/rest/1/c0de/crm.deal.list")
    logger.warning("https://company.bitrix24.ru/rest/12/c0de")
    said = output.text()
    assert "https://company.bitrix24.ru/rest/1/***/crm.deal.list" in said
    assert "c0de" not in said


@pytest.mark.parametrize("secret", ["pa/ss wörd+1", "kéy=", "hunter22", 'q"u\\o/te', "абвг"])
def test_a_secret_is_masked_in_every_form_that_it_takes_on_its_way(secret: str) -> None:
    """In an address, in JSON (PHP's too), in Python's repr, alone or inside of something in base64."""
    log.register_secret(secret)
    raw = secret.encode()
    for form in (
        quote(secret, safe=""),
        re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        repr(secret)[1:-1],
    ):
        assert log.mask(f"<{form}>") == "<***>"
    for before in (b"", b"\0u\0", b"\0us\0", b"\0use\0"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # A character at either end may be left: it holds the neighbour's bits, too.
            assert re.fullmatch(
                r"<[\w+/-]{0,8}\*\*\*[\w+/-]?=*>", log.mask(f"<{encode(before + raw).decode()}>")
            )


@pytest.mark.parametrize("slash", ["/", "\\/", "%2F", "%2f"])
def test_the_code_is_masked_in_an_address_inside_of_something(slash: str) -> None:
    said = log.mask(f"x={slash}rest{slash}1{slash}c0de{slash}crm.deal.list y")
    assert "c0de" not in said
    assert f"{slash}crm.deal.list y" in said


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    log.register_secret("abcd")
    log.register_secret("abcdefgh")
    assert log.mask("abcdefgh abcd") == "*** ***"


def test_nothing_is_not_a_secret() -> None:
    log.register_secret("")
    log.register_secret("abc")
    assert log.mask("abc") == "abc"


def test_a_traceback_stays_readable_and_inert(output: Output) -> None:
    log.setup("text")
    try:
        _fail("red \x1b[31m")
    except RuntimeError:
        logger.exception("boom")
    first, *trace = output.text().splitlines()
    assert first.endswith("imaprouter.test: boom")
    assert trace[0] == "    Traceback (most recent call last):"
    assert trace[-1] == r"    RuntimeError: red \u001b[31m"


@on_one_capture
@given(st.text(), st.text())
def test_any_text_is_one_printable_line(output: Output, what: str, value: str) -> None:
    """Line ends, colours, bidi overrides and lone surrogates of a hostile subject do nothing."""
    log.setup("text")
    log.event(logger, logging.INFO, what, subject=value)
    assert output.line().isprintable()


@on_one_capture
@given(st.text(), st.text())
def test_any_text_survives_json_and_is_one_printable_line(output: Output, what: str, value: str) -> None:
    log.setup("json")
    log.event(logger, logging.INFO, what, subject=value)
    line = output.line()
    assert line.isprintable()
    read = json.loads(line)
    assert (read["event"], read["subject"]) == (what, value)
