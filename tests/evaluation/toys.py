"""Agents whose belief is known: the grid world's exact filter, whole and broken in three ways."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from rllib_metarl.envs.gridworld.parameters import GridWorldParameters, next_cells
from rllib_metarl.evaluation.belief.assessment import AssessedAgent, Plays, assess
from rllib_metarl.evaluation.belief.claims import claims_of
from rllib_metarl.evaluation.knowledge import variants_of
from rllib_metarl.evaluation.protocol import SET_ASIDE
from rllib_metarl.models.actions import ActionCodec
from rllib_metarl.models.encoder import Belief
from rllib_metarl.models.observations import ObservationCodec
from rllib_metarl.models.step import Inputs, Step
from rllib_metarl.recording import record
from rllib_metarl.sampling.held_out import HeldOut

GRID = "DLCMDP/GridWorld-v0"
WORLD: dict[str, Any] = {"size": 3, "horizon": 40, "p_switch": 0.1}
EPISODES = 256
SETTINGS = SimpleNamespace(
    reward_likelihood="bernoulli", vae_reward_scale=1.0, termination_head=lambda: 0.5
)


class FilterAgent:
    """Goes to the goal that the exact filter holds likelier; its latent is the filter's log-odds.

    It has the interface of a trained belief module: the reward decoder says what the filter says,
    the termination head is the filter's posterior of a switch.
    """

    action_width, needs_privileged, belief_size = 5, None, 2
    decodes, state_decoder = True, None
    actions = ActionCodec(gym.spaces.Discrete(5))
    latents = {"belief": slice(0, 1)}

    def __init__(self, world: dict[str, Any]) -> None:
        self.world = GridWorldParameters.make(**world)
        self.observations = ObservationCodec(gym.make(GRID, **world).observation_space)
        self.hazard = float(world["p_switch"])
        self.next = torch.as_tensor(next_cells(self.world.size))

    def eval(self) -> FilterAgent:
        return self

    def initial_state(self, batch_size: int, device: Any = None) -> dict[str, Tensor]:
        belief = torch.tensor(self.world.prior).double().expand(batch_size, 2).clone()
        return {
            "belief": belief,
            "begun": torch.zeros(batch_size),
            "switched": torch.zeros_like(belief),
        }

    def encode_action(self, action: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(action.long(), 5).float()

    def step(self, inputs: Inputs) -> Step:
        observation, _, reward, state, *_ = inputs
        belief, state, _ = self._filtered(observation, reward, state)
        return Step(torch.cat(self._latent(belief), -1), self._way(observation, belief), state)

    def encode(self, inputs: Inputs) -> Belief:
        observation, _, reward, *_ = inputs
        state = self.initial_state(len(observation))
        means, log_vars, switches = [], [], []
        for t in range(observation.shape[1]):
            belief, state, switch = self._filtered(observation[:, t], reward[:, t], state)
            mean, log_var = self._latent(belief)
            means.append(mean)
            log_vars.append(log_var)
            switches.append(self.seen(switch).logit(1e-9).float())
        return Belief(torch.stack(means, 1), torch.stack(log_vars, 1), torch.stack(switches, 1))

    def normalise_observation(self, observation: Tensor) -> Tensor:
        return observation

    def reward_features(self, data: Any) -> Tensor:
        return data.observation[:, 1:]

    def reward_decoder(self, latent: Tensor, features: Tensor, pairs: Any) -> Tensor:
        """Log-odds of a reward above 0 in the cell that was entered."""
        row, encoded, decoded = pairs
        first, second = (on[row, decoded] for on in self._on(features))
        log_odds = latent[row, encoded, 0].clamp(-15, 15)
        return torch.where(second, log_odds, torch.where(first, -log_odds, -20.0))

    def distorted(self, log_odds: Tensor) -> Tensor:
        """Hook: what the agent makes of the exact log-odds `[N]`."""
        return log_odds

    def seen(self, switch: Tensor) -> Tensor:
        """Hook: what the agent makes of the exact probability `[N]` of a switch."""
        return switch

    def _latent(self, belief: Tensor) -> tuple[Tensor, Tensor]:
        """Log-odds, and a small variance whose logarithm is the filter's entropy and a constant."""
        log_odds = self.distorted(belief.logit(1e-9))
        p = log_odds.sigmoid()
        entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
        return log_odds[:, None].float(), (entropy - 9.0)[:, None].float()

    def _filtered(
        self, observation: Tensor, reward: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """P(goal 1 pays next) and P(the transition just seen began a session), `[N]` each."""
        p, change = self.world, self.hazard * torch.tensor(self.world.transition).double()
        belief, begun = state["belief"], state["begun"] > 0
        first, second = self._on(observation)
        paid = (reward - p.active_reward).abs() < (reward - p.inactive_reward).abs()
        told = (begun & (first | second))[:, None]
        agrees = torch.where(told, (second == paid)[:, None] == torch.tensor([False, True]), True)
        joint = belief * agrees
        switch = (state["switched"] * agrees).sum(1) / joint.sum(1)
        known = joint / joint.sum(1, keepdim=True)
        drawn = known @ change
        following = drawn + (1 - self.hazard) * known
        belief = torch.where(begun[:, None], following, belief)
        switched = torch.where(begun[:, None], drawn, state["switched"])
        state = {"belief": belief, "begun": torch.ones(len(begun)), "switched": switched}
        return belief[:, 1], state, switch

    def _on(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        at, first, second = (observation[..., i : i + 2] for i in (0, 2, 4))
        return (at - first).abs().sum(-1) < 0.1, (at - second).abs().sum(-1) < 0.1

    def _way(self, observation: Tensor, belief: Tensor) -> Tensor:
        """Minus the distance from where each action leads to the goal that is held likelier."""
        size = self.world.size
        cells = (observation * (size - 1)).round().long()
        here = cells[:, 1] * size + cells[:, 0]
        likelier = self.distorted(belief.logit(1e-9)) > 0
        goal = torch.where(likelier[:, None], cells[:, 4:6], cells[:, 2:4])
        after = self.next[here]
        xy = torch.stack([after % size, after // size], -1)
        return -10.0 * (xy - goal[:, None]).abs().sum(-1).float()


class Overconfident(FilterAgent):
    """Triples the filter's log-odds: as right as before, and far too sure."""

    def distorted(self, log_odds: Tensor) -> Tensor:
        return 3.0 * log_odds


class Frozen(FilterAgent):
    """Believes what it believed at first."""

    def distorted(self, log_odds: Tensor) -> Tensor:
        return torch.full_like(log_odds, 1e-3)

    def seen(self, switch: Tensor) -> Tensor:
        return torch.full_like(switch, self.hazard)


class Shuffled(FilterAgent):
    """Has the belief of another meta-episode: as sure as before, and of the wrong thing."""

    def distorted(self, log_odds: Tensor) -> Tensor:
        return log_odds.roll(1)

    def seen(self, switch: Tensor) -> Tensor:
        return switch.roll(1)


def assessed(kind: type[FilterAgent], **known: Any) -> dict[str, Any]:
    """The whole assessment of a toy, with `normalised_score`; `known` goes to `AssessedAgent`."""
    module = kind(WORLD)

    def play(episodes: int, seed: int = 0, explore: bool = False, **changed: Any) -> Any:
        held_out = HeldOut(GRID, WORLD | changed, episodes, seed)
        return held_out.play(module, explore=explore), held_out

    def recorded(*arguments: Any, **settings: Any) -> Any:
        return record(play(*arguments, **settings)[0], module.latents)

    played, held_out = play(EPISODES)
    variants = {
        name: recorded(EPISODES, **changed) for name, changed in variants_of(held_out.env).items()
    }
    plays = Plays(
        record(played, module.latents),
        recorded(2 * EPISODES, SET_ASIDE),
        recorded(EPISODES, explore=True),
        variants,
    )
    agent = AssessedAgent(lambda recording: claims_of(module, SETTINGS, recording), **known)
    return assess(plays, agent, held_out.env) | held_out.summary(played)
