"""MAML's module: a policy on the present observation, whose weights are what is meta-learnt."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from rllib_metarl.algorithms.belief.distribution import distributions_of
from rllib_metarl.algorithms.belief.module import Step
from rllib_metarl.columns import ACTION_MASK, BELIEF
from rllib_metarl.models.actions import ActionCodec
from rllib_metarl.models.encoder import State
from rllib_metarl.models.images import ImageReader
from rllib_metarl.models.observations import ObservationCodec
from rllib_metarl.models.task_policy import TaskPolicy
from rllib_metarl.ops.inner_step import TaskSteps, Weights


class MAMLModule(TorchRLModule, InferenceOnlyAPI):
    """Acts with the weights from which each task's adaptation begins; see `AdaptedModule`."""

    needs_privileged = None
    belief_size = 0

    def setup(self) -> None:
        settings = self.model_config
        self.actions = ActionCodec(self.action_space, normalise=settings["normalize_actions"])
        choices = sum(self.actions.categories)
        mask_key = settings["action_mask_key"]
        self.observations = ObservationCodec(self.observation_space, choices, mask_key)
        self.observation_width, self.action_width = self.observations.size, self.actions.width
        self.action_dist_cls: Any = distributions_of(self.actions)
        images = self.observations.images
        self.policy = TaskPolicy(
            self.observation_width,
            choices,
            self.actions.numbers,
            hidden=settings["policy_hidden"],
            activation_name=settings["policy_activation"],
            init_std=settings["policy_init_std"],
            reader=ImageReader(self.observation_width, images) if images else None,
        )

    def get_non_inference_attributes(self) -> list[str]:
        return []

    def get_initial_state(self) -> dict[str, Any]:
        return {}

    # --- acting, see `BeliefModule` -------------------------------------------------------------

    def initial_state(self, batch_size: int, device: Any = None) -> State:
        """There is none."""
        return {}

    def encode_action(self, action: Tensor) -> Tensor:
        """As `BeliefModule.encode_action`."""
        return self.actions.encode(action)

    def step(
        self,
        observation: Tensor,
        previous_action: Tensor,
        previous_reward: Tensor,
        state: State,
        privileged: Tensor | None = None,
    ) -> Step:
        """As `BeliefModule.step`, with a belief of width 0."""
        return Step(observation[:, :0], self.policy(observation), state)

    def encode(
        self, observation: Tensor, previous_action: Tensor, previous_reward: Tensor
    ) -> Tensor:
        """The belief, which there is not, over whole meta-episodes: `[B, T, 0]`."""
        return observation[..., :0]

    def policy_belief(self, belief: Tensor) -> Tensor:
        """What the policy sees of it: nothing."""
        return belief

    # --- with weights of each task ----------------------------------------------------------------

    def logits_of(self, weights: Weights, steps: TaskSteps) -> Tensor:
        """Inputs `[N, B, outputs]` of the action distributions under each task's weights."""
        logits = self.policy.of_tasks(weights, steps.observation)
        return logits if steps.mask is None else self.actions.masked(logits, steps.mask)

    # --- RLlib's forwards -----------------------------------------------------------------------

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """`[B, O]` observations to action distributions."""
        logits, mask = self.policy(batch[Columns.OBS].float()), batch.get(ACTION_MASK)
        if mask is not None:
            logits = self.actions.masked(logits, mask.bool())
        return {Columns.ACTION_DIST_INPUTS: logits, BELIEF: logits[..., :0]}


class AdaptedModule:
    """What acts once each task has weights of its own: a view of the module for a `Collector`.

    Rows belong to tasks in blocks of equal size: of N tasks with K rows each, row i to task i // K.

    Args:
        module: whose policy it is.
        weights: `[N, ...]` each.
    """

    needs_privileged = None
    belief_size = 0

    def __init__(self, module: MAMLModule, weights: Weights) -> None:
        self._module, self._weights = module, weights
        self._tasks = len(next(iter(weights.values())))
        self.actions, self.observations = module.actions, module.observations
        self.action_width, self.encode_action = module.action_width, module.encode_action
        self.initial_state = module.initial_state

    def eval(self) -> None:
        """It is not trained."""

    def step(
        self,
        observation: Tensor,
        previous_action: Tensor,
        previous_reward: Tensor,
        state: State,
        privileged: Tensor | None = None,
    ) -> Step:
        """As `MAMLModule.step`, each row with its task's weights."""
        rows = observation.view(self._tasks, -1, observation.shape[-1])
        logits = self._module.policy.of_tasks(self._weights, rows)
        return Step(observation[:, :0], logits.flatten(0, 1), state)
