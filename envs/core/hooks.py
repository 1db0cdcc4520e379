"""What an environment may say of itself beyond what gymnasium asks for: optional methods.

======================  ===========================================================================
method                  returns
======================  ===========================================================================
``exact_filter()``      a `bayes.FiniteFilter` or `bayes.NumberFilter`: the posterior that the best
                        possible belief would be. None, or `bayes.NoExactFilterError` raised with
                        the reason, where these arguments allow none.
``reference_returns()``  expected returns of reference policies by name (``blind``, ``bayes``,
                        ``oracle``, ``random``), or None.
``variants()``          name -> arguments that overrule the environment's own and make it a world
                        that looks the same and that its context cannot explain.
``measures(episodes)``  name -> number: what else than the return says how well an agent did. Each
                        episode has ``observations`` [T + 1, ...], ``actions`` [T, ...],
                        ``rewards`` [T] and ``labels`` (name -> [T, ...]).
``frame(observations,   how a picture of one meta-episode lays it out on a grid, from observations
context)``              [T + 1, ...] and contexts [T + 1, C] (or None): ``size`` (cells along an
                        edge), ``position`` [T + 1, 2] and ``goals`` [G, 2], cells as (row, column)
                        from the upper left corner; or None.
======================  ===========================================================================

All of them are optional, on single and on vector environments. `hook_of` looks them up from the
outermost wrapper inwards, so that a wrapper can redefine one. A wrapper that changes the problem
hides the hooks that no longer hold with ``name = None``.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from .notify import Notices, Unnotified


def hook_of(env: gym.Env | gym.vector.VectorEnv, name: str) -> Any:
    """Return the method `name` of an environment or of a wrapper around it, None without one."""
    inside: Any = env
    while name not in vars(inside) and not hasattr(type(inside), name):
        if isinstance(inside, (gym.Wrapper, gym.vector.VectorWrapper)):
            inside = inside.env
            continue
        singles = (
            getattr(inside, "envs", None) if isinstance(inside, gym.vector.VectorEnv) else None
        )
        if not singles:
            return None
        inside = singles[0]  # of single environments the first speaks for all
    return getattr(inside, name)


class Hooked:
    """Passes the hooks on to a simulator."""

    simulator: Any
    notices: Notices

    def reference_returns(self) -> dict[str, float] | None:
        """Return the exact expected returns of reference policies, or None if none are known."""
        level = self.notices.level
        returns: dict[str, float] | None = (
            self.simulator.reference_returns()
            if level == "none"
            else self.simulator.notified_returns(level)
        )
        return returns

    def exact_filter(self) -> Any:
        """Return the exact filter of the context, or None if none is known."""
        level = self.notices.level
        if level != "none":
            return self.simulator.notified_filter(level)
        return self.simulator.exact_filter()

    def variants(self) -> dict[str, dict[str, Any]]:
        """Return name -> arguments of worlds that an agent trained here does not know."""
        variants: dict[str, dict[str, Any]] = self.simulator.variants()
        return variants

    def measures(self, episodes: Any) -> dict[str, float]:
        """Return what else than the return says how well played meta-episodes went."""
        if self.notices.level != "none":
            episodes = [Unnotified(episode, self.notices) for episode in episodes]
        numbers: dict[str, float] = self.simulator.measures(episodes)
        return numbers

    def frame(self, observations: Any, context: Any) -> dict[str, Any] | None:
        """Return how a picture of one meta-episode is laid out, or None."""
        shown = self.notices.without(observations)
        frame: dict[str, Any] | None = self.simulator.frame(shown, context)
        return frame
