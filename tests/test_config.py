"""Configuration: what a file and the environment give, and every mistake told at once and without secrets."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaprouter.config import NOT_SECTIONS, Settings, find_config, load
from imaprouter.config.reader import key_of
from imaprouter.config.settings import MailboxSettings, PortalSettings, TransferSettings
from imaprouter.config.values import parse_duration, parse_size
from imaprouter.errors import ConfigError
from imaprouter.policy import BindingPolicy, RoutingPolicy, TrustPolicy

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "config.example.toml"
HOOK = "https://company.bitrix24.ru/rest/1/s3cretc0de/"
MAILBOX = """
[[mailboxes]]
name = "sales"
host = "imap.company.ru"
username = "Sales@Company.ru"
password = "hunter22"
"""


class File:
    """A configuration file that a test writes and loads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "imaprouter.toml"

    def load(self, text: str, **environ: str) -> Settings:
        self.path.write_text(text, encoding="utf-8")
        self.path.chmod(0o600)
        return load(self.path, environ)

    def problems(self, text: str, **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self.load(text, **environ)
        assert caught.value.exit_code == 2
        return list(caught.value.problems)

    def problem(self, text: str, **environ: str) -> str:
        (only,) = self.problems(text, **environ)
        return only


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


# What is loaded.


def test_without_a_file_everything_has_its_default() -> None:
    """Commands such as `replay` need no configuration at all."""
    settings = load(None, {})
    assert settings.routing == RoutingPolicy()
    assert settings.binding == BindingPolicy()
    assert settings.portal is None
    assert settings.mailboxes == ()
    assert settings.source is None
    assert settings.store.path == Path.cwd() / "imaprouter.db"


def test_a_mailbox_gets_the_defaults_of_the_contract(file: File) -> None:
    (mailbox,) = file.load(MAILBOX).mailboxes
    assert mailbox.port == 993
    assert mailbox.tls == "implicit"
    assert mailbox.folders == ("INBOX",)
    assert mailbox.sent_folders == ("Sent",)
    assert mailbox.start == "new"
    assert mailbox.addresses == ("sales@company.ru",)


def test_starttls_without_a_port_means_143(file: File) -> None:
    (mailbox,) = file.load(MAILBOX + 'tls = "starttls"').mailboxes
    assert mailbox.port == 143


def test_addresses_are_written_as_they_are_compared(file: File) -> None:
    settings = file.load(
        MAILBOX
        + """
        addresses = ["Info@Компания.рф"]
        [routing.address.category]
        "Support@Company.RU" = 3
        [routing.participants.user_aliases]
        "Masha@company.ru" = ["M.Petrova@company.ru"]
        """
    )
    assert settings.mailboxes[0].addresses == ("info@xn--80aqeigdi5k.xn--p1ai",)
    assert settings.routing.address.category == {"support@company.ru": 3}
    assert settings.routing.participants.user_aliases == {"masha@company.ru": ("m.petrova@company.ru",)}


@pytest.mark.parametrize(
    ("written", "start"),
    [('"all"', "all"), ("2026-01-31", date(2026, 1, 31)), ('"2026-01-31"', date(2026, 1, 31))],
)
def test_start_is_a_word_or_a_date(file: File, written: str, start: object) -> None:
    assert file.load(f"{MAILBOX}start = {written}").mailboxes[0].start == start


def test_durations_and_sizes_are_read(file: File) -> None:
    settings = file.load('[binding]\nwait = "2d"\n[limits]\nheader_bytes = "64KiB"')
    assert settings.binding.wait == timedelta(days=2)
    assert settings.limits.header_bytes == 65_536


@given(st.integers(0, 10**8), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: tuple[str, int]) -> None:
    letter, seconds = unit
    assert parse_duration(f"{number}{letter}").total_seconds() == number * seconds


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text())))
def test_only_value_errors_come_of_nonsense(value: object) -> None:
    """Whatever stands in a file is a duration or a size, or is answered with a ValueError."""
    for parse in (parse_duration, parse_size):
        try:
            parse(value)
        except ValueError:
            continue


def test_a_byte_order_mark_and_windows_line_ends_are_read(file: File) -> None:
    file.path.write_bytes(b"\xef\xbb\xbf[binding]\r\nmode = 'observe'\r\n")
    assert load(file.path, {}).binding.mode == "observe"


# Where files and paths are looked for.


def test_the_file_is_looked_for_where_the_contract_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config, then $IMAPROUTER_CONFIG, then the current folder."""
    monkeypatch.chdir(tmp_path)
    named = {"IMAPROUTER_CONFIG": "/of/the/environment.toml"}
    assert find_config(Path("given.toml"), named) == Path("given.toml")
    assert find_config(None, named) == Path("/of/the/environment.toml")
    Path("imaprouter.toml").touch()
    assert find_config(None, {}) == Path("imaprouter.toml")


def test_the_store_lies_beside_the_file_or_where_systemd_says(file: File) -> None:
    assert file.load("").store.path == file.path.parent / "imaprouter.db"
    assert file.load("", STATE_DIRECTORY="/var/lib/imaprouter").store.path == Path(
        "/var/lib/imaprouter/imaprouter.db"
    )
    absolute = file.load('[store]\npath = "/srv/journal.db"', STATE_DIRECTORY="/var/lib/imaprouter")
    assert absolute.store.path == Path("/srv/journal.db")


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("content", "said"), [(b"[portal\n", "not valid TOML"), (b"a = '\xff'", "not UTF-8 text")]
)
def test_a_file_that_is_no_toml_is_an_error(file: File, content: bytes, said: str) -> None:
    file.path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load(file.path, {})


# The environment.


def test_the_environment_outranks_the_file(file: File) -> None:
    settings = file.load(
        MAILBOX + '[binding]\nmode = "act"',
        IMAPROUTER_BINDING__MODE="observe",
        IMAPROUTER_ROUTING__MARKER__SENDER_CHECK="strict",
        IMAPROUTER_ROUTING__RULES='["thread", "marker"]',
        IMAPROUTER_CACHE__LIVE_LOOKUP="false",
        IMAPROUTER_PORTAL__REQUESTS_PER_SECOND="5",
        IMAPROUTER_PORTAL__WEBHOOK_URL=HOOK,
        IMAPROUTER_BINDING__POLL_EVERY="7s",
        IMAPROUTER_MAILBOXES__0__HOST="127.0.0.1",
        IMAPROUTER_MAILBOXES__0__START="2026-01-31",
    )
    assert settings.binding.mode == "observe"
    assert settings.routing.marker.sender_check == "strict"
    assert settings.routing.rules == ("thread", "marker")
    assert settings.cache.live_lookup is False
    assert settings.require_portal().requests_per_second == 5.0
    assert settings.binding.poll_every == timedelta(seconds=7)
    assert settings.mailboxes[0].host == "127.0.0.1"
    assert settings.mailboxes[0].start == date(2026, 1, 31)


def test_the_environment_alone_can_describe_a_mailbox() -> None:
    settings = load(
        None,
        {
            "IMAPROUTER_MAILBOXES__0__NAME": "sales",
            "IMAPROUTER_MAILBOXES__0__HOST": "imap.company.ru",
            "IMAPROUTER_MAILBOXES__0__USERNAME": "sales@company.ru",
            "IMAPROUTER_MAILBOXES__0__PASSWORD": "1234567",
        },
    )
    assert settings.mailboxes[0].password == "1234567"


def test_a_secret_of_the_environment_replaces_the_files_in_any_form(file: File) -> None:
    """`password_file` in the file and PASSWORD in the environment are no contradiction."""
    text = MAILBOX.replace('password = "hunter22"', 'password_file = "/no/such/file"')
    settings = file.load(text, IMAPROUTER_MAILBOXES__0__PASSWORD="of the environment")
    assert settings.mailboxes[0].password == "of the environment"


def test_a_wrong_value_of_the_environment_is_named_by_its_variable(file: File) -> None:
    said = file.problem("", IMAPROUTER_CACHE__LIVE_LOOKUP="maybe")
    assert said == 'IMAPROUTER_CACHE__LIVE_LOOKUP: expected true or false, not "maybe"'


def test_variables_of_commands_are_no_settings() -> None:
    assert load(None, {"IMAPROUTER_CONFIG": "x", "IMAPROUTER_LOG_FORMAT": "json"}) == load(None, {})


@pytest.mark.parametrize(
    "name", ["IMAPROUTER_BINDING__MOOD", "IMAPROUTER_BINDNG__MODE", "IMAPROUTER_BINDING__MODE__X__Y"]
)
def test_a_variable_that_names_no_key_is_a_problem(file: File, name: str) -> None:
    assert file.problems('[binding]\nmode = "act"', **{name: "observe"})


# Secrets.


def test_a_secret_comes_from_a_file_beside_the_configuration(file: File) -> None:
    """The line end that editors and `echo` leave is no part of it; other white space is."""
    (file.path.parent / "sales.password").write_text(" pass word \r\n")
    text = MAILBOX.replace('password = "hunter22"', 'password_file = "sales.password"')
    assert file.load(text).mailboxes[0].password == " pass word "


def test_a_secret_comes_from_a_systemd_credential(file: File, tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(HOOK)
    settings = file.load(
        '[portal]\nwebhook_url_file = "$CREDENTIALS_DIRECTORY/hook"', CREDENTIALS_DIRECTORY=str(tmp_path)
    )
    assert settings.require_portal().webhook_url == HOOK


def test_a_secret_comes_from_a_named_variable(file: File) -> None:
    settings = file.load('[portal]\nwebhook_url_env = "THE_HOOK"', THE_HOOK=HOOK)
    assert settings.require_portal().webhook_url == HOOK


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('webhook_url_file = "/no/hook"', "portal.webhook_url_file: cannot read /no/hook"),
        (
            'webhook_url_env = "NO_HOOK"',
            "portal.webhook_url_env: the environment variable NO_HOOK is not set",
        ),
        ('webhook_url_env = "EMPTY_HOOK"', "portal.webhook_url_env: what it names is empty"),
        (
            f'webhook_url = "{HOOK}"\nwebhook_url_env = "A_HOOK"',
            "portal.webhook_url: given twice, as webhook_url and webhook_url_env; keep one",
        ),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_problem(file: File, written: str, said: str) -> None:
    problem = file.problem(f"[portal]\n{written}", EMPTY_HOOK="", A_HOOK=HOOK)
    assert problem.startswith(said)


def test_no_secret_is_printed(file: File) -> None:
    """Not by the settings, and not by problems, not even of a secret that stands under the wrong key."""
    settings = file.load(f'[portal]\nwebhook_url = "{HOOK}"\n{MAILBOX}')
    assert "hunter22" not in repr(settings)
    assert "s3cretc0de" not in repr(settings)
    assert set(settings.secrets) == {"hunter22", "s3cretc0de"}
    signing = file.load(
        f'[portal]\nwebhook_url = "{HOOK}"\n[routing.marker]\nsecret = "k3yofmarks"\n{MAILBOX}'
    )
    assert set(signing.secrets) == {"hunter22", "s3cretc0de", "k3yofmarks"}
    wrong = MAILBOX.replace("password =", "password_env =") + MAILBOX.replace("password =", "password_file =")
    for hook in (HOOK.replace("https", "http"), HOOK.replace("/rest", ""), HOOK + "?a=b"):
        said = file.problems(f'[portal]\nwebhook_url = "{hook}"\n{wrong}')
        assert len(said) == 4
        assert "hunter22" not in str(said)
        assert "s3cretc0de" not in str(said)


@pytest.mark.usefixtures("open_folders")
def test_a_file_with_secrets_that_all_can_read_gets_a_warning(file: File) -> None:
    file.path.write_text(MAILBOX)
    file.path.chmod(0o644)
    (warning,) = load(file.path, {}).warnings
    assert "mailboxes[0].password" in warning
    assert f"chmod 600 {file.path}" in warning
    file.path.chmod(0o640)
    assert load(file.path, {}).warnings == ()
    file.path.write_text('[binding]\nmode = "act"')
    file.path.chmod(0o644)
    assert load(file.path, {}).warnings == ()


@pytest.mark.usefixtures("open_folders")
def test_a_file_that_all_can_change_gives_its_secrets_away(file: File, tmp_path: Path) -> None:
    """Whoever can write it sends the password to a host of his own, wherever the password stands."""
    secret = tmp_path / "password"
    secret.write_text("hunter22")
    secret.chmod(0o602)
    file.path.write_text(MAILBOX.replace('password = "hunter22"', 'password_file = "password"'))
    file.path.chmod(0o646)
    settings = load(file.path, {})
    for path, said in zip((secret, file.path), settings.exposed, strict=True):
        assert f"can change {path}" in said
    assert settings.warnings == settings.exposed


# What commands require.


def test_a_command_that_needs_portal_or_mailboxes_says_which_key_is_missing(file: File) -> None:
    settings = file.load("[portal]\nburst = 250")
    with pytest.raises(ConfigError, match=r"portal\.webhook_url") as caught:
        settings.require_portal()
    assert caught.value.problems == ("portal.webhook_url: is missing: the address of an inbound webhook",)
    with pytest.raises(ConfigError, match="mailboxes"):
        settings.require_mailboxes()


# Mistakes.


def test_all_mistakes_are_told_at_once(file: File) -> None:
    said = file.problems(
        """
        [portal]
        burst = 0
        [[mailboxes]]
        name = "sales"
        [binding]
        mode = "watch"
        [routng]
        """
    )
    assert [problem.split(":")[0] for problem in said] == [
        "routng",
        "portal.burst",
        "mailboxes[0].host",
        "mailboxes[0].username",
        "mailboxes[0].password",
        "binding.mode",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bindin]", "bindin: unknown key; did you mean binding?"),
        ('[binding]\nmod = "act"', "binding.mod: unknown key; did you mean mode?"),
        (
            "[routing.participants]\nno_responsable = 1",
            "routing.participants.no_responsable: unknown key; did you mean no_responsible?",
        ),
        ('[store]\nzzz = "x"', "store.zzz: unknown key; known here: path"),
        (
            "[portal]\nwebhook_ulr_file = 'x'",
            "portal.webhook_ulr_file: unknown key; did you mean webhook_url_file?",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(file: File, text: str, said: str) -> None:
    assert file.problem(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[portal]\nburst = 0", "portal.burst: expected a whole number from 1 to 1000, not 0"),
        (
            "[portal]\nrequests_per_second = nan",
            "portal.requests_per_second: expected a number from 0.1 to 100, not nan",
        ),
        (
            '[cache]\nrefresh_every = "1s"',
            'cache.refresh_every: expected a duration from 30s to 1d (30s, 5m, 24h, 2d), not "1s"',
        ),
        (
            "[cache]\nrefresh_every = 300",
            "cache.refresh_every: expected a duration from 30s to 1d (30s, 5m, 24h, 2d), not 300",
        ),
        (
            '[limits]\nheader_bytes = "1GB"',
            'limits.header_bytes: expected a size from 4096B to 64MB (500kB, 1MB), not "1GB"',
        ),
        (
            "[routing.loop]\nlimit = -1",
            "routing.loop.limit: expected a whole number from 0 to 10000, not -1",
        ),
        ("[binding]\nnotify = 1", "binding.notify: expected true or false, not 1"),
        (
            '[binding]\nmode = "watch"',
            'binding.mode: expected one of "act", "observe", not "watch"',
        ),
        ("[store]\npath = ''", 'store.path: expected a path, not ""'),
        ("[alerts]\nusers = ['a']", "alerts.users: expected a list, each a whole number, not ['a']"),
        ("store = 5", "store: expected a table"),
        ("[routing]\nmarker = 5", "routing.marker: expected a table"),
        (
            "[mailboxes]\nname = 'a'",
            "mailboxes: expected [[mailboxes]], with two brackets, once for each mailbox",
        ),
        (
            "[routing]\nrules = ['marker', 'markre']",
            'routing.rules: expected a list, each one of "marker", "thread", "address", "participants", '
            "not ['marker', 'markre']",
        ),
        ("[routing]\nrules = ['thread', 'thread']", "routing.rules: 'thread' is named twice"),
        (
            "[routing.marker]\npatterns = ['#(?P<deal>\\d+)', '(']",
            "routing.marker.patterns[1]: '(' is no regular expression: "
            "missing ), unterminated subpattern at position 0",
        ),
        (
            "[routing.address]\nplus_tag = 'd(\\d+)'",
            r"routing.address.plus_tag: 'd(\\d+)' has no group named deal: (?P<deal>\d+)",
        ),
        (
            "[routing.participants.user_aliases]\nmasha = ['a@b.ru']",
            "routing.participants.user_aliases: 'masha' is no e-mail address",
        ),
        (
            "[routing.trust]\nauthentication = 'require'",
            'routing.trust.authserv_ids: is empty, but authentication = "require" believes only the servers '
            "that are named here",
        ),
        (
            "[routing.trust]\nauthentication = 'require'\nauthserv_ids = ['mx.company.ru', 'our server']",
            "routing.trust.authserv_ids: 'our server' is no name of a server",
        ),
        (
            "[metrics]\nlisten = '9108'",
            'metrics.listen: expected host and port such as "127.0.0.1:9108", not "9108"',
        ),
        (
            "[portal]\nclient_id = 'x'",
            "portal.client_id: OAuth is not supported by this version; give a webhook_url instead",
        ),
    ],
)
def test_a_mistake_is_told_with_its_key_and_what_is_allowed(file: File, text: str, said: str) -> None:
    assert file.problem(text) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port = 70000", "mailboxes[0].port: expected a whole number from 1 to 65535, not 70000"),
        ("port = 0", "mailboxes[0].port: expected a whole number from 1 to 65535, not 0"),
        ("pasword = 'a'", "mailboxes[0].pasword: unknown key; did you mean password?"),
        (
            "start = 'yesterday'",
            'mailboxes[0].start: expected "new", "all" or a date (2026-01-31), not "yesterday"',
        ),
        ("addresses = ['sales']", "mailboxes[0].addresses: 'sales' is no e-mail address"),
        ("folders = ['INBOX', 'Sent']", "mailboxes[0].folders: 'Sent' is named twice"),
        (
            "folders = []\nsent_folders = []",
            "mailboxes[0].folders: is empty, and so is sent_folders: there is nothing to watch",
        ),
        (
            "tls = 'none'",
            'mailboxes[0].tls: "none" lets everybody on the way to imap.company.ru read the password; '
            "allow_plaintext = true accepts that",
        ),
        ("ca_file = '/no/ca.pem'", "mailboxes[0].ca_file: cannot read /no/ca.pem: No such file or directory"),
        (MAILBOX, "mailboxes: two of them are named 'sales'"),
    ],
)
def test_a_mailboxs_mistake_is_told_with_its_key(file: File, line: str, said: str) -> None:
    assert file.problem(MAILBOX + line) == said


def test_a_user_name_that_is_no_address_needs_addresses(file: File) -> None:
    text = MAILBOX.replace("Sales@Company.ru", "sales")
    assert "name those that deliver here" in file.problem(text)
    assert file.load(text + "addresses = ['sales@company.ru']").mailboxes[0].username == "sales"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_plaintext_is_for_this_machine(file: File, host: str) -> None:
    text = MAILBOX.replace("imap.company.ru", host) + 'tls = "none"'
    assert file.load(text).mailboxes[0].host == host


def test_plaintext_elsewhere_must_be_asked_for(file: File) -> None:
    settings = file.load(MAILBOX + 'tls = "none"\nallow_plaintext = true')
    assert settings.mailboxes[0].tls == "none"


@pytest.mark.parametrize(
    "hook",
    [
        HOOK,
        HOOK.rstrip("/"),
        "http://127.0.0.1:8080/rest/1/code/",
        "https://crm.company.ru/portal/rest/12/code/",
        "https://портал.рф/rest/1/code/",
    ],
)
def test_webhooks_of_the_cloud_and_of_own_servers_are_accepted(file: File, hook: str) -> None:
    assert file.load(f'[portal]\nwebhook_url = " {hook} "').require_portal().webhook_url == hook


@pytest.mark.parametrize(
    "hook",
    [
        "http://company.bitrix24.ru/rest/1/code/",
        "https://company.bitrix24.ru/rest/code/",
        "https://company.bitrix24.ru/rest/1/",
        "https://user:pw@company.bitrix24.ru/rest/1/code/",
        "https://[::1/rest/1/code/",
        "/rest/1/code/",
        "code",
    ],
)
def test_what_is_no_encrypted_webhook_is_refused(file: File, hook: str) -> None:
    assert file.problem(f'[portal]\nwebhook_url = "{hook}"').startswith("portal.webhook_url: ")


# The example.


def _keys(cls: Any, where: str = "") -> set[str]:
    """The dotted keys of a settings class."""
    hints = get_type_hints(cls)
    found: set[str] = set()
    for item in fields(cls):
        key = f"{where}{key_of(item)}"
        found |= _keys(hints[item.name], f"{key}.") if is_dataclass(hints[item.name]) else {key}
    return found


def test_the_example_has_every_key_and_loads(tmp_path: Path) -> None:
    (tmp_path / "sales.password").write_text("hunter22\n")
    (tmp_path / "sales.password").chmod(0o600)
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "imaprouter.toml").write_text(text, encoding="utf-8")
    settings = load(tmp_path / "imaprouter.toml", {"BITRIX24_WEBHOOK": HOOK})
    assert settings.warnings == ()
    assert settings.require_portal().webhook_url == HOOK
    assert settings.require_mailboxes()[0].password == "hunter22"

    known = {key for key in _keys(Settings) if key not in NOT_SECTIONS | {"portal", "mailboxes", "transfer"}}
    known |= _keys(PortalSettings, "portal.") | _keys(MailboxSettings, "mailboxes.")
    known |= _keys(TransferSettings, "transfer.")
    written = text.replace("# ca_file", "ca_file")
    for line in ("[[transfer]]", "from =", "to =", "kind =", "where =", "keep ="):
        written = written.replace(f"# {line}", line)
    assert {key for key in known if not _is_written(written, key)} == set()


def _is_written(text: str, key: str) -> bool:
    node: Any = tomllib.loads(text)
    for part in key.split("."):
        node = node[0] if isinstance(node, list) else node
        node = next((node[name] for name in (part, f"{part}_file", f"{part}_env") if name in node), None)
        if node is None:
            return False
    return True


def test_the_example_shows_the_defaults(tmp_path: Path) -> None:
    """Apart from its mailbox and its sample addresses, the example changes nothing."""
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "imaprouter.toml").write_text(text, encoding="utf-8")
    (tmp_path / "sales.password").write_text("hunter22")
    shown = load(tmp_path / "imaprouter.toml", {"BITRIX24_WEBHOOK": HOOK})
    default = load(None, {})
    assert shown.binding == default.binding
    assert shown.cache == default.cache
    assert shown.limits == default.limits
    assert shown.routing.marker == default.routing.marker
    assert shown.routing.rules == default.routing.rules
    assert shown.routing.trust == default.routing.trust


@pytest.mark.parametrize("name", ["mx.company.ru", "MX1", "*.yandex.net", "microsoft", "mx_1.company.ru"])
def test_servers_whose_word_counts_are_named(file: File, name: str) -> None:
    """By name, by a common ending, or by Microsoft's form without one."""
    text = f"[routing.trust]\nauthentication = 'prefer'\nauthserv_ids = ['{name}']"
    assert file.load(text).routing.trust == TrustPolicy("prefer", (name,))


@pytest.mark.parametrize("name", ["", "*", "*.net", "a b", "mx.*.ru", "a;b"])
def test_what_is_no_servers_name_is_refused(file: File, name: str) -> None:
    """An ending of one part only would let half the world speak for us."""
    text = f"[routing.trust]\nauthentication = 'prefer'\nauthserv_ids = ['{name}']"
    assert file.problem(text) == f"routing.trust.authserv_ids: {name!r} is no name of a server"


def test_what_does_nothing_yet_is_said(file: File) -> None:
    """The contract names it, the configuration may hold it, and a warning says so."""
    found = file.load('[binding]\ncreate_missing = true\nmode = "observe"')
    assert found.warnings == ('binding.create_missing: nothing is saved while binding.mode is "observe"',)
    assert file.load("[binding]\ncreate_missing = true").warnings == ()


def test_alerts_beside_observe_are_a_warning(file: File) -> None:
    """`observe` writes nothing at all, so nobody is told; users alone are no mistake."""
    assert file.load("[alerts]\nusers = [1]").warnings == ()
    (warning,) = file.load("[alerts]\nusers = [1]\n[binding]\nmode = 'observe'").warnings
    assert warning.startswith("alerts.users: nobody is told")
