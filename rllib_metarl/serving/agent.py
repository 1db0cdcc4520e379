"""A trained agent outside of training: numpy in, numpy out, without an env and without Ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_metarl.envs.core.nested import rows_of
from rllib_metarl.errors import UserError
from rllib_metarl.models.step import Inputs
from rllib_metarl.recording import gaussian_of
from rllib_metarl.sampling.acting import Actor
from rllib_metarl.serving import given
from rllib_metarl.serving.trajectories import played_of

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
        drawn: the newest action as the policy drew it, before it was brought into the action
            space, `[]` or `[P]`, or N of them; what `Agent.adapt` learns from.
        inner_done: whether an inner episode ended with that action `[N]`; None until one was taken.
    """

    recurrent: dict[str, Tensor]
    belief: Tensor | None
    action: Tensor
    reward: Tensor | None
    single: bool
    drawn: Any = None
    inner_done: Tensor | None = None


class Agent(Actor):
    """Acts as the checkpoint's policy does in `rllib evaluate`.

    Args:
        module: a trained RLModule, see `Checkpoint.module`.
        settings: its algorithm's config, which says how it adapts.
        steps: gradient steps that it has adapted by.

    Attributes:
        observation_space, action_space: of the env that it was trained in.
        needs: the label of the env that an oracle needs (`act`'s ``privileged``), or None.
    """

    def __init__(self, module: Any, settings: Any = None, steps: int = 0) -> None:
        super().__init__(module.eval())
        self._settings, self._steps = settings, steps
        self.observation_space, self.action_space = module.observation_space, module.action_space
        self.needs: str | None = module.needs_privileged
        begun = module.initial_state(1, torch.device("cpu"))
        self._remembers = {key: value.shape[1:] for key, value in begun.items()}

    def initial_state(self, batch_size: int | None = None) -> AgentState:
        """The state before a meta-episode, or before `batch_size` of them at once.

        A meta-episode begins where the hidden task is drawn again, not where one of its inner
        episodes ends.

        Raises:
            UserError: ``batch_size`` is no whole number of at least 1.
        """
        count = 1 if batch_size is None else given.batch_size(batch_size)
        action, reward, recurrent = self.begin(count)
        return AgentState(recurrent, None, action, reward, single=batch_size is None)

    @torch.inference_mode()
    def act(
        self,
        observation: Any,
        state: AgentState,
        *,
        explore: bool = False,
        generator: torch.Generator | None = None,
        privileged: Any = None,
        action_mask: Any = None,
    ) -> tuple[Any, AgentState]:
        """An action for each observation.

        Args:
            observation: as the env gives it, or N of them in the space's vectorised form where the
                state is of N meta-episodes.
            state: with the reward of the action before, see `observe`.
            explore: draw from the policy's distribution; else the likeliest action.
            generator: what is drawn with; torch's own where None.
            privileged: the label that `needs` names, `[C]` or `[N, C]`.
            action_mask: what the env gives as ``info["action_mask"]``, if it does: the possible
                choices, `[A]` or `[N, A]`; not where the observation has it.

        Returns:
            actions in the env's own action space (N of them as the space's vectorised form), and
            the next state.

        Raises:
            UserError: what was given is not of the right type or shape, something is not finite, or
                no reward was observed.
        """
        self._check_state(state)
        if state.reward is None:
            raise UserError(
                "act: the reward of the last action is unknown: call observe(state, reward=...) "
                "with it first."
            )
        _check_generator(generator)
        by_sampling = bool(given.truths("explore", explore, None))
        count = _count(state)
        flat, mask = self._observed(observation, count, action_mask)
        label = self._label(privileged, count)
        seen = (flat, state.action, state.reward, state.recurrent, label, state.inner_done)
        inputs = Inputs(*seen)
        decided = self.decide(inputs, mask=mask, explore=by_sampling, generator=generator)
        drawn = decided.action.numpy()
        action: Any = self.module.actions.to_env(drawn)
        if state.single:
            action, drawn = rows_of(self.action_space, action)[0], drawn[0]
        after = (decided.state, decided.belief, decided.encoded, None)
        return action, AgentState(*after, state.single, drawn)

    def observe(self, state: AgentState, *, reward: Any, done: Any = False) -> AgentState:
        """The state with the reward of the last action: a number, or `[N]`.

        Args:
            state: what `act` gave.
            reward: what the env gave.
            done: whether an inner episode has ended, or `[N]` such. PEARL draws its latent anew
                then; the other agents take it from what they observe, as in training. After the
                end of the meta-episode itself go on with `initial_state`.

        Raises:
            UserError: what was given is not of the right type or shape or not finite, or no action
                was taken since the last reward.
        """
        self._check_state(state)
        if state.belief is None:
            raise UserError("observe: no action was taken yet; call act first.")
        if state.reward is not None:
            raise UserError("observe: the last action's reward is already known: call act next.")
        ended = np.broadcast_to(given.truths("done", done, _count(state)), len(state.action))
        return dataclasses.replace(
            state,
            reward=torch.as_tensor(given.reward(reward, _count(state))),
            inner_done=torch.as_tensor(ended.copy()),
        )

    def adapt(self, trajectories: Sequence[Mapping[str, Any]]) -> Agent:
        """The agent after one gradient step on meta-episodes that it has played of a task.

        For agents that adapt by gradient (MAML and kin); act with ``explore=True`` for them, and
        sample new ones with the adapted agent before the next step.

        Args:
            trajectories: one or more, each with ``observations`` (T, or T + 1 with the last),
                ``actions`` (T, `AgentState.drawn` after each `act`), ``rewards`` (T) and, where the
                env gives them, ``action_masks`` (T).

        Raises:
            UserError: a trajectory is not of this form or not finite, or the agent's algorithm does
                not adapt by gradient.
        """
        if self._settings is None:
            raise UserError("adapt: how this agent adapts is unknown: use load_agent(checkpoint).")
        if not self._settings.ADAPTS:
            raise UserError(
                "adapt: the weights of this agent stay as they are; it adapts as it acts."
            )
        played = played_of(trajectories, self.module)
        module = self._settings.adapted(self.module, played, self._steps)
        return Agent(module, self._settings, self._steps + 1)

    def belief(self, state: AgentState) -> dict[str, Array]:
        """What the agent believes after the newest observation.

        Returns:
            ``mean`` and ``std`` of its Gaussian latents, side by side (`[L]` or `[N, L]`);
            ``vector`` where its belief is no distribution (RL², an inferred context); nothing for
            agents without a belief, and before the first observation.

        Raises:
            UserError: ``state`` is no state of this agent.
        """
        self._check_state(state)
        if state.belief is None or not state.belief.shape[-1]:
            return {}
        latents = self.module.latents
        if not latents:
            return {"vector": self._plain(state.belief, state)}
        mean, log_var = gaussian_of(self._plain(state.belief, state), latents)
        return {"mean": mean, "std": np.exp(0.5 * log_var)}

    def _check_state(self, state: Any) -> None:
        if not isinstance(state, AgentState):
            raise UserError(
                f"state is a {type(state).__name__}: give what initial_state, act or observe "
                "returned."
            )
        shapes = {key: value.shape[1:] for key, value in state.recurrent.items()}
        if shapes != self._remembers or state.action.shape[1] != self.module.action_width:
            raise UserError("state belongs to another agent: start with initial_state of this one.")

    def _observed(
        self, observation: Any, count: int | None, given_mask: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Flat observations `[N, O]`, and the action mask if they have one."""
        codec = self.module.observations
        batch = given.observations(self.observation_space, observation, count)
        inputs = torch.as_tensor(codec.flatten(batch), dtype=torch.float32)
        mask = codec.mask(batch)
        if mask is None and given_mask is not None:
            mask = np.asarray(given_mask)[None] if count is None else given_mask
        if mask is None:
            return inputs, None
        return inputs, torch.as_tensor(self.module.actions.mask_of(mask, len(inputs)))

    def _label(self, privileged: Any, count: int | None) -> Tensor | None:
        if self.needs is None:
            return None
        if privileged is None:
            raise UserError(f"act: this agent needs the {self.needs}: give it as privileged=.")
        width = self.module.belief_size
        return torch.as_tensor(given.label("privileged", privileged, width, count))

    @staticmethod
    def _plain(values: Tensor, state: AgentState) -> Array:
        array: Array = values.detach().clone().numpy()
        return array[0] if state.single else array


def _count(state: AgentState) -> int | None:
    """The number of meta-episodes of a state; None for a single one without that dimension."""
    return None if state.single else len(state.action)


def _check_generator(generator: Any) -> None:
    if generator is None:
        return
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise UserError(
            f"generator is a {type(generator).__name__}: give a torch.Generator of the CPU, "
            "such as torch.Generator().manual_seed(0)."
        )
