"""How portals differ, as one frozen value: every uncertain fact is a switch here, not a guess in code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Quirks:
    """How this simulated portal behaves where the facts are uncertain or depend on its version."""

    #: rest.md 2.7: the rule read from code, or 'the old owner stays until its link is removed'.
    owner_rule: Literal["recompute", "sticks_until_unbound"] = "recompute"
    #: Keys of crm.activity.binding.list: entityTypeId or ENTITY_TYPE_ID (rest.md 2.7).
    binding_key_case: Literal["camel", "upper"] = "camel"
    #: PROVIDER_TYPE_ID of imported mail (rest.md 2.3).
    provider_type: Literal["EMAIL", "EMAIL_COMPRESSED"] = "EMAIL_COMPRESSED"
    #: The webhook's user is an administrator: the edit check passes for ids that do not exist (rest.md 2.7).
    admin: bool = True
    #: What anybody else gets for a binding target that does not exist (docs and code differ, rest.md 2.7).
    missing_target: Literal["ACCESS_DENIED", "OWNER_NOT_FOUND", "NOT_FOUND"] = "ACCESS_DENIED"
    #: The two 'equal' errors of move in older builds: without the _ERROR suffix, or with code 0.
    old_move_errors: Literal["off", "no_suffix", "no_code"] = "off"
    #: crm.activity.get of a missing id: an empty text (2026 code) or 'Activity is not found' (docs).
    empty_text_on_get: bool = True
    #: HTTP status of INVALID_CREDENTIALS and insufficient_scope: 401 live, 403 documented (rest.md 1.7).
    denied_status: Literal[401, 403] = 401
    #: `time` in answers: with the load limiter's keys, without them, or not at all (rest.md 1.4).
    time_block: Literal["full", "no_operating", "absent"] = "full"
    #: Errors carry the `time` of the call too: 'sometimes' (rest.md 1.7).
    time_in_errors: bool = False
    #: Status of an error of crm.contact.company.items.get: the page documents 200 (rest.md 4.3).
    relation_error_status: Literal[200, 400] = 400
    #: crm.duplicate.findbycomm puts its text into `error` (docs) instead of an empty code (code).
    findbycomm_text_as_code: bool = False
    #: mail-internals 2.6: the owner's responsible, or (mid-2026) the first binding's who is in the queue.
    responsible_rule: Literal["owner", "queue"] = "owner"
    #: Bindings of imported mail: sorted by type (mail-internals 2.4) or as they were found (rest.md 2.8).
    binding_order: Literal["sorted", "found"] = "sorted"
    #: Neighbouring encoded words: decoded as one piece, or each alone (breaks split characters).
    split_words: Literal["joined", "separate"] = "joined"
    #: Empty links in legacy rows and items (rest.md 4.1, 4.2).
    empty_link: Literal["null", "0"] = "null"
    #: crm.item.list of contacts tells all companies (`companyIds`), which the fact sheet does not state.
    item_company_ids: bool = True
    #: crm.item.list accepts `contactIds` as a filter key, which the fact sheet does not state.
    item_filter_contact_ids: bool = False
    #: error_description in the language of the portal, with HTML (rest.md 1.7).
    localised_texts: bool = False
    #: A binding change bumps the deal's DATE_MODIFY: an open question of rest.md 8.1.
    binding_bumps_date_modify: bool = False
    #: mail.message.createcrmactivity of what the CRM refuses all the same: the page names `true` only.
    unsaved_letter: Literal["true", "refused"] = "true"
