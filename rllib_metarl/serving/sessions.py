"""One agent for many users at once: each has a session with a state of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.protocol import plain
from rllib_metarl.serving.agent import Agent, AgentState
from rllib_metarl.serving.loading import load_agent

IDLE_S = 600.0
MOST_SESSIONS = 10_000


class NoSession(UserError):
    """There is no such session: it was ended, was idle for too long or never began."""


class Full(UserError):
    """There are as many sessions as allowed."""


@dataclass
class _Session:
    state: AgentState
    used: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Sessions:
    """Sessions of one agent; calls may come from any thread, or as those of a Ray actor.

    Args:
        agent: the agent, or what `load_agent` takes.
        idle_s: seconds after which a session that nobody uses is dropped.
        most: sessions at once.
        clock: tells the time in seconds.

    Raises:
        UserError: there is no such agent, or it needs a label at each step.
    """

    def __init__(
        self,
        agent: Agent | str | Path,
        idle_s: float = IDLE_S,
        most: int = MOST_SESSIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent = agent if isinstance(agent, Agent) else load_agent(agent)
        if self._agent.needs is not None:
            raise UserError(f"an oracle is not served: it needs the {self._agent.needs}.")
        self._idle_s, self._most, self._clock = idle_s, most, clock
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()

    def begin(self) -> str:
        """Begins a session, and with it a meta-episode; returns its unguessable name.

        Raises:
            Full: there are `most` already.
        """
        session = _Session(self._agent.initial_state(), self._clock())
        with self._lock:
            self._drop_idle()
            if len(self._sessions) >= self._most:
                raise Full(f"{self._most:,} sessions are under way: try again later.")
            name = secrets.token_urlsafe(16)
            self._sessions[name] = session
        return name

    def act(
        self,
        name: str,
        observation: Any,
        reward: Any = None,
        done: Any = False,
        action_mask: Any = None,
    ) -> dict[str, Any]:
        """The likeliest action and the belief; if this raises, nothing has changed.

        Args:
            name: of the session.
            observation: as the env gives it, in plain lists if need be.
            reward: what the session's last action earned; None at the first step alone.
            done: whether an inner episode ended with it.
            action_mask: which choices are possible, where the env says so.

        Returns:
            ``action`` and ``belief`` (see `Agent.belief`) as numbers, lists and dicts.

        Raises:
            NoSession: there is no such session.
            UserError: what was given is not of the right kind; see `Agent.act`.
        """
        session = self._find(name)
        with session.lock:
            state = session.state
            if reward is not None:
                state = self._agent.observe(state, reward=reward, done=done)
            action, state = self._agent.act(observation, state, action_mask=action_mask)
            session.state = state
            return {"action": plain(action), "belief": plain(self._agent.belief(state))}

    def end(self, name: str) -> None:
        """Forgets a session.

        Raises:
            NoSession: there is no such session.
        """
        self._find(name)
        with self._lock:
            self._sessions.pop(name, None)

    def health(self) -> dict[str, Any]:
        """How many sessions there are, and which observations and actions the agent has."""
        with self._lock:
            self._drop_idle()
            count = len(self._sessions)
        spaces = (self._agent.observation_space, self._agent.action_space)
        described = dict(zip(("observation_space", "action_space"), map(str, spaces), strict=True))
        return {"status": "ok", "sessions": count, **described}

    def _find(self, name: str) -> _Session:
        with self._lock:
            self._drop_idle()
            session = self._sessions.get(name) if isinstance(name, str) else None
            if session is None:
                raise NoSession("no such session: it has ended, or was idle for too long.")
            session.used = self._clock()
            del self._sessions[name]
            self._sessions[name] = session  # the last used are last
        return session

    def _drop_idle(self) -> None:
        """Sessions are in the order of their last use."""
        oldest = self._clock() - self._idle_s
        for name in list(self._sessions):
            if self._sessions[name].used >= oldest:
                return
            del self._sessions[name]
