"""One's own environments as DLCMDPs: `Sessions`, `MetaEpisode` and `BatchedEnvs`."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from rllib_metarl.envs import (
    IID,
    BatchedEnvs,
    Bernoulli,
    FixedLength,
    Markov,
    MetaEpisode,
    Never,
    Sessions,
    Stream,
    hook_of,
    make_vector,
)
from rllib_metarl.envs.gridworld.env import GridWorldEnv
from rllib_metarl.models.observations import ObservationCodec


class Line(gym.Env):
    """A point on a line; it pays to move in the hidden direction. Ends for good at +-`end`."""

    observation_space = gym.spaces.Box(-100.0, 100.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, end: int = 100):
        self.end = end
        self.direction = 0.0
        self.resets = 0

    def set_context(self, m):
        self.direction = float(m[0])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.position = float(self.np_random.integers(-3, 4))
        return self._observe(), {"position": self.position}

    def step(self, action):
        move = 2 * int(action) - 1
        self.position += move
        reward = move * self.direction
        return self._observe(), reward, abs(self.position) >= self.end, False, self._info()

    def _info(self):
        return {"note": "text", "position": self.position}

    def _observe(self):
        return np.array([self.position], np.float32)


TURN = Markov([1.0, 0.0], [[0, 1], [1, 0]], values=[[1.0], [-1.0]])


def test_sessions_change_the_context_and_leave_the_state_alone():
    env = Sessions(Line(), FixedLength(3), TURN)
    observation, info = env.reset(seed=0)
    assert (info["context"], info["session"], info["switched"]) == (1.0, 0, 0)
    rewards, labels, positions = [], [], [observation[0]]
    for _ in range(7):
        observation, reward, _, _, info = env.step(1)
        rewards.append(reward)
        positions.append(observation[0])
        labels.append((float(info["context"][0]), int(info["session"]), int(info["switched"])))
    assert rewards == [1, 1, 1, -1, -1, -1, 1]
    assert np.diff(positions).tolist() == [1] * 7
    assert labels[1:4] == [(1.0, 0, 0), (-1.0, 1, 1), (-1.0, 1, 0)]
    assert env.unwrapped.resets == 1 and info["note"] == "text"


def test_sessions_have_their_law_over_more_steps_than_are_drawn_at_once():
    env = Sessions(Line(end=10**6), Bernoulli(0.2), TURN)
    env.reset(seed=1)
    switched = [env.step(step % 2)[4]["switched"] for step in range(4000)]
    assert np.mean(switched) == pytest.approx(0.2, abs=0.02)
    assert np.mean(switched[:256]) > 0 and switched[:256] != switched[256:512]


def test_sessions_are_reproducible_and_a_new_episode_is_a_new_one():
    def play(seed):
        env = Sessions(Line(), Bernoulli(0.3), IID(lambda rng: rng.normal()))
        record = []
        for episode in range(2):
            _, info = env.reset(seed=seed if episode == 0 else None)
            record.append([float(info["context"][0])])
            record[-1] += [float(env.step(1)[4]["context"][0]) for _ in range(20)]
        return record

    assert play(4) == play(4)
    assert play(4) != play(5)
    assert play(4)[0] != play(4)[1]


def test_sessions_draw_from_another_stream_than_the_env_inside():
    env = Sessions(Line(), Never(), IID(lambda rng: 0.0))
    env.reset(seed=6)
    alone = Line()
    alone.reset(seed=6)
    assert env.unwrapped.position == alone.position
    theirs = gym.utils.seeding.np_random(6)[0].random(1000)
    assert not np.isin(env._uniforms, theirs).any()


def test_sessions_want_set_context():
    with pytest.raises(ValueError, match=r"no method set_context\(m\)"):
        Sessions(gym.make("CartPole-v1"), Never(), TURN)


def test_a_meta_episode_joins_inner_episodes_of_one_task():
    sampler = IID(lambda rng: rng.choice([-1.0, 1.0]))
    env = MetaEpisode(TimeLimit(Sessions(Line(), Never(), sampler), 5), k=3)
    observation, info = env.reset(seed=2)
    task = info["context"]
    assert env.observation_space.contains(observation) and observation.shape == (2,)
    for t in range(1, 16):
        observation, _, terminated, truncated, info = env.step(1)
        inner_end = t % 5 == 0
        assert observation[1] == info["inner_done"] == inner_end
        assert info["inner_episode"] == min(t // 5, 2)
        assert ("inner_final_obs" in info) == inner_end
        assert np.array_equal(info["context"], task)
        assert truncated == (t == 15) and not terminated
        if inner_end and t < 15:
            assert abs(observation[0]) <= 3  # back at a start, and info says the same
        assert info["position"] == observation[0]
    assert observation[0] == info["inner_final_obs"][0]
    assert env.unwrapped.resets == 3


def test_a_time_limit_does_not_end_the_trial_and_a_death_in_the_last_episode_does():
    env = MetaEpisode(TimeLimit(Line(end=5), 4), k=2)
    env.reset(seed=0)
    flags, end = [], (False, False)
    while not any(end):
        observation, _, terminated, truncated, _ = env.step(int(len(flags) >= 4))
        flags.append(int(observation[1]))
        end = (terminated, truncated)
    assert sum(flags) == 2 and flags[-1] == 1
    lasts = {}
    for last_limit in (2, 50):
        env = MetaEpisode(TimeLimit(Line(end=5), last_limit), k=1)
        env.reset(seed=0)
        step = env.step(1)
        while not (step[2] or step[3]):
            step = env.step(1)
        lasts[last_limit] = step[2:4]
    assert lasts == {2: (False, True), 50: (True, False)}


def test_sessions_go_on_over_the_ends_of_inner_episodes():
    env = MetaEpisode(TimeLimit(Sessions(Line(), FixedLength(4), TURN), 6), k=2)
    env.reset(seed=0)
    infos = [env.step(1)[4] for _ in range(12)]
    assert [int(i["session"]) for i in infos] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert [t for t, i in enumerate(infos) if i["switched"]] == [3, 7, 11]


def test_a_switch_at_the_very_end_of_an_inner_episode_is_labelled():
    env = MetaEpisode(TimeLimit(Sessions(Line(), FixedLength(6), TURN), 6), k=2)
    env.reset(seed=0)
    info = [env.step(1)[4] for _ in range(6)][-1]
    assert (info["inner_done"], info["switched"], info["session"]) == (1, 1, 1)
    assert info["context"] == -1.0


def test_an_env_that_draws_its_task_in_reset_cannot_be_joined_silently():
    env = MetaEpisode(TimeLimit(GridWorldEnv(), 2), 2)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ValueError, match="one episode is a meta-episode"):
        env.step(0)


def test_wrapped_envs_do_not_claim_the_references_of_what_is_inside():
    env = MetaEpisode(GridWorldEnv(), 2)
    assert env.get_wrapper_attr("reference_returns")() is None
    assert hook_of(BatchedEnvs([GridWorldEnv()]), "reference_returns")()["bayes"] > 46


@pytest.mark.parametrize("k", [0, 1.5, True])
def test_a_meta_episode_wants_a_count(k):
    with pytest.raises(ValueError, match="k is .*must be a whole number"):
        MetaEpisode(Line(), k)


IMAGE = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
MASKED = gym.spaces.Dict(action_mask=gym.spaces.MultiBinary(2), observations=IMAGE)
# Observations, and where the flag is found.
FLAGGED: dict[str, tuple[gym.Space, tuple[object, ...]]] = {
    "Box (2,)": (gym.spaces.Box(-1.0, 1.0, (2,), np.float32), (-1,)),
    "Box ()": (gym.spaces.Box(-1.0, 1.0, (), np.float32), ("inner_done", 0)),
    "Box (2, 2)": (gym.spaces.Box(-1.0, 1.0, (2, 2), np.float64), ("inner_done", 0)),
    "image": (IMAGE, ("inner_done", 0)),
    "Discrete": (gym.spaces.Discrete(4, start=1), ("inner_done", 0)),
    "MultiDiscrete": (gym.spaces.MultiDiscrete([2, 3]), ("inner_done", 0)),
    "MultiBinary": (gym.spaces.MultiBinary([2, 2]), ("inner_done", 0)),
    "Tuple": (gym.spaces.Tuple([gym.spaces.Discrete(3), IMAGE]), (-1, 0)),
    "Dict": (gym.spaces.Dict(at=gym.spaces.Discrete(3), see=IMAGE), ("inner_done", 0)),
    "Dict with a mask": (MASKED, ("observations", "inner_done", 0)),
}


class Drawn(Line):
    """Observations drawn from a space, for as long as `Line` goes on."""

    def __init__(self, space: gym.Space):
        super().__init__()
        self.observation_space = space

    def _observe(self):
        return self.observation_space.sample()


@pytest.mark.parametrize("name", FLAGGED)
def test_a_meta_episode_takes_any_observation(name):
    space, place = FLAGGED[name]

    def flag(observation):
        for key in place:
            observation = observation[key]
        return int(observation)

    env = MetaEpisode(TimeLimit(Drawn(space), 2), 2)
    seen = [env.reset(seed=0)[0]] + [env.step(1)[0] for _ in range(4)]
    assert all(env.observation_space.contains(one) for one in seen)
    assert [flag(one) for one in seen] == [0, 0, 1, 0, 1]

    batched = BatchedEnvs([MetaEpisode(TimeLimit(Drawn(space), 2), 2) for _ in range(3)])
    batched.reset(seed=0)
    choices = batched.action_space.nvec
    codec = ObservationCodec(batched.single_observation_space, int(choices[0]))
    masked = name == "Dict with a mask"
    size = gym.spaces.flatdim(MASKED["observations"] if masked else space)
    for t in range(1, 5):
        observation, _, _, ended, infos = batched.step(np.ones(3, int))
        flat = codec.flatten(observation)
        assert flat.shape == (3, size + 1) and (codec.mask(observation) is not None) == masked
        last = codec.flatten(infos["final_obs"]) if ended.all() else flat
        assert ((last == 1.0).any(1) | (t != 2)).all() and infos["inner_done"].any() == (t == 2)


def test_a_meta_episode_needs_the_name_of_its_flag():
    space = gym.spaces.Dict(inner_done=gym.spaces.Discrete(2), at=gym.spaces.Discrete(2))
    with pytest.raises(ValueError, match="'inner_done' already; rename it"):
        MetaEpisode(Drawn(space), 2)


def make_line() -> gym.Env:
    sampler = IID(lambda rng: rng.choice([-1.0, 1.0]))
    return MetaEpisode(TimeLimit(Sessions(Line(), Bernoulli(0.3), sampler), 5), k=2)


def test_batched_envs_give_what_native_ones_give():
    env = BatchedEnvs([make_line() for _ in range(3)])
    observations, infos = env.reset(seed=0)
    assert observations.shape == (3, 2) and observations.dtype == np.float32
    assert infos["context"].shape == (3, 1) and infos["session"].shape == (3,)
    for t in range(1, 11):
        observations, rewards, terminated, truncated, infos = env.step(np.array([0, 1, 1]))
        assert infos["inner_done"].tolist() == ([0] * 3 if t != 5 else [1] * 3)
        assert "note" not in infos and rewards.dtype == np.float64
    assert truncated.all() and not terminated.any()
    assert infos["final_obs"][:, 1].tolist() == [1, 1, 1] and observations[:, 1].tolist() == [0] * 3
    assert infos["final_info"]["inner_done"].tolist() == [1] * 3
    assert (infos["session"] == 0).all() and hook_of(env, "reference_returns")() is None


def test_batched_envs_have_streams_of_their_own_that_can_be_saved():
    def contexts(env, steps=60):
        out = [env.reset()[1]["context"]]
        return np.stack(out + [env.step(np.ones(8, int))[4]["context"] for _ in range(steps)], 1)

    def make(stream=None):
        env = BatchedEnvs([make_line() for _ in range(8)])
        if stream is not None:
            env.set_stream(stream)
        return env

    first = contexts(make(Stream(0)))
    assert len(np.unique(first[..., 0], axis=0)) == 8
    assert np.array_equal(first, contexts(make(Stream(0))))
    assert not np.array_equal(first, contexts(make(Stream(0, 1))))
    env = make(Stream(0))
    contexts(env)
    state = pickle.loads(pickle.dumps(env.rng_state()))
    expected = contexts(env)
    other = make()
    other.set_rng_state(state)
    assert np.array_equal(contexts(other), expected)
    assert not np.array_equal(expected, first)


def test_an_env_of_somebody_else_is_batched_without_labels():
    env = make_vector("CartPole-v1", 2, {"max_episode_steps": 7}, Stream(0))
    assert isinstance(env, BatchedEnvs)
    observations, infos = env.reset()
    assert observations.shape == (2, 4) and "context" not in infos
    for _ in range(7):
        step = env.step(np.array([0, 1]))
    assert step[3].all() and step[4]["final_obs"].shape == (2, 4)


def test_batched_envs_want_envs_alike():
    with pytest.raises(ValueError, match="equal spaces"):
        BatchedEnvs([gym.make("CartPole-v1"), Line()])
    with pytest.raises(ValueError, match="at least one"):
        BatchedEnvs([])
