"""The one table of every metric: its tag, where it is found, what it means."""

from __future__ import annotations

from dataclasses import dataclass

LEARNER = "learners/default_policy/"
RUNNERS = "env_runners/"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        tag: its name in TensorBoard and in the live display.
        paths: where it stands in an RLlib result, '/' between levels; the first one found counts.
        meaning: what it is and how it is estimated.
        unit: unit of the number.
        healthy: what a good run shows.
        own: True when only this project's algorithms report it.
    """

    tag: str
    paths: tuple[str, ...]
    meaning: str
    unit: str
    healthy: str
    own: bool = False


def _learner(name: str, tag: str, meaning: str, unit: str, healthy: str, own: bool) -> Metric:
    return Metric(tag, (LEARNER + name,), meaning, unit, healthy, own)


METRICS: tuple[Metric, ...] = (
    Metric(
        "train/return_mean",
        (RUNNERS + "episode_return_mean",),
        "Undiscounted return of a meta-episode under the exploring policy, mean over those of the "
        "newest sample.",
        "reward",
        "rises; compare with the references of the environment",
    ),
    Metric(
        "train/unstable_episodes",
        (RUNNERS + "unstable_episodes",),
        "Meta-episodes of this iteration that ended because their physics broke down; only in "
        "continuous control.",
        "meta-episodes",
        "0; many: the timestep is too long or the dynamics too extreme",
        own=True,
    ),
    Metric(
        "faults/env_faults",
        (RUNNERS + "env_faults",),
        "Times in this iteration that a sub-env raised, hung or returned what cannot be used and "
        "was replaced; after `max_env_faults` in a row training stops.",
        "times",
        "0",
        own=True,
    ),
    Metric(
        "faults/hung_env_runners",
        ("faults/hung_env_runners",),
        "EnvRunners that did not answer within `sample_timeout_s` and were restarted.",
        "EnvRunners",
        "0",
        own=True,
    ),
    Metric(
        "train/episode_len_mean",
        (RUNNERS + "episode_len_mean",),
        "Steps of a meta-episode, mean over the same ones.",
        "steps",
        "the horizon, where it is fixed",
    ),
    Metric(
        "eval/return_mean",
        ("evaluation/return_mean", "evaluation/env_runners/episode_return_mean"),
        "Undiscounted return of a meta-episode, greedy policy, mean over held-out tasks that are "
        "the same at each evaluation.",
        "reward",
        "above `train/return_mean`, rising",
    ),
    Metric(
        "eval/return_std",
        ("evaluation/return_std",),
        "Standard deviation of that return over the held-out meta-episodes.",
        "reward",
        "falls as every task is solved",
        own=True,
    ),
    Metric(
        "eval/normalised_score",
        ("evaluation/normalised_score",),
        "(return - blind) / (Bayes - blind): 0 is the best policy that ignores the evidence about "
        "the context, 1 the Bayes-optimal one. Only where the environment knows its references.",
        "1",
        "0.9 and more at the end; stuck at or below 0: the belief is not used",
        own=True,
    ),
    Metric(
        "eval/episodes",
        ("evaluation/episodes", "evaluation/env_runners/num_episodes"),
        "Held-out meta-episodes of this evaluation.",
        "meta-episodes",
        "constant",
    ),
    Metric(
        "eval/env_steps",
        ("evaluation/env_steps", "evaluation/env_runners/num_env_steps_sampled"),
        "Env steps of this evaluation; they are not training steps.",
        "env steps",
        "constant",
    ),
    Metric(
        "eval/at_env_steps",
        ("evaluation/at_env_steps",),
        "Training env steps at which the newest evaluation was made; the result repeats an "
        "evaluation until the next one, the curves show each once.",
        "env steps",
        "grows by `evaluate_every_steps`",
        own=True,
    ),
    _learner(
        "vae_elbo",
        "vae/elbo",
        "Evidence lower bound on whole meta-episodes from the trajectory buffer, mean per belief: "
        "minus the reward and state losses minus `kl_weight` times the KL.",
        "nats",
        "rises, then levels off",
        True,
    ),
    _learner(
        "vae_kl",
        "vae/kl",
        "KL between consecutive beliefs, KL(q_t || q_{t-1}); at a session's first step against "
        "the session prior. Before weighting.",
        "nats",
        "small and positive; 0 means the belief never moves",
        True,
    ),
    _learner(
        "vae_reward_loss",
        "vae/reward_loss",
        "Negative log-likelihood of the rewards of the belief's session (VariBAD: of the whole "
        "meta-episode), decoded from the belief, mean per belief.",
        "nats",
        "falls well below that of a constant guess",
        True,
    ),
    _learner(
        "vae_reward_error",
        "vae/reward_error",
        "Mean squared error of the decoded rewards; with the Bernoulli likelihood, of the decoded "
        "probability that the reward is positive.",
        "reward^2",
        "towards 0",
        True,
    ),
    _learner(
        "vae_state_loss",
        "vae/state_loss",
        "Negative log-likelihood of the next observations, decoded from the belief, mean per "
        "belief; only with the state decoder on.",
        "nats",
        "falls",
        True,
    ),
    _learner(
        "vae_consistency",
        "vae/consistency",
        "Session consistency: mean of max(KL(q_{t+1} || q_end) - KL(q_t || q_end), 0) inside a "
        "session. Before weighting.",
        "nats",
        "near 0: beliefs approach the session's last one",
        True,
    ),
    _learner(
        "vae_session_prior_loss",
        "vae/session_prior_loss",
        "Negative log-likelihood of what later sessions showed under p(m^i | m^{i-1}), mean per "
        "belief; only with `session_prior: rewards`.",
        "nats",
        "falls towards what the exact filter would have",
        True,
    ),
    _learner(
        "vae_grad_norm",
        "vae/grad_norm",
        "Norm of the ELBO's gradient before clipping.",
        "1",
        "bounded, no spikes",
        True,
    ),
    _learner(
        "vae_learning_rate",
        "vae/learning_rate",
        "Step size of the ELBO's Adam.",
        "1",
        "as set",
        True,
    ),
    _learner(
        "vae_buffer_episodes",
        "vae/buffer_episodes",
        "Meta-episodes in the trajectory buffer.",
        "meta-episodes",
        "grows to the buffer's size",
        True,
    ),
    _learner(
        "vae_termination_loss",
        "termination/loss",
        "Binary cross-entropy of the head that tells whether the transition just seen opened a "
        "new session.",
        "nats",
        "falls below the entropy of the switch rate",
        True,
    ),
    _learner(
        "vae_termination_accuracy",
        "termination/accuracy",
        "Share of steps at which that head is right at threshold 0.5.",
        "1",
        "above 1 - switch rate, which always guessing 'no' gives",
        True,
    ),
    _learner(
        "vae_termination_recall",
        "termination/recall",
        "Share of the steps with a switch at which that head says so, at threshold 0.5.",
        "1",
        "rises from 0; the exact filter's in the GridWorld is 0.65",
        True,
    ),
    _learner(
        "vae_termination_auroc",
        "termination/auroc",
        "How often a step with a switch gets a higher logit of that head than one without.",
        "1",
        "rises from 0.5, which is chance whatever the switch rate",
        True,
    ),
    _learner(
        "vae_termination_base_rate",
        "termination/base_rate",
        "Share of steps with a switch: 1 - it is the accuracy of always guessing 'no'.",
        "1",
        "the env's switch rate",
        True,
    ),
    _learner(
        "vae_top_kl",
        "top/kl",
        "KL between consecutive beliefs over the top latent, N(0, I) first (HLT-DynaMITE-RL, "
        "version 2). Before weighting.",
        "nats",
        "small and positive; 0 means that nothing is learnt of what stays",
        True,
    ),
    _learner(
        "vae_top_reward_loss",
        "top/reward_loss",
        "Negative log-likelihood of the rewards of all other sessions of the meta-episode, decoded "
        "from the belief over the top latent, mean per belief (version 2).",
        "nats",
        "falls a little: those sessions' contexts are not known to it",
        True,
    ),
    _learner(
        "vae_top_switch_loss",
        "top/switch_loss",
        "Negative log-likelihood of all switches of the meta-episode under the rate decoded from "
        "the top latent, mean per belief (HLT-DynaMITE-RL).",
        "nats",
        "falls towards steps times the entropy of the true rate",
        True,
    ),
    _learner(
        "vae_top_entropy",
        "top/entropy",
        "Differential entropy of the belief over the top latent, mean over steps (version 2).",
        "nats",
        "falls where meta-episodes differ in what stays",
        True,
    ),
    _learner(
        "belief_entropy",
        "belief/entropy",
        "Differential entropy of the Gaussian belief, mean over steps.",
        "nats",
        "falls as evidence is used; no collapse to very negative values",
        True,
    ),
    Metric(
        "iida/env_steps",
        ("iida/env_steps",),
        "Env steps that were collected for the context encoder before the first iteration "
        "(ContextPPO with an `iida` block). They are not training env steps.",
        "env steps",
        "constant",
        own=True,
    ),
    Metric(
        "iida/scaled_error",
        ("iida/scaled_error",),
        "Squared error of the forward model with the inferred context on tasks whose contexts were "
        "held out, in units of a usual change of the state (1: it predicts nothing).",
        "1",
        "constant; far below 1, and below that of a model without context (`rllib iida fit`)",
        own=True,
    ),
    Metric(
        "iida/error",
        ("iida/error",),
        "The same in squared units of the observation, mean over its entries that ever change.",
        "observation^2",
        "constant",
        own=True,
    ),
    Metric(
        "iida/epochs",
        ("iida/epochs",),
        "Epochs after which fitting ended.",
        "epochs",
        "constant; below the most that are allowed: the error fell no more",
        own=True,
    ),
    _learner(
        "forward_loss",
        "iida/forward_loss",
        "Squared error of the forward model on the newest meta-episodes, in units of a usual "
        "change of the state, mean over gradient steps (ContextPPO with `train_encoder`).",
        "1",
        "falls well below 1",
        True,
    ),
    _learner(
        "forward_grad_norm",
        "iida/forward_grad_norm",
        "Norm of that loss's gradient before clipping.",
        "1",
        "bounded, no spikes",
        True,
    ),
    _learner(
        "forward_learning_rate",
        "iida/forward_learning_rate",
        "Step size of the forward model's Adam.",
        "1",
        "follows its schedule",
        True,
    ),
    _learner(
        "policy_loss",
        "ppo/policy_loss",
        "Clipped surrogate loss, mean over minibatches; PEARL: minus the soft value.",
        "1",
        "small, around 0",
        False,
    ),
    _learner(
        "vf_loss",
        "ppo/value_loss",
        "Squared error of the value head against its targets; this project's algorithms "
        "standardise the targets.",
        "1, or reward^2 for RLlib's own",
        "falls",
        False,
    ),
    _learner(
        "vf_explained_var",
        "ppo/explained_variance",
        "1 - Var(target - value) / Var(target).",
        "1",
        "0.5 to 1; below 0 the value head is worse than a constant",
        False,
    ),
    _learner(
        "entropy",
        "ppo/entropy",
        "Entropy of the action distribution, mean over steps.",
        "nats",
        "falls slowly; near 0 early means exploration has stopped",
        False,
    ),
    _learner(
        "curr_entropy_coeff",
        "ppo/entropy_coeff",
        "Weight of the entropy bonus at this moment.",
        "1",
        "follows its schedule",
        False,
    ),
    _learner(
        "mean_kl_loss",
        "ppo/kl",
        "KL between the sampling policy and the updated one, mean over steps.",
        "nats",
        "0.001 to 0.05",
        False,
    ),
    _learner(
        "clip_fraction",
        "ppo/clip_fraction",
        "Share of steps whose probability ratio is clipped.",
        "1",
        "0.05 to 0.3",
        True,
    ),
    _learner(
        "return_before",
        "adapt/return_before",
        "Undiscounted return with the meta-learnt weights, mean over the iteration's tasks (MAML).",
        "reward",
        "may stay low: what counts is what adapting makes of it",
        True,
    ),
    _learner(
        "return_after",
        "adapt/return_after",
        "The same after the inner steps, with each task's own weights; what the outer update is "
        "to raise.",
        "reward",
        "rises, and stays above `adapt/return_before`",
        True,
    ),
    *(
        Metric(
            f"eval/return_after_{step}",
            (f"evaluation/return_after_{step}",),
            f"Undiscounted return after {step} gradient steps on held-out tasks, new meta-episodes "
            "by sampling, mean over them (MAML with `adaptation_steps`).",
            "reward",
            "rises; above that of fewer steps" if step else "may stay low",
            own=True,
        )
        for step in range(6)
    ),
    Metric(
        "eval/first_inner_return",
        ("evaluation/first_inner_return",),
        "Undiscounted return of the first inner episode of held-out meta-episodes, on a latent "
        "from the prior (PEARL, where there are inner episodes).",
        "reward",
        "stays low: nothing is known yet",
        own=True,
    ),
    Metric(
        "eval/last_inner_return",
        ("evaluation/last_inner_return",),
        "The same of the last one: what the transitions before it have told.",
        "reward",
        "rises above `eval/first_inner_return`, towards an oracle's",
        own=True,
    ),
    _learner(
        "qf_loss",
        "sac/critic_loss",
        "Squared error of both critics against their target, summed, mean over transitions "
        "(PEARL).",
        "reward^2",
        "falls, then levels off; no growth without end",
        True,
    ),
    _learner(
        "qf_mean",
        "sac/q_mean",
        "Value of the first critic, mean over replayed transitions.",
        "reward",
        "settles within returns / (1 - gamma); beyond them critics overestimate",
        True,
    ),
    _learner(
        "temperature",
        "sac/temperature",
        "Weight of the policy's entropy beside scaled rewards.",
        "1",
        "as set; with `temperature: auto` it settles",
        True,
    ),
    _learner(
        "critic_grad_norm",
        "sac/critic_grad_norm",
        "Norm of the critics' gradient before clipping.",
        "1",
        "bounded, no spikes",
        True,
    ),
    *(
        _learner(
            f"{name}_learning_rate",
            f"sac/{name}_learning_rate",
            f"Step size of the {name}'s Adam.",
            "1",
            "follows its schedule",
            True,
        )
        for name in ("encoder", "critic", "temperature")
    ),
    _learner(
        "posterior_kl",
        "belief/posterior_kl",
        "KL of the posterior over a task from N(0, I), of a context drawn from the replay, mean "
        "over tasks (PEARL). Before weighting.",
        "nats",
        "well above 0: the context tells the task",
        True,
    ),
    _learner(
        "posterior_std",
        "belief/posterior_std",
        "Standard deviation of that posterior, mean over tasks and dimensions.",
        "1",
        "falls below 1; it shrinks with the size of the context",
        True,
    ),
    _learner(
        "replay_transitions",
        "replay/transitions",
        "Transitions in the replay, of all tasks (PEARL).",
        "transitions",
        "grows to `train_tasks` times `replay_capacity`",
        True,
    ),
    _learner(
        "replay_tasks",
        "replay/tasks",
        "Training tasks that have been played and can be learnt from.",
        "tasks",
        "`train_tasks` after the first iterations",
        True,
    ),
    _learner(
        "step_share",
        "adapt/step_share",
        "Share of the trust region step that the line search took; 0: none was good.",
        "1",
        "0.3 to 1; often 0: raise `rollouts_per_task`, or lower `inner_lr`",
        True,
    ),
    _learner(
        "inner_kl",
        "adapt/inner_kl",
        "KL between the policies that sampled before each inner step and those after the outer "
        "update, mean over steps (ProMP).",
        "nats",
        "around `inner_kl_target`",
        True,
    ),
    _learner(
        "inner_kl_coeff",
        "adapt/inner_kl_coeff",
        "Weight of that KL, halved or doubled where it is far from its target (ProMP).",
        "1",
        "settles",
        True,
    ),
    _learner(
        "prediction_loss",
        "adapt/prediction_loss",
        "Squared error of the predicted returns of the next steps, with the adapted latent on the "
        "adapted policy's trajectories (MAME).",
        "reward^2",
        "falls",
        True,
    ),
    _learner(
        "exploration_reward",
        "adapt/exploration_reward",
        "What the exploration of a task was paid in all, mean over tasks: the first-order change "
        "of the adapted policy's objective that its steps have made (MAME).",
        "1",
        "rises above 0",
        True,
    ),
    _learner(
        "skipped_tasks",
        "faults/skipped_tasks",
        "Tasks of this iteration that were left out because their loss or a gradient was NaN or "
        "infinite (MAML).",
        "tasks",
        "0",
        True,
    ),
    _learner(
        "policy_grad_norm",
        "ppo/grad_norm",
        "Norm of the policy loss's gradient before clipping.",
        "1",
        "bounded, no spikes",
        True,
    ),
    _learner(
        "value_grad_norm",
        "ppo/value_grad_norm",
        "Norm of the value loss's gradient before clipping.",
        "1",
        "bounded, no spikes",
        True,
    ),
    _learner(
        "skipped_updates",
        "faults/skipped_updates",
        "Gradient steps of this iteration that were left out because their loss or gradient was "
        "NaN or infinite; after `max_skipped_updates` in a row training stops.",
        "gradient steps",
        "0",
        True,
    ),
    Metric(
        "ppo/learning_rate",
        (LEARNER + "policy_learning_rate", LEARNER + "default_optimizer_learning_rate"),
        "Step size of the policy's Adam.",
        "1",
        "follows its schedule",
    ),
    _learner(
        "value_learning_rate",
        "ppo/value_learning_rate",
        "Step size of the value head's Adam.",
        "1",
        "follows its schedule",
        True,
    ),
    Metric(
        "speed/env_steps_per_s",
        (
            "timing/env_steps_per_s",
            RUNNERS + "num_env_steps_sampled_lifetime_throughput/throughput_since_last_reduce",
        ),
        "Training env steps per second of this iteration, learning included.",
        "env steps/s",
        "steady",
    ),
    Metric(
        "async/staleness_mean",
        ("asynchrony/staleness_mean",),
        "Gradient steps that the learner took between sending an actor the weights it sampled with "
        "and learning from that sample, mean over an iteration's batches (LSTM-A3C).",
        "gradient steps",
        "about the number of actors; 0 would mean that they wait for each other",
        True,
    ),
    Metric(
        "async/staleness_max",
        ("asynchrony/staleness_max",),
        "The largest of them.",
        "gradient steps",
        "a small multiple of the mean",
        True,
    ),
    Metric(
        "async/updates",
        ("asynchrony/updates",),
        "Actors' batches learnt from in an iteration, one gradient step each.",
        "gradient steps",
        "`updates_per_iteration`, or a few more",
        True,
    ),
    Metric(
        "speed/sample_s",
        ("timers/env_runner_sampling_timer",),
        "Time of one iteration spent in environments and policy inference, running mean.",
        "s",
        "steady",
    ),
    Metric(
        "speed/learn_s",
        ("timers/learner_update_timer",),
        "Time of one iteration spent in the learner's update, the ELBO included, running mean.",
        "s",
        "steady",
    ),
    Metric(
        "progress/iteration",
        ("training_iteration",),
        "Training iterations since the start, over resumptions.",
        "iterations",
        "grows",
    ),
    Metric(
        "progress/wall_s",
        ("time_total_s",),
        "Time spent in training iterations since the start, over resumptions.",
        "s",
        "grows",
    ),
)
