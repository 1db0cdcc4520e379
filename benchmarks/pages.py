"""What each results page compares: tuned examples, and what is changed in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Agent:
    """A row: how it is called, its tuned example, what is changed in training and evaluation.

    `steps` are the env steps after which training stops, where that is not the example's own end.
    """

    label: str
    example: str
    config: dict[str, Any] = field(default_factory=dict)
    evaluated_on: dict[str, Any] = field(default_factory=dict)  # env arguments that differ
    steps: int | None = None


@dataclass(frozen=True)
class Page:
    """A folder of `docs/results`, whose name is the key in `PAGES`.

    `classical` plays policies that do not learn: name -> return_mean, standard_error and measures.
    `measures` are keys of the evaluations' JSON that are shown beside the return; `episodes` is how
    many held-out meta-episodes an evaluation plays. `factors`, entries of the env's context by
    name, are what the latents are held against (MIG, SAP, DCI) at the steps `told_at`.
    `in_readme` says whether README.md shows the table as it is, or words it in its own way.
    `shown` are the ends of the returns' axis in the picture; by default all of it.
    """

    title: str
    agents: dict[str, Agent]
    reference_labels: dict[str, str] = field(default_factory=dict)
    classical: Callable[[], dict[str, dict[str, float]]] | None = None
    measures: tuple[str, ...] = ()
    episodes: int = 512
    factors: dict[str, int] = field(default_factory=dict)
    told_at: tuple[int, ...] = ()
    in_readme: bool = True
    shown: tuple[float, float] | None = None

    @property
    def adapts(self) -> bool:
        """Whether its agents adapt by gradient, and are shown after each step."""
        return bool(self.measures) and self.measures[0].startswith("return_after_")


DYNAMITE = "dynamite/gridworld.yaml"
GRIDWORLD = {
    "dynamite": Agent("DynaMITE-RL", DYNAMITE),
    "no-masking": Agent("− session masking", DYNAMITE, {"session_masking": False}),
    "no-conditioning": Agent("− prior conditioning", DYNAMITE, {"prior_conditioning": False}),
    "no-consistency": Agent("− consistency", DYNAMITE, {"consistency_weight": 0.0}),
    "varibad": Agent("VariBAD", "varibad/gridworld.yaml"),
    "hlt-v1": Agent("HLT-DynaMITE v1", "hlt/gridworld.yaml", {"hlt_version": 1}),
    "hlt-v2": Agent("HLT-DynaMITE v2", "hlt/gridworld.yaml"),
    "rl2": Agent("RL²", "rl2/gridworld.yaml"),
    "blind": Agent("blind PPO", "blind/gridworld.yaml"),
    "belief-oracle": Agent("belief oracle", "oracle/gridworld-posterior.yaml"),
    "oracle": Agent("oracle (sees m)", "oracle/gridworld.yaml"),
}

GRIDWORLD_FAMILY = {
    "dynamite": Agent("DynaMITE-RL", "dynamite/gridworld-family.yaml"),
    "hlt-v1": Agent("HLT-DynaMITE v1", "hlt/gridworld-family.yaml", {"hlt_version": 1}),
    "hlt-v2": Agent("HLT-DynaMITE v2", "hlt/gridworld-family.yaml"),
}

RATES = (0.0, 0.03, 0.07, 0.15, 0.3, 1.0)
RATE_OF_CHANGE = {
    f"{name}-p{rate:g}": Agent(
        f"{label}, p = {rate:g}", f"{name}/gridworld.yaml", {"env_config": {"p_switch": rate}}
    )
    for rate in RATES
    for name, label in (("dynamite", "DynaMITE-RL"), ("varibad", "VariBAD"))
}


LABELS = {"dynamite": "DynaMITE-RL", "varibad": "VariBAD", "rl2": "RL²", "blind": "blind PPO"}


def agents_on(example: str, sees: str, names: Iterable[str] = LABELS) -> dict[str, Agent]:
    """Agents whose examples have the same name, and the oracle, which is told what `sees` says."""
    labels = {name: LABELS[name] for name in names} | {"oracle": f"oracle (sees {sees})"}
    return {name: Agent(label, f"{name}/{example}.yaml") for name, label in labels.items()}


OTHER_BALLS = {"grid": "held_out"}
STRIKER = {
    "none": Agent("PPO, told nothing", "context/striker-none.yaml", {}, OTHER_BALLS),
    "explicit": Agent("PPO, told the dynamics", "context/striker-explicit.yaml", {}, OTHER_BALLS),
    "latent": Agent("PPO, told IIDA's context", "context/striker-latent.yaml", {}, OTHER_BALLS),
    "dynamite": Agent("DynaMITE-RL", "dynamite/striker.yaml", {}, OTHER_BALLS),
}

INDEPENDENT = {"arms": 2, "pulls": 100, "structure": "independent"}
DEPENDENT = {"structure": "dependent_uniform"}
DEPENDENT_BANDIT = {
    "a2c": Agent("LSTM-A2C", "lstm_a2c/dependent-bandit.yaml"),
    "a2c-independent": Agent(
        "LSTM-A2C trained on independent arms",
        "lstm_a2c/dependent-bandit.yaml",
        {"env_config": INDEPENDENT},
        DEPENDENT,
    ),
    "a3c": Agent("LSTM-A3C", "lstm_a3c/dependent-bandit.yaml"),
}

NAVIGATION = {
    "maml": Agent("MAML", "maml/navigation2d.yaml"),
    "promp": Agent("ProMP", "maml/navigation2d-promp.yaml"),
    "pretrained": Agent("pretrained", "maml/navigation2d-pretrained.yaml"),
    "scratch": Agent("from scratch", "maml/navigation2d-scratch.yaml"),
}

POINT_ROBOT = {"pearl": Agent("PEARL", "pearl/point-robot.yaml", steps=100_000)}


def bandit_policies(**bandit: Any) -> Callable[[], dict[str, dict[str, float]]]:
    """Classical bandit algorithms on 20,000 trials."""
    from rllib_metarl.envs.bandit.policies import classical_returns

    return lambda: classical_returns(trials=20_000, seed=0, **bandit)


def mdp_policies() -> dict[str, dict[str, float]]:
    """Posterior sampling, and acting greedily on the posterior's mean, on 4,000 random MDPs."""
    from rllib_metarl.envs.tabular_mdp.policies import greedy_returns, psrl_returns

    return {
        "PSRL, the true prior": asdict(psrl_returns(4000, 0)),
        "PSRL, prior mean 0": asdict(psrl_returns(4000, 0, prior_mean=0.0)),
        "greedy on the posterior's mean": asdict(greedy_returns(4000, 0)),
    }


PAGES = {
    "gridworld": Page("GridWorld DLCMDP", GRIDWORLD, {"bayes": "Bayes-optimal"}),
    "gridworld-family": Page(
        "GridWorld family",
        GRIDWORLD_FAMILY,
        {"bayes": "Bayes-optimal"},
        factors={"m": 0, "p": 1, "T_m": 2},
        told_at=(15, 30, 59),
    ),
    "gridworld-rates": Page("GridWorld at other rates of change", RATE_OF_CHANGE, in_readme=False),
    "halfcheetah-dir": Page(
        "half-cheetah, a hidden direction that changes",
        agents_on("halfcheetah-dir", "the direction"),
    ),
    "halfcheetah-vel": Page(
        "half-cheetah, a hidden velocity that changes",
        agents_on("halfcheetah-vel", "v*")
        | {
            "oracle-wide": Agent(
                "oracle, actions that start wide",
                "oracle/halfcheetah-vel.yaml",
                {"policy_init_std": 1.0},
            )
        },
    ),
    "halfcheetah-wind-vel": Page(
        "half-cheetah, a hidden velocity and a head wind that change",
        agents_on("halfcheetah-wind-vel", "v* and the wind"),
    ),
    "static-halfcheetah-vel": Page(
        "half-cheetah, a hidden velocity that stays for 2 inner episodes of 200 steps",
        agents_on("static-halfcheetah-vel", "v*", ("varibad", "blind")),
        measures=("inner_return_1", "inner_return_2"),
    ),
    "reacher": Page("reacher, a hidden goal that moves", agents_on("reacher", "the goal")),
    "navigation2d": Page(
        "2-D navigation, held-out goals",
        NAVIGATION,
        measures=tuple(f"return_after_{step}" for step in range(5)),
        episodes=40,
        shown=(-100.0, 2.0),
    ),
    "point-robot": Page(
        "point robot, dense rewards, 17 walks to a held-out goal",
        POINT_ROBOT,
        measures=("inner_return_1", "inner_return_3", "inner_return_4", "last_inner_return"),
        episodes=200,
    ),
    "pointgoal-sparse": Page(
        "a goal on a semi-circle, sparse rewards, 3 inner episodes of 60 steps",
        agents_on("pointgoal-sparse", "the goal", ("dynamite", "varibad", "blind")),
        measures=("inner_return_1", "inner_return_2", "inner_return_3"),
    ),
    "striker": Page(
        "striker: a ball of unknown mass and damping",
        STRIKER,
        measures=("final_distance_mean",),
    ),
    "static-gridworld": Page(
        "VariBAD's GridWorld, 4 inner episodes of 15 steps",
        {"varibad": Agent("VariBAD", "varibad/static-gridworld.yaml", steps=4_000_000)},
        {"bayes": "Bayes-optimal"},
        None,
        ("last_inner_return",),
        in_readme=False,
    ),
    "bandits/10-5": Page(
        "Bernoulli bandit, 10 pulls of 5 arms",
        {"rl2": Agent("RL²", "rl2/bandit-10-5.yaml")},
        {"bayes": "Bayes-optimal"},
        bandit_policies(arms=5, pulls=10),
        ("regret_mean",),
        20_000,
    ),
    "bandits/100-5": Page(
        "Bernoulli bandit, 100 pulls of 5 arms",
        {"rl2": Agent("RL²", "rl2/bandit-100-5.yaml")},
        {},
        bandit_policies(arms=5, pulls=100),
        ("regret_mean",),
        20_000,
    ),
    "bandits/dependent": Page(
        "two dependent arms, 100 pulls",
        DEPENDENT_BANDIT,
        {"bayes": "Bayes-optimal"},
        bandit_policies(arms=2, pulls=100, **DEPENDENT),
        ("regret_mean",),
        20_000,
    ),
    "tabular-mdp": Page(
        "random MDPs, 10 episodes of 10 steps",
        {"rl2": Agent("RL²", "rl2/random-mdp.yaml")},
        {},
        mdp_policies,
        (),
        4096,
        in_readme=False,
    ),
    "two-step": Page(
        "two-step task",
        {"a2c": Agent("LSTM-A2C", "lstm_a2c/two-step.yaml")},
        {"bayes": "Bayes-optimal"},
        None,
        ("interaction", "interaction_low", "reward_effect", "plain_interaction"),
        1024,
        in_readme=False,
    ),
}
