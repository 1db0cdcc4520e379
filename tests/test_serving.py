"""Many users of one agent, none of them mixed up; what is malformed is refused."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_metarl import load_agent
from rllib_metarl.errors import UserError
from rllib_metarl.serving.http import MOST_BODY, answer
from rllib_metarl.serving.sessions import Full, NoSession, Sessions
from tests.cli.conftest import finish, start

EXAMPLE = "example:dynamite/gridworld"
ROOT = Path(__file__).resolve().parents[1]
USERS, STEPS = 200, 6


@pytest.fixture(scope="module")
def agent() -> Any:
    return load_agent(EXAMPLE)


def histories() -> tuple[Any, Any]:
    """What users see, `[users, steps, 6]`, and earn, `[users, steps]`."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 5, (USERS, STEPS, 6)) / 4.0, rng.integers(0, 2, (USERS, STEPS)) * 1.0


def expected(agent: Any, seen: Any, earned: Any) -> list[tuple[int, list[float]]]:
    state, told = agent.initial_state(), []
    for observation, reward in zip(seen, earned, strict=True):
        action, state = agent.act(observation, state)
        told.append((int(action), agent.belief(state)["mean"].tolist()))
        state = agent.observe(state, reward=reward)
    return told


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_two_hundred_users_at_once_are_not_mixed_up(agent: Any) -> None:
    """Each of them a thread, and requests as they come over HTTP."""
    sessions, (seen, earned) = Sessions(agent), histories()
    got: dict[int, list[tuple[int, list[float]]]] = {user: [] for user in range(USERS)}
    together = threading.Barrier(USERS)

    def use(user: int) -> None:
        _, told = answer(sessions, "POST", "/sessions", b"")
        together.wait()
        for t in range(STEPS):
            step = {"observation": seen[user, t].tolist()}
            step |= {"reward": earned[user, t - 1]} if t else {}
            body = json.dumps(step).encode()
            status, said = answer(sessions, "POST", f"/sessions/{told['session']}/act", body)
            assert status == 200, said
            got[user].append((said["action"], said["belief"]["mean"]))

    threads = [threading.Thread(target=use, args=(user,)) for user in range(USERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sessions.health()["sessions"] == USERS
    for user in range(USERS):
        assert got[user] == expected(agent, seen[user], earned[user]), user


def test_idle_sessions_are_dropped_and_used_ones_stay(agent: Any) -> None:
    clock = Clock()
    sessions = Sessions(agent, idle_s=10.0, most=2, clock=clock)
    idle, used = sessions.begin(), sessions.begin()
    with pytest.raises(Full, match="2 sessions are under way"):
        sessions.begin()
    clock.now = 8.0
    sessions.act(used, np.zeros(6))
    clock.now = 12.0
    with pytest.raises(NoSession):
        sessions.act(idle, np.zeros(6))
    sessions.act(used, np.zeros(6), reward=1.0)
    sessions.end(used)
    assert sessions.health()["sessions"] == 0
    with pytest.raises(NoSession):
        sessions.end(used)


@pytest.mark.parametrize(
    "method, path, body, status, told",
    [
        ("POST", "/sessions/{}/act", b"{", 400, "not valid JSON"),
        ("POST", "/sessions/{}/act", b"[1]", 400, "has to be an object of observation"),
        ("POST", "/sessions/{}/act", b"{}", 400, "has to be an object of observation"),
        ("POST", "/sessions/{}/act", b'{"observation": [0], "rewrd": 1}', 400, "has to be"),
        ("POST", "/sessions/{}/act", b'{"observation": [0]}', 400, "expected (6,)"),
        ("POST", "/sessions/{}/act", b'{"observation": "x"}', 400, "observation is 'x'"),
        ("POST", "/sessions/{}/act", b'{"observation": [0, 0, 0, 0, 0, NaN]}', 400, "not finite"),
        (
            "POST",
            "/sessions/{}/act",
            b'{"observation": [0, 0, 0, 0, 0, 0], "reward": 1}',
            400,
            "no action was taken yet",
        ),
        ("POST", "/sessions/{}/act", b"[" * 9999, 400, "not valid JSON"),
        ("POST", "/sessions/{}/act", b"\xff", 400, "not valid JSON"),
        ("POST", "/sessions/{}/act", b" " * (MOST_BODY + 1), 413, "at most"),
        ("POST", "/sessions/none/act", b'{"observation": [0]}', 404, "no such session"),
        ("DELETE", "/sessions/none", b"", 404, "no such session"),
        ("GET", "/sessions", b"", 405, "POST"),
        ("GET", "/", b"", 404, "no such path"),
        ("POST", "/sessions/a/b/c", b"", 404, "no such path"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_what_is_malformed_is_refused(
    agent: Any, method: str, path: str, body: bytes, status: int, told: str
) -> None:
    sessions = Sessions(agent)
    name = sessions.begin()
    got, said = answer(sessions, method, path.format(name), body)
    assert got == status and told in said["error"]
    before = expected(agent, np.zeros((1, 6)), [0.0])[0]  # the session is as it was
    assert sessions.act(name, np.zeros(6))["action"] == before[0]


@pytest.mark.slow
def test_a_plain_ray_actor_is_such_a_server(shared_ray: None, agent: Any) -> None:
    """The page's own lines."""
    page = (ROOT / "docs" / "serve-an-agent.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    names: dict[str, Any] = {"observation": np.zeros(6)}
    exec(code.replace("runs/checkpoint_000005", EXAMPLE), names)
    assert names["answer"]["action"] == expected(agent, np.zeros((2, 6)), [1.0, 0.0])[1][0]


@pytest.mark.slow
def test_two_hundred_users_over_http_are_not_mixed_up(agent: Any) -> None:
    """The command itself, on Ray Serve, where the extra `serve` is installed."""
    pytest.importorskip("starlette")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start("serve", EXAMPLE, "--port", port)
    try:
        assert server.stdout is not None
        assert any("serving" in line for line in server.stdout)
        seen, earned = histories()
        got: dict[int, list[Any]] = {}

        def call(method: str, path: str, told: Any = None) -> Any:
            body = None if told is None else json.dumps(told).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, method=method)
            with urllib.request.urlopen(request, timeout=120) as said:
                return json.loads(said.read())

        def use(user: int) -> None:
            name, got[user] = call("POST", "/sessions")["session"], []
            for t in range(STEPS):
                step = {"observation": seen[user, t].tolist()}
                step |= {"reward": earned[user, t - 1]} if t else {}
                said = call("POST", f"/sessions/{name}/act", step)
                got[user].append((said["action"], said["belief"]["mean"]))

        threads = [threading.Thread(target=use, args=(user,)) for user in range(USERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert call("GET", "/health")["sessions"] == USERS
        for user in range(USERS):
            assert got[user] == expected(agent, seen[user], earned[user]), user
    finally:
        server.send_signal(signal.SIGINT)
        ended = finish(server)
    assert ended.code == 0 and "stopped" in ended.out, ended.err


def test_without_ray_serve_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from rllib_metarl.cli import serve

    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="rllib-metarl\\[serve\\]"):
        serve.serve(Path(EXAMPLE), 8000, 600.0, 10, ())


def test_oracles_are_not_served(agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "needs", "context")
    with pytest.raises(UserError, match="it needs the context"):
        Sessions(agent)
