"""MAML's module: a policy on the present observation, whose weights are what is meta-learnt."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from torch import Tensor

from rllib_metarl.algorithms.base.module import MetaModule
from rllib_metarl.columns import ACTION_MASK, BELIEF
from rllib_metarl.models.images import ImageReader
from rllib_metarl.models.step import Inputs, State, Step
from rllib_metarl.models.task_policy import TaskPolicy
from rllib_metarl.ops.inner_step import INNER_LOSSES, TaskSteps, Weights


class MAMLModule(MetaModule, InferenceOnlyAPI):
    """Acts with the weights from which each task's adaptation begins; see `AdaptedModule`."""

    belief_size = 0

    def setup(self) -> None:
        super().setup()
        self.policy = self.make_policy(TaskPolicy)

    def make_policy(self, kind: Any, beside: int = 0) -> Any:
        """A policy of the settings' layers, on observations and `beside` more numbers."""
        settings, images = self.model_config, self.observations.images
        width = self.observation_width + beside
        return kind(
            width,
            sum(self.actions.categories),
            self.actions.numbers,
            hidden=settings["policy_hidden"],
            activation_name=settings["policy_activation"],
            init_std=settings["policy_init_std"],
            reader=ImageReader(width, images) if images else None,
        )

    def get_non_inference_attributes(self) -> list[str]:
        """Names of the networks that only the learner needs."""
        return []

    def get_initial_state(self) -> dict[str, Any]:
        """The state before a meta-episode, arrays without a batch dimension."""
        return {}

    # --- acting, see `MetaModule` ---------------------------------------------------------------

    def initial_state(self, batch_size: int, device: Any = None) -> State:
        """There is none."""
        return {}

    def step(self, inputs: Inputs) -> Step:
        """As `MetaModule.step`, with a belief of width 0."""
        observation = inputs.observation
        return Step(observation[:, :0], self.policy(observation), inputs.state)

    def encode(self, inputs: Inputs) -> Tensor:
        """The belief, which there is not, over whole meta-episodes: `[B, T, 0]`."""
        return inputs.observation[..., :0]

    # --- with weights of each task ----------------------------------------------------------------

    def logits_of(self, weights: Weights, steps: TaskSteps) -> Tensor:
        """Inputs `[N, B, outputs]` of the action distributions under each task's weights."""
        logits = self.policy.of_tasks(weights, steps.observation)
        return logits if steps.mask is None else self.actions.masked(logits, steps.mask)

    def inner_loss(self, weights: Weights, steps: TaskSteps, loss: str) -> Tensor:
        """What an inner step descends, `[N]`; `loss` is a key of `INNER_LOSSES`."""
        log_prob = self.actions.log_prob(self.logits_of(weights, steps), steps.action)
        return INNER_LOSSES[loss](log_prob, steps)

    def step_scales(self) -> Weights | None:
        """Hook: what the inner step's size is multiplied by, entry by entry; None: nothing."""
        return None

    def collecting(self) -> Any:
        """Hook: what acts in the trajectories that the first inner step learns from."""
        return self

    # --- RLlib's forwards -----------------------------------------------------------------------

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """`[B, O]` observations to action distributions."""
        logits, mask = self.policy(batch[Columns.OBS].float()), batch.get(ACTION_MASK)
        if mask is not None:
            logits = self.actions.masked(logits, mask.bool())
        return {Columns.ACTION_DIST_INPUTS: logits, BELIEF: logits[..., :0]}


class ModuleView:
    """What a `Collector` asks of a module, with another policy: `logits` says which.

    Args:
        module: whose spaces and networks these are.
    """

    needs_privileged = None
    belief_size = 0

    def __init__(self, module: MAMLModule) -> None:
        self._module = module
        self.actions, self.observations = module.actions, module.observations
        self.action_width, self.encode_action = module.action_width, module.encode_action
        self.initial_state = module.initial_state

    def eval(self) -> None:
        """It is not trained."""

    def logits(self, observation: Tensor) -> Tensor:
        """Of all rows, `[N, O]` -> `[N, outputs]`."""
        raise NotImplementedError

    def step(self, inputs: Inputs) -> Step:
        """As `MAMLModule.step`."""
        observation = inputs.observation
        return Step(observation[:, :0], self.logits(observation), inputs.state)


class AdaptedModule(ModuleView):
    """Acts once each task has weights of its own.

    Rows belong to tasks in blocks of equal size: of N tasks with K rows each, row i to task i // K.

    Args:
        module: whose policy it is.
        weights: `[N, ...]` each.
    """

    def __init__(self, module: MAMLModule, weights: Weights) -> None:
        super().__init__(module)
        self._weights, self._tasks = weights, len(next(iter(weights.values())))

    def logits(self, observation: Tensor) -> Tensor:
        rows = observation.view(self._tasks, -1, observation.shape[-1])
        logits: Tensor = self._module.policy.of_tasks(self._weights, rows)
        return logits.flatten(0, 1)
