"""RL² on the GridWorld as one compiled JAX program, env and all; `jax_race.py` starts it.

Runs in a Python of its own that has the packages of `jax_requirements.txt`. Once it is compiled it
prints a line of JSON; then, for each line that it reads, it trains for some iterations and prints
what an env step took. Networks, losses, minibatches and updates are those of `rl2_config` in
`throughput.py`: an embedding and a memory of 64 units, policy and value of 64, one joint loss.
Differs from the library: one optimiser for policy and value, observations are scaled by constants,
and nothing is recorded or reported but the return.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

HORIZON, ACTIONS, SIDE, UNITS = 60, 5, 5, 64
SWITCH, FLIP = 0.07, 0.8
GAMMA, LAMBDA, CLIP, VALUE_WEIGHT, NORM = 0.95, 0.95, 0.2, 0.5, 0.5
ENTROPY, ENTROPY_END, TOTAL_STEPS = 0.05, 0.75, 3e6
RATES = 1e-3, 5e-5
MOVES = jnp.array([[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0]])
Tree = Any


class World(NamedTuple):
    """N grids: where the agent is `[N, 2]`, both goals `[N, 2, 2]`, which one pays `[N]`."""

    place: jax.Array
    goals: jax.Array
    active: jax.Array


class Seen(NamedTuple):
    """What the agent sees: `[T, N, 6]`, previous actions `[T, N, A]` and rewards `[T, N]`."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array


class State(NamedTuple):
    """Between two iterations; `mean` and `std` are those of the value targets."""

    weights: Tree
    optimiser: Tree
    key: jax.Array
    iterations: jax.Array
    mean: jax.Array
    std: jax.Array


# --- the env ------------------------------------------------------------------------------------


def reset(key: jax.Array, envs: int) -> World:
    """New meta-episodes: a place, two different goals, and which of them pays."""
    keys, cells = jax.random.split(key, 4), SIDE * SIDE
    first = jax.random.randint(keys[0], (envs,), 0, cells)
    second = jax.random.randint(keys[1], (envs,), 0, cells - 1)
    second += second >= first
    goals = jnp.stack([jnp.stack([g % SIDE, g // SIDE], -1) for g in (first, second)], 1)
    place = jax.random.randint(keys[2], (envs, 2), 0, SIDE)
    return World(place, goals, jax.random.bernoulli(keys[3], 0.5, (envs,)).astype(jnp.int32))


def observe(world: World) -> jax.Array:
    """`[N, 6]`, spread to +-2 as the library's normaliser does."""
    flat = jnp.concatenate([world.place, world.goals.reshape(-1, 4)], -1)
    return 4.0 * (flat / (SIDE - 1) - 0.5)


def act(key: jax.Array, world: World, action: jax.Array) -> tuple[World, jax.Array]:
    """One step: the worlds after it, and rewards `[N]`."""
    place = jnp.clip(world.place + MOVES[action], 0, SIDE - 1)
    on, rows = (place[:, None] == world.goals).all(-1), jnp.arange(len(action))
    paid, other = on[rows, world.active], on[rows, 1 - world.active]
    reward = jnp.where(paid, 1.0, jnp.where(other, 0.0, -0.1))
    switch, flip = jax.random.split(key)
    switched = jax.random.bernoulli(switch, SWITCH, reward.shape)
    switched &= jax.random.bernoulli(flip, FLIP, reward.shape)
    return World(place, world.goals, jnp.where(switched, 1 - world.active, world.active)), reward


# --- the networks -------------------------------------------------------------------------------


def layer(key: jax.Array, inputs: int, outputs: int, gain: float = 2**0.5) -> Tree:
    """A linear layer with orthogonal weights."""
    weight = jax.nn.initializers.orthogonal(gain)(key, (inputs, outputs))
    return {"w": weight, "b": jnp.zeros(outputs)}


def apply(weights: Tree, x: jax.Array) -> jax.Array:
    """A linear layer's outputs."""
    return x @ weights["w"] + weights["b"]


def networks(key: jax.Array, lstm: bool) -> Tree:
    """All weights; an LSTM's forget gates start open."""
    keys, gates = jax.random.split(key, 7), 4 if lstm else 3

    def blocks(key: jax.Array) -> jax.Array:
        of_gates = [layer(k, UNITS, UNITS, 1.0)["w"] for k in jax.random.split(key, gates)]
        return jnp.concatenate(of_gates, 1)

    bias = jnp.zeros(gates * UNITS)
    return {
        "embedding": layer(keys[0], 6 + ACTIONS + 1, UNITS),
        "memory": {
            "in": blocks(keys[1]),
            "hidden": blocks(keys[2]),
            "b": bias.at[UNITS : 2 * UNITS].set(1.0) if lstm else bias,
        },
        "policy": [layer(keys[3], 6 + UNITS, UNITS), layer(keys[4], UNITS, ACTIONS, 0.01)],
        "value": [layer(keys[5], 6 + UNITS, UNITS), layer(keys[6], UNITS, 1, 1.0)],
    }


def remember(weights: Tree, given: jax.Array, before: Tree) -> Tree:
    """The memory `(hidden, cell)` after one more input, `given` being its part of the gates."""
    hidden, cell = before
    ours = hidden @ weights["memory"]["hidden"]
    if given.shape[-1] == 4 * UNITS:
        i, f, g, o = jnp.split(given + ours, 4, -1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(cell), cell
    r, z = jnp.split(jax.nn.sigmoid((given + ours)[..., : 2 * UNITS]), 2, -1)
    new = jnp.tanh(given[..., 2 * UNITS :] + r * ours[..., 2 * UNITS :])
    return (1 - z) * new + z * hidden, cell


def gates(weights: Tree, seen: Seen) -> jax.Array:
    """What the inputs give to the gates, over all steps at once."""
    together = jnp.concatenate([seen.observation, seen.action, seen.reward[..., None]], -1)
    embedded = jax.nn.relu(apply(weights["embedding"], together))
    return embedded @ weights["memory"]["in"] + weights["memory"]["b"]


def empty(envs: int) -> Tree:
    """The memory before the first step."""
    return jnp.zeros((envs, UNITS)), jnp.zeros((envs, UNITS))


def memories(weights: Tree, seen: Seen) -> jax.Array:
    """The memory after each step, `[T, N, H]`."""

    def step(before: Tree, given: jax.Array) -> tuple[Tree, jax.Array]:
        after = remember(weights, given, before)
        return after, after[0]

    return jax.lax.scan(step, empty(seen.reward.shape[1]), gates(weights, seen))[1]


def head(layers: Tree, observation: jax.Array, hidden: jax.Array) -> jax.Array:
    """Policy or value, which see the observation and the memory."""
    first, second = layers
    return apply(second, jax.nn.relu(apply(first, jnp.concatenate([observation, hidden], -1))))


# --- one iteration ------------------------------------------------------------------------------


def play(weights: Tree, key: jax.Array, envs: int) -> tuple[Any, Seen, jax.Array]:
    """Meta-episodes: (action, log_prob, reward), each `[T, N]`; what was seen; the same T + 1."""
    start, key = jax.random.split(key)

    def step(carried: Any, key: jax.Array) -> Any:
        world, memory, seen = carried
        choose, move = jax.random.split(key)
        memory = remember(weights, gates(weights, seen), memory)
        logits = head(weights["policy"], seen.observation, memory[0])
        action = jax.random.categorical(choose, logits)
        log_prob = of_action(jax.nn.log_softmax(logits), action)
        world, reward = act(move, world, action)
        after = Seen(observe(world), jax.nn.one_hot(action, ACTIONS), reward)
        return (world, memory, after), (seen, action, log_prob, reward)

    world = reset(start, envs)
    first = Seen(observe(world), jnp.zeros((envs, ACTIONS)), jnp.zeros(envs))
    keys = jax.random.split(key, HORIZON)
    (_, _, last), (seen, *told) = jax.lax.scan(step, (world, empty(envs), first), keys)
    whole = jax.tree.map(lambda all_, one: jnp.concatenate([all_, one[None]]), seen, last)
    return told, seen, whole


def of_action(log_probs: jax.Array, action: jax.Array) -> jax.Array:
    """The entry of each action that was taken."""
    return jnp.take_along_axis(log_probs, action[..., None], -1)[..., 0]


def advantages(reward: jax.Array, value: jax.Array) -> jax.Array:
    """GAE `[T, N]` from values `[T + 1, N]`."""

    def step(after: jax.Array, now: Any) -> Any:
        reward, value, following = now
        after = reward + GAMMA * following - value + GAMMA * LAMBDA * after
        return after, after

    now = reward, value[:-1], value[1:]
    return jax.lax.scan(step, jnp.zeros(reward.shape[1]), now, reverse=True)[1]


def loss(weights: Tree, batch: Any, bonus: jax.Array) -> jax.Array:
    """PPO's, through the memory of whole meta-episodes."""
    seen, action, old, advantage, target = batch
    hidden = memories(weights, seen)
    log_probs = jax.nn.log_softmax(head(weights["policy"], seen.observation, hidden))
    value = head(weights["value"], seen.observation, hidden)[..., 0]
    ratio = jnp.exp(of_action(log_probs, action) - old)
    clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
    policy = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return policy + VALUE_WEIGHT * jnp.square(value - target).mean() - bonus * entropy


def popart(state: State, target: jax.Array) -> State:
    """Moves the units of the values, and the value's last layer with them."""
    mean = 0.9 * state.mean + 0.1 * target.mean()
    std = 0.9 * state.std + 0.1 * jnp.maximum(target.std(), 1e-2)
    first, last = state.weights["value"]
    bias = (last["b"] * state.std + state.mean - mean) / std
    value = [first, {"w": last["w"] * state.std / std, "b": bias}]
    return state._replace(weights=state.weights | {"value": value}, mean=mean, std=std)


class Program:
    """Some iterations, compiled as one function of a `State`."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        updates = given.epochs * given.minibatches * TOTAL_STEPS / (HORIZON * given.envs)
        rate = optax.linear_schedule(*RATES, int(updates))
        self.optimiser = optax.chain(optax.clip_by_global_norm(NORM), optax.adam(rate, eps=1e-5))
        scan = partial(jax.lax.scan, self.iteration, xs=None, length=given.iterations)
        self.run = jax.jit(scan, donate_argnums=0)

    def start(self, seed: int) -> State:
        """Before the first iteration."""
        key = jax.random.PRNGKey(seed)
        weights = networks(key, self.given.cell == "lstm")
        numbers = jnp.zeros(()), jnp.zeros(()), jnp.ones(())  # apart: they are given away
        return State(weights, self.optimiser.init(weights), key, *numbers)

    def iteration(self, state: State, _: None) -> tuple[State, jax.Array]:
        """Plays and learns; the mean return comes beside the state."""
        given = self.given
        key, playing, mixing = jax.random.split(state.key, 3)
        (action, log_prob, reward), seen, whole = play(state.weights, playing, given.envs)
        hidden = memories(state.weights, whole)
        value = head(state.weights["value"], whole.observation, hidden)[..., 0]
        value = value * state.std + state.mean
        advantage = advantages(reward, value)
        target = advantage + value[:-1]
        state = popart(state, target)
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        data = seen, action, log_prob, scaled, (target - state.mean) / state.std
        steps = state.iterations * HORIZON * given.envs
        bonus = ENTROPY * jnp.clip(1 - steps / (ENTROPY_END * TOTAL_STEPS), 0, 1)
        keys = jax.random.split(mixing, given.epochs)
        learnt = state.weights, state.optimiser
        learnt, _ = jax.lax.scan(partial(self.epoch, data, bonus), learnt, keys)
        weights, optimiser = learnt
        state = state._replace(weights=weights, optimiser=optimiser, key=key)
        return state._replace(iterations=state.iterations + 1), reward.sum(0).mean()

    def epoch(self, data: Any, bonus: jax.Array, learnt: Any, key: jax.Array) -> Any:
        """One pass over the meta-episodes in minibatches of whole ones."""
        count, given = self.given.minibatches, self.given
        rows = jax.random.permutation(key, given.envs).reshape(count, given.envs // count)
        parts = jax.tree.map(lambda x: jnp.moveaxis(x[:, rows], 1, 0), data)

        def step(learnt: Any, batch: Any) -> Any:
            weights, optimiser = learnt
            change, optimiser = self.optimiser.update(
                jax.grad(loss)(weights, batch, bonus), optimiser, weights
            )
            return (optax.apply_updates(weights, change), optimiser), None

        return jax.lax.scan(step, learnt, parts)


def main(argv: list[str] | None = None) -> None:
    """Compiles, then trains for as long as lines come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--envs", type=int, default=64)
    parser.add_argument("--cell", choices=("lstm", "gru"), default="lstm")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=4, help="for each line that is read")
    given = parser.parse_args(argv)
    began, program = time.perf_counter(), Program(given)
    state, told = program.run(program.start(0))
    told.block_until_ready()
    compiled = time.perf_counter() - began
    print(json.dumps({"ready": jax.__version__, "compile_s": compiled}), flush=True)
    steps = given.iterations * given.envs * HORIZON
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        state, told = program.run(state)
        told.block_until_ready()
        line = {
            "wall": 1e6 * (time.perf_counter() - wall) / steps,
            "cpu": 1e6 * (time.process_time() - cpu) / steps,
            "return": float(told.mean()),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
