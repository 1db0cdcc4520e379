"""A trained agent to take away: numpy in, numpy out, no env and no Ray that runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_metarl.checkpoint import Checkpoint, find
from rllib_metarl.envs.core.nested import nested, rows_of, values_of
from rllib_metarl.errors import UserError

Array = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class AgentState:
    """What an agent remembers of N meta-episodes; each call gives a new one.

    Attributes:
        recurrent: the encoder's state after the newest observation, `[N, ...]` each.
        belief: what the policy saw of it `[N, D]`; None before the first observation.
        action: the newest action as the encoder takes it `[N, A]`, zeros before the first.
        reward: what it earned `[N]`, 0 before the first; None until it is observed.
        single: whether observations, actions and rewards come without the dimension N.
    """

    recurrent: dict[str, Tensor]
    belief: Tensor | None
    action: Tensor
    reward: Tensor | None
    single: bool


class Agent:
    """Acts as the checkpoint's policy does in `rllib evaluate`.

    Args:
        module: a trained RLModule, see `Checkpoint.module`.

    Attributes:
        observation_space, action_space: of the env that it was trained in.
        needs: the label of the env that an oracle needs (`act`'s ``privileged``), or None.
    """

    def __init__(self, module: Any) -> None:
        self._module = module.eval()
        self.observation_space, self.action_space = module.observation_space, module.action_space
        self.needs: str | None = module.needs_privileged

    def initial_state(self, batch_size: int | None = None) -> AgentState:
        """The state before a meta-episode; before so many at once, if a number is given.

        A meta-episode begins where the hidden task may be any again: not at the end of one of its
        inner episodes.
        """
        count = 1 if batch_size is None else batch_size
        if count < 1:
            raise UserError(f"batch_size is {batch_size}: act in 1 meta-episode or more.")
        return AgentState(
            self._module.initial_state(count, torch.device("cpu")),
            None,
            torch.zeros(count, self._module.action_width),
            torch.zeros(count),
            single=batch_size is None,
        )

    @torch.inference_mode()
    def act(
        self,
        observation: Any,
        state: AgentState,
        *,
        explore: bool = False,
        generator: torch.Generator | None = None,
        privileged: Any = None,
    ) -> tuple[Any, AgentState]:
        """An action for each observation.

        Args:
            observation: as the env gives it, or N of them in the space's vectorised form where the
                state is of N meta-episodes.
            state: with the reward of the action before, see `observe`.
            explore: draw from the policy's distribution; else the likeliest action.
            generator: what is drawn with; torch's own where None.
            privileged: the label that `needs` names, `[C]` or `[N, C]`.

        Returns:
            actions in the env's own action space (N of them as the space's vectorised form), and
            the next state.

        Raises:
            UserError: shapes do not fit, something is not finite, or no reward was observed.
        """
        if state.reward is None:
            raise UserError(
                "act: the reward of the last action is unknown: call observe(state, reward=...) "
                "with it first."
            )
        module = self._module
        seen, mask = self._observed(observation, state)
        label = None
        if self.needs is not None:
            if privileged is None:
                raise UserError(f"act: this agent needs the {self.needs}: give it as privileged=.")
            label = self._rows("privileged", privileged, state, None)
        step = module.step(seen, state.action, state.reward, state.recurrent, label)
        actions = module.actions
        logits = step.logits if mask is None else actions.masked(step.logits, mask)
        flat = actions.sample(logits, generator) if explore else actions.mode(logits)
        told: Any = actions.to_env(flat.numpy())
        if state.single:
            told = rows_of(self.action_space, told)[0]
        encoded = module.encode_action(flat)
        return told, AgentState(dict(step.state), step.belief, encoded, None, state.single)

    def observe(self, state: AgentState, *, reward: Any, done: Any = False) -> AgentState:
        """The state with the reward of the last action: a number, or `[N]`.

        Args:
            state: what `act` gave.
            reward: what the env gave.
            done: whether an inner episode has ended. The agents of this version take that from
                what they observe, as in training; after the end of the meta-episode itself go on
                with `initial_state`.

        Raises:
            UserError: the shape does not fit, it is not finite, or no action was taken before.
        """
        if state.belief is None:
            raise UserError("observe: no action was taken yet; a meta-episode begins with act.")
        return dataclasses.replace(state, reward=self._rows("reward", reward, state, ()))

    def belief(self, state: AgentState) -> dict[str, Array]:
        """What the agent believes after the newest observation.

        Returns:
            ``mean`` and ``std`` of its Gaussian latents, one beside the other (`[L]` or `[N, L]`);
            ``vector`` where its belief is no distribution (RL², an inferred context); nothing for
            agents without a belief, and before the first observation.
        """
        if state.belief is None or not state.belief.shape[-1]:
            return {}
        latents = getattr(self._module, "latents", None)
        if not latents:
            return {"vector": self._plain(state.belief, state)}
        behind = [slice(s.stop, 2 * s.stop - s.start) for s in latents.values()]
        mean = torch.cat([state.belief[:, s] for s in latents.values()], dim=1)
        log_var = torch.cat([state.belief[:, s] for s in behind], dim=1)
        return {
            "mean": self._plain(mean, state),
            "std": self._plain(torch.exp(0.5 * log_var), state),
        }

    def _observed(self, observation: Any, state: AgentState) -> tuple[Tensor, Tensor | None]:
        """Flat observations `[N, O]`, and which actions are possible where they say so."""
        codec, space = self._module.observations, self.observation_space
        if codec.plain and not codec.carries_mask:
            return self._rows("observation", observation, state, (codec.size,)), None
        try:
            if state.single:
                parts = (np.asarray(part)[None] for part in values_of(space, observation))
                observation = nested(space, parts)
            flat, mask = codec.flatten(observation), codec.mask(observation)
        except (KeyError, IndexError, TypeError, ValueError):
            raise UserError(f"observation does not lie in {str(space)[:200]}.") from None
        several = dataclasses.replace(state, single=False)
        seen = self._rows("observation", flat, several, (codec.size,))
        return seen, None if mask is None else torch.as_tensor(np.asarray(mask)).bool()

    @staticmethod
    def _plain(values: Tensor, state: AgentState) -> Array:
        told: Array = values.detach().clone().numpy()
        return told[0] if state.single else told

    @staticmethod
    def _rows(name: str, value: Any, state: AgentState, shape: tuple[int, ...] | None) -> Tensor:
        """What was given as `[N, *shape]`."""
        try:
            array = np.asarray(value, np.float32)
        except (TypeError, ValueError):
            raise UserError(f"{name} is {str(value)[:100]}: expected numbers.") from None
        array = array[None] if state.single else array
        expected = (len(state.action), *(array.shape[1:] if shape is None else shape))
        if array.shape != expected:
            have, want = (s[1:] if state.single else s for s in (array.shape, expected))
            raise UserError(f"{name} has shape {have}, expected {want}.")
        if not np.isfinite(array).all():
            raise UserError(f"{name} is not finite: {str(value)[:100]}.")
        return torch.as_tensor(array)


def load_agent(path: str | Path) -> Agent:
    """The agent of a checkpoint, or of the newest one below a run's folder.

    Raises:
        UserError: there is none, or it is damaged; see `Checkpoint.open` and `Checkpoint.agent`.
    """
    return Checkpoint.open(find(path)).agent()
