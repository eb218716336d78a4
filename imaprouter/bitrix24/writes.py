"""Commands that change something in the portal, and what their refusals mean. Pure."""

from __future__ import annotations

from imaprouter.bitrix24.commands import Answer, Command
from imaprouter.bitrix24.values import integer
from imaprouter.errors import PortalError, PortalOutcomeUnknown, PortalRefused
from imaprouter.model import Binding

ORIGINATOR = "imaprouter"

#: Our names of fields, as `model.Activity` has them.
_FIELDS = {
    "responsible_id": "RESPONSIBLE_ID",
    "originator_id": "ORIGINATOR_ID",
    "origin_id": "ORIGIN_ID",
}
_NOTIFY = "im.notify.system.add"
_SAVE = "mail.message.createcrmactivity"

_ALREADY = {
    "crm.activity.binding.add": ("activity_is_already_bound",),
    "crm.activity.binding.delete": ("binding_not_found",),
    "crm.activity.binding.move": ("activity_is_already_bound", "source_and_target_entity_id_are_equal"),
}
#: Builds before 2026 refuse these two without a code, in English (mail-internals 5.1).
_EQUAL_IDS = "source and target entity id cannot be equal"


def add(activity_id: int, binding: Binding) -> Command:
    """Bind an activity to one more object, which must have been seen: it may not exist (rest.md trap 3)."""
    return Command("crm.activity.binding.add", _pair(activity_id, binding))


def delete(activity_id: int, binding: Binding) -> Command:
    """Unbind an activity; the portal refuses to take the last binding."""
    return Command("crm.activity.binding.delete", _pair(activity_id, binding))


def move(activity_id: int, source: Binding, target: Binding) -> Command:
    """Put one binding in another's place at once. Both must be of one type (rest.md 2.7)."""
    return Command(
        "crm.activity.binding.move",
        {
            "activityId": activity_id,
            "sourceEntityTypeId": source.type_id,
            "sourceEntityId": source.entity_id,
            "targetEntityTypeId": target.type_id,
            "targetEntityId": target.entity_id,
        },
    )


def set_responsible(activity_id: int, user_id: int) -> Command:
    return _update(activity_id, {"RESPONSIBLE_ID": user_id})


def stamp(activity_id: int, origin_id: str) -> Command:
    """Mark an activity as ours: a mark that lists show and filter by (rest.md 5.4)."""
    return _update(activity_id, {"ORIGINATOR_ID": ORIGINATOR, "ORIGIN_ID": origin_id})


def stamp_and_set_responsible(activity_id: int, origin_id: str, user_id: int) -> Command:
    """Both in one call."""
    fields = {"ORIGINATOR_ID": ORIGINATOR, "ORIGIN_ID": origin_id, "RESPONSIBLE_ID": user_id}
    return _update(activity_id, fields)


def put_back(activity_id: int, name: str, value: int | str) -> Command:
    """Give one of the fields that `set_responsible` and `stamp` change its former value."""
    return _update(activity_id, {_FIELDS[name]: value})


def notify(user_id: int, message: str) -> Command:
    """A notification by the system; BB code is understood. Never repeat it: nothing tells doubles apart."""
    return Command(_NOTIFY, {"USER_ID": user_id, "MESSAGE": message})


def save_letter(mail_id: int) -> Command:
    """Have Bitrix24 make the activity of a letter that its mail holds and its CRM skipped.

    Of REST 3: not for a batch. A second call can make a second activity (mail-internals 9).
    """
    return Command(_SAVE, {"messageId": mail_id})


def set_deal_field(deal_id: int, name: str, value: str) -> Command:
    """Write one user field of a deal; runs its automation, and may bump its DATE_MODIFY (rest.md 4.1)."""
    params = {"id": deal_id, "fields": {name: value}, "params": {"REGISTER_SONET_EVENT": "N"}}
    return Command("crm.deal.update", params)


def error_of(command: Command, answer: Answer) -> PortalError | None:
    """Why a command failed, or may have; None: the portal says that it is done.

    That is `true`, or the id of a notification (rest.md 6); one for nobody is answered with false (5.1).
    """
    if isinstance(answer, PortalError):
        return answer
    if answer is False:
        return PortalRefused(f"{command.method}: the portal answers no", method=command.method)
    if answer is True or (command.method == _NOTIFY and integer(answer) > 0):
        return None
    message = f"{command.method}: answered with {str(answer)[:40]!r}"
    return PortalOutcomeUnknown(message, method=command.method)


def already_so(command: Command, error: PortalError) -> bool:
    """Whether the portal refused a command because nothing is left to do. Read back all the same.

    After a move that may mean 'both are bound' too: the target is looked at before the source.
    """
    known = _ALREADY.get(command.method, ())
    return error.code.removesuffix("_error") in known or (
        command.method == "crm.activity.binding.move" and _EQUAL_IDS in error.message.lower()
    )


def _pair(activity_id: int, binding: Binding) -> dict[str, int]:
    return {"activityId": activity_id, "entityTypeId": binding.type_id, "entityId": binding.entity_id}


def _update(activity_id: int, fields: dict[str, object]) -> Command:
    # Never OWNER, BINDINGS, COMMUNICATIONS, SETTINGS: ignored, or they destroy bindings (mail-internals 7.3).
    params = {"id": activity_id, "fields": fields, "params": {"REGISTER_HISTORY_EVENT": "N"}}
    return Command("crm.activity.update", params)
