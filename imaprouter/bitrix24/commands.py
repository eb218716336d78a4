"""One REST call as a value, and the form in which a batch carries it and answers it (rest.md 1.6). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import quote

from imaprouter.bitrix24.failures import failure
from imaprouter.bitrix24.values import mapping
from imaprouter.errors import PortalError, PortalOutcomeUnknown

#: The method that carries the others.
BATCH = "batch"
#: The only method read in batches that answers with a plain value.
SERVER_TIME = "server.time"
#: The portal executes the first fifty commands of a batch and no more.
BATCH_SIZE = 50

#: What one command of a batch came to: the value of its `result`, or the error.
Answer: TypeAlias = Any | PortalError


@dataclass(frozen=True, slots=True)
class Command:
    """A method with its parameters. `read` promises that repeating it changes nothing."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    read: bool = False

    def __str__(self) -> str:
        """The command as `method?query`, every name and value percent-encoded."""
        pairs = (f"{quote(name, safe='')}={quote(item, safe='')}" for name, item in _flat(self.params))
        query = "&".join(pairs)
        return f"{self.method}?{query}" if query else self.method


def reference(position: int, *path: str | int) -> str:
    """A value of an earlier command of the same batch: `$result[c0][49][ID]`."""
    return f"$result[{key(position)}]" + "".join(f"[{step}]" for step in path)


def key(position: int) -> str:
    """The name of a command in its batch. No number: PHP makes lists of maps with numbers."""
    return f"c{position}"


def body(commands: Sequence[Command]) -> dict[str, Any]:
    """The parameters of the method `batch` for at most fifty commands."""
    return {"halt": 0, "cmd": {key(position): str(command) for position, command in enumerate(commands)}}


def answers(commands: Sequence[Command], result: Any, now: datetime) -> list[Answer]:
    """Each command's value or error, in the order of the commands."""
    parts = mapping(result)
    values, errors = (_by_key(parts.get(part), len(commands)) for part in ("result", "result_error"))
    found: list[Answer] = []
    for position, (command, spent) in enumerate(zip(commands, times(commands, result), strict=True)):
        name = key(position)
        if name in errors:
            error = errors[name] if isinstance(errors[name], dict) else {"error": errors[name]}
            found.append(failure(command.method, 0, {"time": spent, **error}, now))
        elif name in values and _tells(command, values[name]):
            found.append(values[name])
        elif name in values:
            message = f"{command.method}: the batch answers it with {str(values[name])[:40]!r}"
            found.append(PortalOutcomeUnknown(message, method=command.method))
        else:
            message = f"{command.method}: the batch has no answer to it"
            found.append(PortalOutcomeUnknown(message, method=command.method))
    return found


def times(commands: Sequence[Command], result: Any) -> list[Any]:
    """The `time` block of each command, None where there is none."""
    blocks = _by_key(mapping(result).get("result_time"), len(commands))
    return [blocks.get(key(position)) for position in range(len(commands))]


def value(answer: Answer) -> Any:
    """The value of an answer; an error is raised."""
    if isinstance(answer, PortalError):
        raise answer
    return answer


def _tells(command: Command, found: Any) -> bool:
    """Whether a value is an answer. What is read comes as a list or a map: anything else is not 'none'.

    An empty list is `[]` (rest.md 1.6), and crm.item.list has its own in `items` (4.2).
    """
    if command.method == SERVER_TIME:
        return isinstance(found, str)
    if command.method == "crm.item.list":
        found = found.get("items") if isinstance(found, dict) else None
    return not command.read or isinstance(found, dict | list)


def _by_key(part: Any, count: int) -> dict[str, Any]:
    if isinstance(part, list):
        return {key(position): item for position, item in enumerate(part)} if len(part) == count else {}
    return mapping(part)


def _flat(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values in PHP's brackets: {'filter': {'>ID': 5}} gives ('filter[>ID]', '5')."""
    for name, item in params.items():
        yield from _nested(name, item)


def _nested(name: str, item: Any) -> Iterator[tuple[str, str]]:
    if isinstance(item, Mapping):
        for inner, content in item.items():
            yield from _nested(f"{name}[{inner}]", content)
    elif isinstance(item, list | tuple):
        for position, content in enumerate(item):
            yield from _nested(f"{name}[{position}]", content)
    elif isinstance(item, bool):
        yield name, str(int(item))
    elif isinstance(item, datetime):
        yield name, item.isoformat(timespec="seconds")
    elif item is not None:
        yield name, str(item)
