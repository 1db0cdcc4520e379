"""The recurrent belief encoder q(m | tau_:t) of VariBAD, with DynaMITE-RL's additions."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import mlp
from rllib_metarl.models.recurrent import (
    empty_memory,
    one_step,
    open_forget_gates,
    over_sequence,
    recurrent,
)
from rllib_metarl.models.step import Inputs, State
from rllib_metarl.ops.sessions import hold_at_switch, mix_at_switch


class Belief(NamedTuple):
    """What the encoder says after each observation; leading dimensions are `[B]` or `[B, T]`.

    mean, log_var: `[..., L]`, the Gaussian posterior over the context.
    termination_logit: `[...]`, log-odds that the transition just observed opened a new session.
    """

    mean: Tensor
    log_var: Tensor
    termination_logit: Tensor


class BeliefEncoder(nn.Module):
    """Embeds (a_{t-1}, r_{t-1}, o_t), runs a memory over them and reads the posterior from it.

    With `prior_conditioning` the posterior also sees the belief that the previous session ended
    with. Which session is the previous one is decided by the termination head, in training as in
    acting, so that both see the same input: by its probabilities (`held_belief` "mixture": the
    expected belief; the head sees the memory before and after the transition, and the posterior
    takes the held belief through a layer of its own), or where it is above a threshold.

    Args:
        observation_size, action_size: widths of o_t and of the (one-hot) action.
        latent_size: L, the dimension of the context's posterior.
        cell: ``gru`` or ``lstm``, the memory's cell.
        hidden_size: width of the memory.
        embedding: widths of the layers between the inputs and the memory.
        prior_conditioning: feed the previous session's belief to the posterior (DynaMITE-RL).
        termination_threshold: predicted probability above which a session counts as ended.
        held_belief: ``mixture`` or ``threshold``, see above.
        cut_memory: forget all but the present transition where a session counts as ended.
        reader: makes `observation_size` features of an observation that holds images.

    Differs from the papers: VariBAD embeds action, reward and observation apart, one linear layer
    each; one joint embedding contains that as a special case and can also multiply them. VariBAD's
    belief 0 sees nothing, ours sees o_0. DynaMITE-RL feeds the previous session's belief to the
    recurrent network; here it enters behind it, as the belief read from the memory alone, which
    leaves no recursion over sessions, so whole meta-episodes are encoded in one call.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        latent_size: int,
        *,
        cell: str = "gru",
        hidden_size: int = 64,
        embedding: tuple[int, ...] = (64, 64),
        activation: str = "relu",
        prior_conditioning: bool = False,
        termination_threshold: float = 0.5,
        held_belief: str = "threshold",
        cut_memory: bool = False,
        log_var_range: tuple[float, float] = (-8.0, 4.0),
        reader: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.reader = reader
        self.latent_size = latent_size
        self.hidden_size = hidden_size
        self.prior_conditioning = prior_conditioning
        self.termination_threshold = termination_threshold
        self.log_var_range = log_var_range
        inputs = observation_size + action_size + 1
        self.embedding = mlp([inputs, *embedding], activation)
        self.cell = cell  # under its own name, so that weights say what they are of
        self.add_module(cell, recurrent(cell, embedding[-1] if embedding else inputs, hidden_size))
        if cell == "lstm":
            open_forget_gates(self.memory)
        self.posterior = nn.Linear(hidden_size, 2 * latent_size)
        self.mixture, self.cut_memory = held_belief == "mixture", cut_memory
        # The last layer starts at zero: conditioning begins as a no-op and is learnt.
        if self.mixture:
            self.termination: nn.Module = mlp([2 * hidden_size, 32, 1], activation, last=False)
            sizes = [hidden_size + 2 * latent_size, 32, 2 * latent_size]
            self.conditioning: nn.Module = mlp(sizes, activation, last=False)
            for parameter in list(self.conditioning.parameters())[-2:]:
                nn.init.zeros_(parameter)
        else:
            self.termination = nn.Linear(hidden_size, 1)
            plain = nn.Linear(2 * latent_size, 2 * latent_size, bias=False)
            nn.init.zeros_(plain.weight)
            self.conditioning = plain
        if not prior_conditioning:
            self.conditioning.requires_grad_(False)

    @property
    def memory(self) -> nn.RNNBase:
        """The recurrent layer."""
        layer: Any = getattr(self, self.cell)
        return layer

    def initial_state(self) -> State:
        """The recurrent state before the first observation, without a batch dimension."""
        zeros = torch.zeros
        return empty_memory(self.memory) | {
            "held_belief": zeros(2 * self.latent_size),
            "last_belief": zeros(2 * self.latent_size),
        }

    def forward(self, inputs: Inputs) -> tuple[Any, State]:
        """Encodes `[B, T, ...]` sequences.

        Args:
            inputs: their state has `hidden [B, H]`, for an LSTM `cell [B, H]`, and
                `held_belief [B, 2L]`, `last_belief [B, 2L]`.

        Returns:
            the beliefs `[B, T, ...]` and the state after the last step.
        """
        embedded, state = self._embedded(inputs), inputs.state
        if self.cut_memory:
            return self._with_cuts(embedded, state)
        features, after = over_sequence(self.memory, embedded, state)
        belief, remembered = self.beliefs(features, state)
        return belief, after | remembered

    def step(self, inputs: Inputs) -> tuple[Any, State]:
        """`forward` for one step, without the time dimension: the same numbers, sooner.

        The termination logit is NaN where nothing in acting reads it.
        """
        after, logit = self._remembered(self._embedded(inputs), inputs.state)
        belief, remembered = self.belief_now(after["hidden"], inputs.state, logit)
        return belief, after | remembered

    def _embedded(self, inputs: Inputs) -> Tensor:
        observation, action, reward = inputs[:3]
        if self.reader is not None:
            observation = self.reader(observation)
        return self.embedding(torch.cat([observation, action, reward.unsqueeze(-1)], dim=-1))

    def _with_cuts(self, embedded: Tensor, state: State) -> tuple[Any, State]:
        """`forward` step by step: what is remembered depends on the switches that are told."""
        after, steps = state, []
        for now in embedded.unbind(1):
            after, logit = self._remembered(now, after)
            steps.append((after["hidden"], logit))
        features, logits = (torch.stack(parts, 1) for parts in zip(*steps, strict=True))
        belief, remembered = self.beliefs(features, state, logits.squeeze(-1))
        return belief, after | remembered

    def _remembered(self, embedded: Tensor, before: State) -> tuple[State, Tensor]:
        """The memory `[B, H]` after one more input, and the logit `[B, 1]` of a switch."""
        after = one_step(self.memory, embedded, before)
        hidden = after["hidden"]
        if not (self.prior_conditioning or self.cut_memory):
            return after, hidden.new_full((hidden.shape[0], 1), torch.nan)
        logit = self._switch_logit(hidden, before["hidden"])
        if self.cut_memory:
            empty = {part: torch.zeros_like(value) for part, value in after.items()}
            afresh, ended = one_step(self.memory, embedded, empty), self._ended(logit)
            after = {part: torch.where(ended, afresh[part], after[part]) for part in after}
        return after, logit

    def beliefs(
        self, features: Tensor, state: State, logit: Tensor | None = None
    ) -> tuple[Any, State]:
        """Hook: what is read from the memory's `features [B, T, H]`, and the state beside it.

        Args:
            logit: `[B, T]` of switches, where they have been told already.
        """
        raw = self.posterior(features)
        if logit is None:
            before = torch.cat([state["hidden"].unsqueeze(1), features[:, :-1]], dim=1)
            logit = self._switch_logit(features, before).squeeze(-1)
        held = self._previous_session_belief(raw, logit, state)
        conditioned = self._conditioned(raw, features, held)
        mean, log_var = conditioned.chunk(2, dim=-1)
        belief = Belief(mean, log_var.clamp(*self.log_var_range), logit)
        return belief, {"held_belief": held[:, -1], "last_belief": raw[:, -1]}

    def belief_now(self, hidden: Tensor, state: State, logit: Tensor) -> tuple[Any, State]:
        """Hook: `beliefs` for one step, `hidden [B, H]`, `logit [B, 1]`."""
        raw, held = self.posterior(hidden), state["held_belief"]
        if self.prior_conditioning and self.mixture:
            held = torch.lerp(held, state["last_belief"], torch.sigmoid(logit))
        elif self.prior_conditioning:
            held = torch.where(self._ended(logit), state["last_belief"], held)
        mean, log_var = self._conditioned(raw, hidden, held).chunk(2, dim=-1)
        belief = Belief(mean, log_var.clamp(*self.log_var_range), logit.squeeze(-1))
        return belief, {"held_belief": held, "last_belief": raw}

    def _switch_logit(self, hidden: Tensor, before: Tensor) -> Tensor:
        """`[..., 1]`, from the memory after a transition and, for a mixture, before it."""
        seen = torch.cat([hidden, before], dim=-1) if self.mixture else hidden
        logit: Tensor = self.termination(seen)
        return logit

    def _ended(self, logit: Tensor) -> Tensor:
        return torch.sigmoid(logit) > self.termination_threshold

    def _conditioned(self, raw: Tensor, features: Tensor, held: Tensor) -> Tensor:
        """The posterior `[..., 2L]` with what the previous session's belief adds to it."""
        if not self.prior_conditioning:
            return raw
        seen = torch.cat([features, held], dim=-1) if self.mixture else held
        conditioned: Tensor = raw + self.conditioning(seen)
        return conditioned

    def _previous_session_belief(self, raw: Tensor, logit: Tensor, state: State) -> Tensor:
        """`[B, T, 2L]`: at each step the belief that the session before it ended with."""
        if not self.prior_conditioning:
            return state["held_belief"].unsqueeze(1).expand_as(raw)
        # One column in front so that a switch at the first step can look at the step before it.
        beliefs = torch.cat([state["last_belief"].unsqueeze(1), raw.detach()], dim=1)
        if self.mixture:
            # Detached: the head learns from switches alone, so that it tells a probability.
            return mix_at_switch(beliefs[:, :-1], logit.detach(), state["held_belief"])
        ended = self._ended(logit)
        switch = torch.cat([torch.zeros_like(ended[:, :1]), ended], dim=1)
        return hold_at_switch(beliefs, switch, state["held_belief"])[:, 1:]
