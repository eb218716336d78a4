"""One peer reads the sandbox portal, and says how it went: run by the Python of an environment with peers.

peer.py NAME: the webhook's address and what is to be read come as JSON on the standard input. Nothing of
imaprouter is imported here: the peers' requirements and its own do not agree.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def fast_bitrix24(url: str, lists: list[list[Any]], limited: bool) -> int:
    """get_all of each list. Off the limit it is told not to hold itself back."""
    import fast_bitrix24 as peer

    client = peer.Bitrix(url, verbose=False, respect_velocity_policy=limited)
    return sum(len(client.get_all(method, params)) for method, params in lists)


def b24pysdk(url: str, lists: list[list[Any]], limited: bool) -> int:
    """call_list_fast of each list; user.get, which it cannot read so, by call_list."""
    from b24pysdk.api.callers.call_method import _MethodCaller
    from b24pysdk.credentials import BitrixWebhook

    # It knows no plain http, and the sandbox nothing else.
    _MethodCaller._base_url = property(lambda self: f"http://{self._domain}/rest")
    domain, _, token = url.removeprefix("http://").partition("/rest/")
    client, rows = BitrixWebhook(domain=domain, webhook_token=token), 0
    for method, params in lists:
        if method == "user.get":
            rows += len(client.call_list(method, params)["result"])
        else:
            rows += sum(1 for _ in client.call_list_fast(method, params)["result"])
    return rows


PEERS = {"fast_bitrix24": fast_bitrix24, "b24pysdk": b24pysdk}


def main() -> None:
    """Print {"rows", "seconds", "cpu", "peak_mib", "error"}."""
    order = json.load(sys.stdin)
    began, used, rows, error = time.perf_counter(), time.process_time(), 0, ""
    try:
        rows = PEERS[sys.argv[1]](order["url"], order["lists"], order["limited"])
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}".splitlines()[0][:150]
    said = {
        "rows": rows,
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - used,
        "peak_mib": peak_mib(),
        "error": error,
    }
    sys.stdout.write(json.dumps(said) + "\n")


def peak_mib() -> float:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
