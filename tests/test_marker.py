"""`marker`: what is read as a deal in a subject, from whom, and what only looks like one."""

from __future__ import annotations

import pytest
from company import DEALS, deal_row, index_of

from imaprouter.marker_signature import signature
from imaprouter.model import Address, Envelope, Finding, Letter, Nature, Verdict, deal
from imaprouter.policy import MarkerPolicy, RoutingPolicy
from imaprouter.rules.marker import marker

KEY = "a long random text"
STRANGER, OWN, KIN, FOREIGN = "s@unknown-site.com", "sergey@horns.ru", "new@horns.ru", "anna@romashka.ru"
TEMPLATE = 9
ROWS = [
    *DEALS,
    deal_row(7, 5),
    deal_row(8, 6, COMPANY_ID=11, CONTACT_IDS=[21]),
    deal_row(TEMPLATE, 5, IS_RECURRING="Y"),
]
SENT = [
    {
        "ID": number,
        "DIRECTION": "2",
        "OWNER_TYPE_ID": "2",
        "OWNER_ID": str(owner),
        "SETTINGS": {
            "MESSAGE_HEADERS": {"Message-Id": f"<crm.activity.{number}-ABC123@company.bitrix24.ru>"}
        },
    }
    for number, owner in ((501, 7), (502, TEMPLATE))
]


def signed(number: int) -> str:
    return f"#{number}-{signature(number, KEY)}"


def found(
    subject: str, sender: str = STRANGER, secret: str = KEY, nature: Nature = Nature.CLIENT, pattern: str = ""
) -> Finding:
    envelope = Envelope(subject=subject, from_=(Address(sender),), nature=nature)
    patterns = (pattern,) if pattern else MarkerPolicy().patterns
    policy = RoutingPolicy(marker=MarkerPolicy(secret=secret, patterns=patterns))
    own = frozenset({"sales@company.ru"})
    return marker(Letter(envelope, own, own), index_of(deals=ROWS, activities=SENT), policy)


NEVER = [
    *("#000001", "Our colours #000007", "цвет: #007", "#0001 x", "room_#7", "http://x.y/a/#7", "##7"),
    *("Don&#39;t &#7; x", "C#7 developer", "x#7abc", "#7_x", "v#1.5", "#1.5 release", "#1,000 prize"),
]
DOUBTFUL = [
    *("#1 supplier of pumps", "Get #1 on Google", "#1 priority", "#7 priority", "Items #1-3", "#1–3", "#1/7"),
    *("#1:30", "C # 7 developer", "a,#7", "Order No. #7 shipped", "Order number #7", "Order: #7", "PR #7"),
    *(
        "Pull request #7",
        "[org/repo] Fix crash (#7)",
        "Re: [org/repo] Fix (#7) ",
        "Rechnung #7",
        "Invoices #7",
    ),
    *("P.O. #7", "PO #7", "Ticket ID #7", "Issue #7", "Page #7", "Заказы #7", "По заказам #7", "Акт #7"),
    *("Счёт на оплату #7 от 10.11", "Счет #7", "Счет-фактура #7", "Договор #7", "Накладная #7", "ТТН #7"),
    *(
        "Приложение #7",
        "Платежное поручение #7",
        "Тендер #7: x",
        "Школа №7",
        "Договор №7",
        "Счёт на оплату №7",
        "Faktura #7",
    ),
]
DOUBTFUL += [
    *(
        "№1 в мире",
        "Мы - №1 на рынке!",
        "№1 выбор клиентов",
        "We are #1",
        "Заказ покупателя №7",
        "Договор поставки № 7",
    ),
    *(
        "Акт выполненных работ № 7",
        "Накладная ТОРГ-12 №7",
        "Order confirmation #7",
        "Your order has shipped (#7)",
    ),
    *(
        "Faktura VAT #7",
        "Zamówienie przyjęte #7",
        "Спецификация №7",
        "Протокол №7",
        "Reservation #7",
        "исх. №7",
    ),
    *("[rt.vendor.ru #7] Re: доступ", "[Redmine - Поддержка #7] x", "Reklamacja #7", "Shipment #7", "Лот №7"),
]
OWN_COUNTS = [
    "Договор подписан #7",
    "Счёт оплачен (#7)",
    "Заказчик согласен #7",
    "Invoice paid - #7",
    "[КП #7]",
]
READ = [
    *("Спасибо за доставку! #7", "Заказчик согласен #7", "[КП #7] x", "[Re: #7]"),
    *("Re:#7", "RE:№7", "FW:#7", "*#7*", "КП|#7", "КП—#7", "КП;#7", "Счёт по #7", "Заказ #9 (у нас #7)"),
    *("Счёт оплачен. #7", "[#7] КП", "[Сделка #7] КП"),
    *("Re: #7", "#7 КП", "(#7) КП", "«#7»", "КП # 7", "КП ＃７", "#7, КП", "#7-й", "#7-ой", "#7 - offer"),
    *(
        "Сделка №7",
        "№ 7",
        "КП №7",
        "Счет по сделке #7 прошу выслать",
        "deal ID #7",
        "Deal №7",
        "Сделка:#7",
        "Актуально #7",
    ),
    *("Фонтаны #7", "Цветы #7", "[org/repo] #7 x", "Сделка #1 срочно"),
]


@pytest.mark.parametrize("sender", [STRANGER, OWN])
@pytest.mark.parametrize("subject", NEVER)
def test_what_nobody_reads_as_a_deal(subject: str, sender: str) -> None:
    assert found(subject, sender).verdict is Verdict.NO_MATCH


@pytest.mark.parametrize("subject", DOUBTFUL)
def test_what_counts_something_else_unless_the_sender_has_that_deal(subject: str) -> None:
    assert (found(subject).verdict, found(subject).code) == (Verdict.NO_MATCH, "counts_something_else")
    assert found(subject, OWN).verdict is found(subject, KIN).verdict is Verdict.MATCH


@pytest.mark.parametrize("sender", [STRANGER, OWN])
@pytest.mark.parametrize("subject", READ)
def test_what_a_person_reads_as_a_deal(subject: str, sender: str) -> None:
    assert found(subject, sender).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (r"№(?P<deal>\d+)", "КП №7"),
        (r"Сделка № (?P<deal>\d+)", "Сделка № 7"),
        (r"сделка # (?P<deal>\d+)", "сделка # 7"),
        (r"＃(?P<deal>\d+)", "КП ＃7"),
        (r"DEAL-(?P<deal>\d+)", "DEAL-0007"),
        (r"D(?P<deal>\d+)", "КП_D7"),
        (r"#(?P<deal>\d+)", "КП №7"),
    ],
)
def test_a_configured_pattern_finds_what_it_spells(pattern: str, subject: str) -> None:
    """Also where it spells what is otherwise read as another sign."""
    assert found(subject, OWN, pattern=pattern).target == deal(7)


def test_the_colour_of_digits_is_a_colour_beside_another() -> None:
    rows = [deal_row(336699, 5)]
    for subject in ("логотип #336699 и #ffcc00", "Kolor #336699", "RAL #336699"):
        envelope = Envelope(subject=subject, from_=(Address(STRANGER),))
        own = frozenset({"sales@company.ru"})
        assert marker(Letter(envelope, own, own), index_of(deals=rows), RoutingPolicy()).target is None


def test_the_words_of_a_configured_pattern_are_no_doubt() -> None:
    assert found("Order #7", pattern=r"Order #(?P<deal>\d+)").target == deal(7)


@pytest.mark.parametrize("nature", [Nature.BOUNCE, Nature.AUTO_REPLY, Nature.LIST])
def test_what_a_machine_writes_counts_for_the_deals_client_only(nature: Nature) -> None:
    assert found("Re: #7", STRANGER, nature=nature).verdict is Verdict.NO_MATCH
    assert found("Re: #7", OWN, nature=nature).target == deal(7)
    assert found("Re: #7", KIN, nature=nature).target == deal(7)
    assert found(signed(7), STRANGER, nature=nature).target == deal(7)


@pytest.mark.parametrize("subject", [f"#{TEMPLATE}", signed(TEMPLATE), "[CRM:502-ABC123]"])
@pytest.mark.parametrize("sender", [STRANGER, OWN])
def test_a_template_of_recurring_deals_is_no_target(subject: str, sender: str) -> None:
    assert (found(subject, sender).verdict, found(subject, sender).target) == (Verdict.NO_MATCH, None)


@pytest.mark.parametrize(
    "subject",
    [
        *(signed(7), signed(7).lower(), signed(7).replace("#", "＃"), signed(7).replace("#", "№ ")),
        *(signed(7).replace("-", dash) for dash in ("–", "\u2011", "−", "—", " - ", " – ")),
        *(
            f"#7 {signed(7)}",
            f"{signed(7)} #7",
            f"#7-AAA1 {signed(7)}",
            f"{signed(7)} #7-AAA1",
            f"[{signed(7)}]",
        ),
    ],
)
def test_a_good_signature_is_found(subject: str) -> None:
    assert [reason.code for reason in found(subject).reasons] == ["signed_marker"]
    assert found(subject).target == deal(7)
    assert found(subject, FOREIGN).target == deal(7)


@pytest.mark.parametrize("secret", [KEY, ""])
@pytest.mark.parametrize(
    "subject",
    [
        "#7-AAA1",
        "#7–AAA1",
        "#7\u2011AAA1",
        "№7-AAA1",
    ],
)
def test_a_wrong_signature_is_no_bare_number(subject: str, secret: str) -> None:
    for sender in (STRANGER, OWN):
        assert (found(subject, sender, secret).verdict, found(subject, sender, secret).candidates) == (
            Verdict.REJECTED,
            (7,),
        )


@pytest.mark.parametrize("secret", [KEY, ""])
@pytest.mark.parametrize(
    "subject",
    [
        *(
            "#7-AAAA",
            "#7-AA",
            "#7-final",
            "#7-rev2",
            "#7-v2",
            "#7-urgent",
            "#7-SPB",
            "Сделка #7-v2",
            "#7-aaa1",
        ),
        *("#7 - 40HC контейнер", "#7 - 10KG", f"{signed(7)}X"),
    ],
)
def test_what_is_no_signature_leaves_a_bare_number(subject: str, secret: str) -> None:
    """Four capitals and digits right behind a dash are one, as `marker --sign` prints them."""
    assert found(subject, OWN, secret).target == deal(7)


def test_a_signature_without_a_key_is_rejected() -> None:
    assert found(signed(7), secret="").code == "wrong_signature"


@pytest.mark.parametrize(
    ("subject", "sender", "target"),
    [
        (f"{signed(8)} our #1", OWN, 1),
        (f"{signed(8)} {signed(1)}", OWN, 1),
        (f"{signed(7)} #1", OWN, None),
        (f"{signed(7)} #8", STRANGER, None),
        ("[CRM:501-ABC123] #2", OWN, None),
        ("[CRM:501-ABC123] #8", FOREIGN, 8),
    ],
)
def test_of_several_the_one_of_the_senders(subject: str, sender: str, target: int | None) -> None:
    assert found(subject, sender).target == (deal(target) if target else None)
    assert found(subject, sender).verdict is (Verdict.MATCH if target else Verdict.AMBIGUOUS)


@pytest.mark.parametrize(
    ("subject", "sender", "verdict", "candidates"),
    [
        ("[CRM:501-ABC123] x", OWN, Verdict.MATCH, (7,)),
        ("[msg:501-abc123] x", STRANGER, Verdict.MATCH, (7,)),
        ("[CRM:501-ABC123] x", FOREIGN, Verdict.REJECTED, (7,)),
        ("[CRM:501-ZZZ999] x", STRANGER, Verdict.REJECTED, ()),
        ("[CRM:501-ZZZ999] #7", OWN, Verdict.MATCH, (7,)),
        ("[CRM:999-ZZZ999] x", OWN, Verdict.NO_MATCH, ()),
    ],
)
def test_marks_of_bitrix24(subject: str, sender: str, verdict: Verdict, candidates: tuple[int, ...]) -> None:
    assert (found(subject, sender).verdict, found(subject, sender).candidates) == (verdict, candidates)
