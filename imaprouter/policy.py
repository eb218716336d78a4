"""What a company may choose about deciding and binding: the [routing] and [binding] tables as values.

The defaults are the contract's. `config` reads them from TOML; the core only reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

RuleName = Literal["marker", "thread", "address", "participants"]
ClosedDeal = Literal["bind", "next_rule"]
ClientPolicy = Literal["company", "contact", "leave", "review"]


@dataclass(frozen=True, slots=True)
class MarkerPolicy:
    #: Regular expressions with a group named `deal`.
    patterns: tuple[str, ...] = (r"#(?P<deal>\d{1,10})\b",)
    #: off: any existing deal; related: not when the sender is known as somebody else's client;
    #: strict: the sender belongs to the deal's client or shares its corporate domain.
    sender_check: Literal["off", "related", "strict"] = "related"
    #: The key of signed markers, given as secret_file or secret_env; '': they are not understood.
    secret: str = field(default="", repr=False, metadata={"secret": True})
    closed_deal: ClosedDeal = "bind"


@dataclass(frozen=True, slots=True)
class ThreadPolicy:
    closed_deal: ClosedDeal = "bind"


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    authentication: Literal["off", "prefer", "require"] = "off"
    authserv_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    #: Matched against the whole tag of sales+TAG@company.ru; a group named `deal`. '' turns it off.
    plus_tag: str = r"d(?P<deal>\d+)"
    #: Recipient address to pipeline: narrows the candidates of the participants rule.
    category: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParticipantsPolicy:
    no_active_deal: Literal["company", "contact", "last_closed_deal", "leave", "review"] = "company"
    no_responsible: ClientPolicy = "company"
    several_deals: Literal["review", "latest", "company"] = "review"
    shared_address: Literal["deals", "review"] = "deals"
    #: User's address to further addresses of his.
    user_aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: How long after a change the former responsible still counts as a deal's; zero: not at all.
    handover: timedelta = timedelta(days=30)
    #: Whether a deal's observers count as its responsible does.
    observers: bool = False


@dataclass(frozen=True, slots=True)
class BouncesPolicy:
    #: Fetch the returned headers of a bounce that names no message in its own.
    read_report: bool = False


@dataclass(frozen=True, slots=True)
class ForwardsPolicy:
    #: Fetch the headers of the letters that an employee forwards as attachments, to say whose they are.
    read_attached: bool = False


@dataclass(frozen=True, slots=True)
class LoopPolicy:
    #: More letters than this between the same two addresses within an hour are a loop; 0: never.
    limit: int = 20


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    #: Strongest first.
    rules: tuple[RuleName, ...] = ("marker", "thread", "address", "participants")
    on_conflict: Literal["order", "review"] = "order"
    marker: MarkerPolicy = field(default_factory=MarkerPolicy)
    thread: ThreadPolicy = field(default_factory=ThreadPolicy)
    trust: TrustPolicy = field(default_factory=TrustPolicy)
    address: AddressPolicy = field(default_factory=AddressPolicy)
    participants: ParticipantsPolicy = field(default_factory=ParticipantsPolicy)
    bounces: BouncesPolicy = field(default_factory=BouncesPolicy)
    forwards: ForwardsPolicy = field(default_factory=ForwardsPolicy)
    loop: LoopPolicy = field(default_factory=LoopPolicy)


@dataclass(frozen=True, slots=True)
class BindingPolicy:
    mode: Literal["act", "observe"] = "act"
    #: deals: deal bindings are replaced; also_leads: an automatically created lead is unbound too.
    replace: Literal["deals", "also_leads"] = "deals"
    set_responsible: bool = True
    notify: bool = True
    stamp: bool = True
    create_missing: bool = False
    wait: timedelta = timedelta(hours=36)
    poll_every: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    #: Ask people by a notification when a letter waits for a person: once for each letter and person.
    notify: bool = False
    #: Ids of Bitrix24 users who are asked; () means those responsible for the candidates.
    users: tuple[int, ...] = ()
