"""Checks of a subject before it is measured: a wrong body must not count as a fast one."""

import time
import urllib.error
import urllib.request
from functools import lru_cache

from . import parts
from .certificates import believing
from .origins import SMALL, content
from .running import CannotStart

CHECKED = 10  # seconds until every server has been checked

expected = lru_cache(maxsize=None)(content)


def fetch(scenario, port, path=None):
    """(body, headers) of one request of the scenario, on a connection of its own."""
    scheme, context = ("https", believing()) if scenario.tls else ("http", None)
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}{path or scenario.path}")
    if scenario.upload:
        request.data = b"x" * scenario.upload
    for field in scenario.fields():
        request.add_header(*field.split(": ", 1))
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.read(), answer.headers
    except (urllib.error.URLError, OSError) as error:
        raise CannotStart(f"does not answer: {error}") from error


def right(scenario, body, headers):
    wanted = SMALL.encode() if scenario.upload else expected(scenario.path)
    if len(body) != len(wanted):
        raise CannotStart(f"gave {len(body)} bytes instead of {len(wanted)}")
    if body != wanted:
        raise CannotStart("gave other bytes than the origin has")
    if scenario.upload and int(headers.get("X-Received") or 0) < scenario.upload:
        raise CannotStart(f"passed on {headers.get('X-Received')} bytes of an upload of {scenario.upload}")


def answers(scenario, port, one_server=False):
    """Sends a few requests: the bytes must be right and come from two origins in turns, but for a relay to one.

    Whoever checks its servers may leave the second one out until its first check has passed: it gets some seconds."""
    if scenario.kind == "frames":
        return  # its driver looks at every message
    seen = set()
    deadline = time.monotonic() + (CHECKED if scenario.has("checks") else 0)
    while True:
        for _ in range(4):
            body, headers = fetch(scenario, port)
            right(scenario, body, headers)
            seen.add(headers.get("X-Origin"))
        if len(seen) == min(scenario.servers, 2) or time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    if len(seen) != 2 and scenario.workers == 1 and scenario.servers > 1 and not one_server:
        raise CannotStart(f"should use two origins in turns, used {sorted(map(str, seen))}")
    if scenario.parts:
        arrived(scenario, port)


def arrived(scenario, port):
    """What a script sets must reach the origin: one that did nothing must not count as a fast one."""
    body, wanted = fetch(scenario, port, parts.SEEN_PATH)[0], parts.seen(scenario).encode()
    if body != wanted:
        raise CannotStart(f"its requests arrive with {body!r} and not with {wanted!r}")
