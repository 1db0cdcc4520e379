"""An agent behind HTTP: what is answered to a request, and the same on Ray Serve.

| request | answer |
|---|---|
| `GET /health` | `{"status": "ok", "sessions": 3, "observation_space": ..., "action_space": ...}` |
| `POST /sessions` | `{"session": NAME}` |
| `POST /sessions/NAME/act` with `{"observation": ...}`, from the second on `"reward"` too | `{"action": ..., "belief": ...}` |
| `DELETE /sessions/NAME` | `{}` |

An invalid request is answered with `{"error": ...}`: 400, 404 (no such session or path), 405,
413 (too long), 503 (too many sessions).
"""  # noqa: E501  (a table)

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rllib_metarl.errors import UserError
from rllib_metarl.reading import Unreadable, parse_json
from rllib_metarl.serving.sessions import Full, NoSession, Sessions

MOST_BODY = 16 << 20
"""The largest request, in bytes."""
ALLOWED = {"observation", "reward", "done", "action_mask"}
Answer = tuple[int, dict[str, Any]]


def answer(sessions: Sessions, method: str, path: str, body: bytes) -> Answer:
    """Status and content of the response to a request; see the top of the file."""
    try:
        return 200, _handler(sessions, method, path, body)()
    except NoSession as error:
        return 404, {"error": str(error)}
    except Full as error:
        return 503, {"error": str(error)}
    except _Refused as error:
        return error.status, {"error": str(error)}
    except UserError as error:
        return 400, {"error": str(error)}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _handler(
    sessions: Sessions, method: str, path: str, body: bytes
) -> Callable[[], dict[str, Any]]:
    if len(body) > MOST_BODY:
        raise _Refused(413, f"a request has at most {MOST_BODY:,} bytes.")
    match [part for part in path.split("/") if part]:
        case ["health"]:
            known: dict[str, Callable[[], dict[str, Any]]] = {"GET": sessions.health}
        case ["sessions"]:
            known = {"POST": lambda: {"session": sessions.begin()}}
        case ["sessions", name]:
            known = {"DELETE": lambda: _ended(sessions, name)}
        case ["sessions", name, "act"]:
            known = {"POST": lambda: sessions.act(name, **_step(body))}
        case _:
            raise _Refused(404, "no such path: /health, /sessions, /sessions/NAME[/act].")
    if method not in known:
        raise _Refused(405, f"{method[:20]} is not answered here: {', '.join(known)}.")
    return known[method]


def _ended(sessions: Sessions, name: str) -> dict[str, Any]:
    sessions.end(name)
    return {}


def _step(body: bytes) -> dict[str, Any]:
    """The arguments of `Sessions.act`, from JSON.

    Raises:
        UserError: it is something else.
    """
    try:
        payload = parse_json(body, written_by_hand=True)
    except Unreadable as error:
        raise UserError(f"the body is not valid JSON: {error}.") from None
    if not isinstance(payload, dict) or "observation" not in payload or set(payload) - ALLOWED:
        raise UserError(f"the body has to be an object of observation, {', '.join(_others())}.")
    return payload


def _others() -> list[str]:
    return sorted(ALLOWED - {"observation"})


def application(agent: str, idle_s: float, most: int) -> Any:
    """The Ray Serve application; one replica, since it keeps the sessions' states in memory.

    Args:
        agent: what `load_agent` takes.
        idle_s: see `Sessions`; most: see `Sessions`.
    """
    from ray import serve
    from starlette.requests import Request
    from starlette.responses import Response

    class Server:
        def __init__(self) -> None:
            import torch

            torch.set_num_threads(1)
            self._sessions = Sessions(agent, idle_s, most)

        async def __call__(self, request: Request) -> Response:
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > MOST_BODY:  # whatever is announced: no more is read
                    break
            asked = (request.method, request.url.path, bytes(body))
            status, content = answer(self._sessions, *asked)
            return Response(json.dumps(content), status, media_type="application/json")

    settings = {"max_ongoing_requests": 1000, "ray_actor_options": {"num_cpus": 0}}
    deployment: Any = serve.deployment(num_replicas=1, **settings)(Server)
    return deployment.bind()
