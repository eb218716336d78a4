"""crm.activity.binding.*: each check in the order of the portal's code (rest.md 2.7, mail-internals 5.1)."""

from __future__ import annotations

from imaprouter.sandbox.bindings import Pair
from imaprouter.sandbox.replies import Call, Method, Refusal, Reply, required_int

_IDS_ARE_EQUAL = ("SOURCE_AND_TARGET_ENTITY_ID_ARE_EQUAL", "Source and target entity ID cannot be equal")
_TYPES_DIFFER = (
    "SOURCE_AND_TARGET_ENTITY_TYPES_ARE_NOT_EQUAL",
    "Source and target entity types are not equal",
)


def binding_list(call: Call) -> Reply:
    """crm.activity.binding.list: only objects that the caller may read."""
    activity_id = _activity(call, required_int(call.params, "activityId"))
    keys = ("entityTypeId", "entityId")
    if call.quirks.binding_key_case == "upper":
        keys = ("ENTITY_TYPE_ID", "ENTITY_ID")
    readable = filter(call.crm.may_read, call.crm.bindings(activity_id))
    return Reply([dict(zip(keys, pair, strict=True)) for pair in readable])


def binding_add(call: Call) -> Reply:
    """crm.activity.binding.add: the new binding comes last."""
    activity_id, target = required_int(call.params, "activityId"), _pair(call, "entity")
    _activity(call, activity_id)
    _check_edit(call, target)
    bindings = call.crm.bindings(activity_id)
    _check_unbound(target, bindings)
    call.crm.set_bindings(activity_id, [*bindings, target])
    return Reply(True)


def binding_delete(call: Call) -> Reply:
    """crm.activity.binding.delete: never the last one."""
    activity_id, target = required_int(call.params, "activityId"), _pair(call, "entity")
    _activity(call, activity_id)
    _check_edit(call, target)
    bindings = call.crm.bindings(activity_id)
    _check_bound(target, bindings)
    if len(bindings) == 1:
        raise Refusal("LAST_BINDING_CANNOT_BE_DELETED", "Last binding cannot be deleted")
    call.crm.set_bindings(activity_id, [pair for pair in bindings if pair != target])
    return Reply(True)


def binding_move(call: Call) -> Reply:
    """crm.activity.binding.move: the source leaves and the target is appended, in one write."""
    activity_id = required_int(call.params, "activityId")
    source, target = _pair(call, "sourceEntity"), _pair(call, "targetEntity")
    _activity(call, activity_id)
    _check_edit(call, source)
    _check_edit(call, target)
    if source[1] == target[1]:
        raise _move_error(call, *_IDS_ARE_EQUAL)
    if source[0] != target[0]:
        raise _move_error(call, *_TYPES_DIFFER)
    bindings = call.crm.bindings(activity_id)
    _check_unbound(target, bindings)
    _check_bound(source, bindings)
    call.crm.set_bindings(activity_id, [*(pair for pair in bindings if pair != source), target])
    return Reply(True)


def _pair(call: Call, prefix: str) -> Pair:
    return required_int(call.params, f"{prefix}TypeId"), required_int(call.params, f"{prefix}Id")


def _activity(call: Call, activity_id: int) -> int:
    if activity_id not in call.crm.activities:
        raise Refusal("NOT_FOUND", "Element not found")
    return activity_id


def _check_edit(call: Call, pair: Pair) -> None:
    """An administrator passes for any id, existing or not (mail-internals 5.1)."""
    if not call.crm.may_edit(pair):
        raise Refusal("ACCESS_DENIED", "Access denied")
    if not call.quirks.admin and call.crm.entity(pair) is None:
        raise Refusal(call.quirks.missing_target, "Access denied")


def _check_unbound(pair: Pair, bindings: list[Pair]) -> None:
    if pair in bindings:
        raise Refusal("ACTIVITY_IS_ALREADY_BOUND", "Activity is already bound to this element")


def _check_bound(pair: Pair, bindings: list[Pair]) -> None:
    if pair not in bindings:
        raise Refusal("BINDING_NOT_FOUND", "Binding not found")


def _move_error(call: Call, code: str, text: str) -> Refusal:
    """These two texts are not localised (mail-internals 5.1)."""
    codes: dict[str, str | int] = {"off": f"{code}_ERROR", "no_suffix": code, "no_code": 0}
    return Refusal(codes[call.quirks.old_move_errors], text, always_english=True)


METHODS = {
    "crm.activity.binding.list": Method(binding_list),
    "crm.activity.binding.add": Method(binding_add, writes=True),
    "crm.activity.binding.delete": Method(binding_delete, writes=True),
    "crm.activity.binding.move": Method(binding_move, writes=True),
}
