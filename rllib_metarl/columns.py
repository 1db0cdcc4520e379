"""Names of what travels with an episode beside RLlib's own columns."""

from __future__ import annotations

from typing import Final

# What the policy saw of its belief, at every step and after the last observation.
BELIEF: Final = "belief"
FINAL_BELIEF: Final = "final_belief"

# The transition that led to an observation, as the encoder takes it.
PREVIOUS_ACTION: Final = "previous_action"
PREVIOUS_REWARD: Final = "previous_reward"

# Which values of an action's categories there were, where the env says so.
ACTION_MASK: Final = "action_mask"

# The label that an oracle acts on.
PRIVILEGED: Final = "privileged"

# Privileged labels delivered in `info`, each belonging to the transition that starts at o_t.
CONTEXT_LABELS: Final = ("context", "session", "switched")

# What is kept of info beside them: 1 at the first step of every inner episode but the first, and
# the id of the task that is held.
RECORDED: Final = (*CONTEXT_LABELS, "inner_done", "task_id")
