"""Whether a Ray cluster answers at an address, found out soon and reported in one message."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys

from rllib_metarl.errors import UserError

ANSWER_S = 10.0
"""How long a cluster may take to answer. Ray itself would try for minutes."""
_CONNECT_S = 4.0
_HOW = "give the HOST:PORT that `ray start --head` printed, or leave --ray-address out"
_WRONG_TOKEN = "AuthenticationError"

# Ray's client waits in native code, writes what it likes, and may end its process: a process of
# its own asks.
_PROBE = """
import json, sys
found = {}
try:
    from ray._private import services
    from ray._raylet import GcsClient
    address = services.canonicalize_bootstrap_address_or_die(sys.argv[1])
    nodes = GcsClient(address=address, cluster_id=None).get_all_node_info()
    alive = {key.hex() for key, node in nodes.items() if node.state == 0}
    found["here"] = bool(alive & set(services.find_node_ids()))
except BaseException as error:
    found["error"], found["kind"] = str(error), type(error).__name__
print(json.dumps(found))
"""


def check_answers(address: str) -> None:
    """Makes sure that a cluster can be joined, before Ray tries to.

    Args:
        address: ``HOST:PORT``, or ``auto`` for the one that runs on this machine.

    Raises:
        UserError: nothing answers, it is not a Ray cluster, it requires another token, or none of
            its nodes is this machine.
    """
    if address != "auto":
        check_address(address)
        _connect(address)
    found = _request(address)
    if found is None:
        raise _wrong(address, f"no Ray cluster answered within {ANSWER_S:.0f} s; {_HOW}")
    if found.get("kind") == _WRONG_TOKEN:
        raise _wrong(
            address,
            "the cluster requires another token; set RAY_AUTH_TOKEN to the one that it was "
            "started with, and RAY_AUTH_MODE=token",
        )
    if "error" in found:
        raise _wrong(address, f"{_first_sentence(str(found['error']))}; {_HOW}")
    if not found["here"]:
        raise _wrong(
            address,
            "no node of this cluster runs on this machine; start the command on one of its "
            f"machines, or let this one join with `ray start --address={address}`",
        )


def check_address(address: str) -> None:
    """Makes sure that an address can be one: ``auto``, ``local`` or ``HOST:PORT``.

    Raises:
        UserError: it cannot.
    """
    if address in ("", "auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not re.fullmatch(r"\d{1,5}", port, re.ASCII):
        raise _wrong(address, f"is not HOST:PORT or auto; {_HOW}")
    if not 0 < int(port) < 2**16:
        raise _wrong(address, f"there is no port {port}; {_HOW}")


def _connect(address: str) -> None:
    """What a connection alone can tell, at once."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S):
            pass
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise _wrong(address, f"no Ray cluster answers there ({why}); {_HOW}") from None


def _request(address: str) -> dict[str, object] | None:
    """The probe's answer; None where it did not come in time, or not in one piece."""
    command = [sys.executable, "-c", _PROBE, address]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
        found = json.loads(ended.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return None
    return found if isinstance(found, dict) else None


def _wrong(address: str, what: str) -> UserError:
    return UserError(f"--ray-address {address}: {what}")


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].rstrip(".")[:300]
