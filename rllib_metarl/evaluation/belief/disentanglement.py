"""How cleanly latents tell the factors that made the data: MIG, SAP and DCI.

Codes are posterior means z `[N, D]`, factors what the environment drew v `[N, F]`, one row for each
of N samples. All scores are in [0, 1] and 1 for a code that has each factor in one dimension alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_metarl.errors import UserError

Array = NDArray[np.float64]
BINS = 20


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness, informativeness (R^2 on unseen samples), see `dci`."""

    disentanglement: float
    completeness: float
    informativeness: float


def mig(codes: ArrayLike, factors: ArrayLike, bins: int = BINS) -> float:
    """Mutual information gap: mean_k [I(z_j*; v_k) - max_{j != j*} I(z_j; v_k)] / H(v_k).

    j* is the dimension that tells most of v_k. Codes are binned into `bins` intervals of equal
    width, as are factors with more values than that.

    Raises:
        ValueError: if shapes disagree or a factor is constant.

    Source: Chen et al. 2018, arXiv:1802.04942, eq. 6.
    """
    z, v = _checked("mig", codes, factors)
    z_bins, v_bins = (np.stack([_binned(x, bins) for x in side.T], 1) for side in (z, v))
    gaps = []
    for factor in v_bins.T:
        largest = _two_largest([_mutual_information(code, factor) for code in z_bins.T])
        gaps.append((largest[0] - largest[1]) / _mutual_information(factor, factor))
    return float(np.mean(gaps))


def sap(codes: ArrayLike, factors: ArrayLike) -> float:
    """Separated attribute predictability: mean_k [S_k,j* - max_{j != j*} S_kj], S the squared
    correlation of code j and factor k (the score's form for numbers; two-valued factors count as
    such).

    Raises:
        ValueError: if shapes disagree or a factor is constant.

    Source: Kumar et al. 2018, arXiv:1711.00848, section 3.
    """
    z, v = _checked("sap", codes, factors)
    scores = np.square(_standardised(z).T @ _standardised(v) / len(z))
    largest = np.stack([_two_largest(column) for column in scores.T])
    return float((largest[:, 0] - largest[:, 1]).mean())


def dci(codes: ArrayLike, factors: ArrayLike, penalty: float = 0.02) -> DCI:
    """Disentanglement, completeness and informativeness of the best sparse linear readout.

    Each standardised factor is regressed on the standardised codes by the lasso with weight
    `penalty`; R_jk is the size of the coefficient of code j. With P_jk = R_jk / sum_k R_jk and
    P~_jk = R_jk / sum_j R_jk:
    disentanglement = sum_j rho_j (1 - H_F(P_j.)), rho_j = sum_k R_jk / sum R;
    completeness = mean_k (1 - H_D(P~_.k)), entropies to the base of the number of outcomes;
    informativeness = mean_k of R^2 on the second half of the samples, the first having been fitted.
    (The paper's third score is an error; this is one minus it, with negative R^2 counted as 0.)

    Raises:
        ValueError: if shapes disagree or a factor is constant.

    Source: Eastwood & Williams 2018, section 2.
    """
    z, v = (_standardised(x) for x in _checked("dci", codes, factors))
    half = len(z) // 2
    weights = np.stack([_lasso(z[:half], factor[:half], penalty) for factor in v.T], 1)
    size = abs(weights)
    weight = size.sum(1) / max(size.sum(), 1e-12)
    return DCI(
        float((weight * (1 - _relative_entropy(size))).sum()),
        float((1 - _relative_entropy(size.T)).mean()),
        float(np.mean(_r_squared(z[half:] @ weights, v[half:]))),
    )


def linear_readout(codes: ArrayLike, factors: ArrayLike) -> Array:
    """R^2 `[F]` of each factor's least-squares readout: fitted on one half, scored on the other.

    Raises:
        ValueError: if shapes disagree or a factor is constant.
    """
    z, v = _checked("linear_readout", codes, factors)
    half, inputs = len(z) // 2, np.column_stack([z, np.ones(len(z))])
    fitted = np.linalg.lstsq(inputs[:half], v[:half], rcond=None)[0]
    return _r_squared(inputs[half:] @ fitted, v[half:])


def disentanglement_of(
    module: Any, held_out: Any, factors: dict[str, int], times: tuple[int, ...]
) -> dict[str, Any]:
    """Scores of a trained module's latents on held-out meta-episodes, greedily played.

    Args:
        module: a belief module with `latents`.
        held_out: a `rllib_metarl.sampling.held_out.HeldOut`.
        factors: name -> entry of the environment's ``context`` label.
        times: the steps t whose beliefs are looked at; one meta-episode gives one sample at each.

    Returns:
        For each t ``mig``, ``sap``, ``dci`` (of all latents side by side) and ``readout``: latent
        -> factor -> R^2.

    Raises:
        UserError: if the env gives no context, or not at these times.
    """
    played = held_out.play(module)
    if any("context" not in e.labels or len(e) <= max(times) for e in played):
        raise UserError(
            "disentanglement needs info['context'] and meta-episodes longer than the last of the "
            f"times {list(times)}: wrap the env in rllib_metarl.envs.Sessions, or name earlier "
            "times."
        )
    return {str(t): _scores(module.latents, played, factors, t) for t in times}


def _scores(
    latents: dict[str, slice], played: list[Any], factors: dict[str, int], t: int
) -> dict[str, Any]:
    belief = np.stack([episode.belief[t] for episode in played])
    context = np.stack([episode.labels["context"][t] for episode in played])
    truth = context[:, list(factors.values())]
    codes = np.concatenate([belief[:, columns] for columns in latents.values()], 1)
    readout = {
        name: dict(zip(factors, linear_readout(belief[:, columns], truth).tolist(), strict=True))
        for name, columns in latents.items()
    }
    scores = {"mig": mig(codes, truth), "sap": sap(codes, truth), "dci": vars(dci(codes, truth))}
    return scores | {"readout": readout}


# --- parts --------------------------------------------------------------------------------------


def _checked(where: str, codes: ArrayLike, factors: ArrayLike) -> tuple[Array, Array]:
    z, v = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v) or len(z) < 4:
        raise ValueError(
            f"{where}: codes have shape {z.shape} and factors {v.shape}; give [N, D] and [N, F] "
            "with N of 4 or more."
        )
    constant = np.flatnonzero(np.ptp(v, axis=0) == 0)
    if len(constant):
        raise ValueError(f"{where}: factor {constant[0]} is the same in all samples; leave it out.")
    return z, v


def _standardised(x: Array) -> Array:
    """Zero mean and unit variance; a constant column becomes zero."""
    spread = x.std(0)
    return (x - x.mean(0)) / np.where(spread > 1e-12, spread, 1.0)


def _binned(x: Array, bins: int) -> NDArray[np.int64]:
    values, index = np.unique(x, return_inverse=True)
    if len(values) <= bins:
        return index
    edges = np.linspace(values[0], values[-1], bins + 1)[1:-1]
    return np.digitize(x, edges)


def _mutual_information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """I(a; b) in nats of two columns of small whole numbers; I(a; a) is the entropy."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1.0 / len(a))
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    positive = joint > 0
    return float((joint[positive] * np.log(joint[positive] / independent[positive])).sum())


def _two_largest(values: ArrayLike) -> Array:
    """The largest and the second; 0 where there is only one."""
    ordered = np.sort(np.append(np.asarray(values, np.float64), 0.0))[::-1]
    return ordered[:2]


def _relative_entropy(size: Array) -> Array:
    """Entropy of each row's shares `[rows]`, between 0 and 1; 1 for a row of zeros."""
    count = size.shape[1]
    if count == 1:
        return np.zeros(len(size))
    total = size.sum(1, keepdims=True)
    weight = np.where(total > 1e-12, size / np.maximum(total, 1e-12), 1.0 / count)
    logs = np.log(np.where(weight > 0, weight, 1.0))
    return -(weight * logs).sum(1) / np.log(count)


def _lasso(z: Array, v: Array, penalty: float, rounds: int = 200) -> Array:
    """argmin_w |v - z w|^2 / (2 N) + penalty |w|_1, by coordinate descent."""
    gram, target = z.T @ z / len(z), z.T @ v / len(z)
    w = np.zeros(z.shape[1])
    for _ in range(rounds):
        before = w.copy()
        for j in np.flatnonzero(np.diag(gram) > 1e-12):
            rest = target[j] - gram[j] @ w + gram[j, j] * w[j]
            w[j] = np.sign(rest) * max(abs(rest) - penalty, 0.0) / gram[j, j]
        if abs(w - before).max() < 1e-8:
            break
    return w


def _r_squared(predicted: Array, v: Array) -> Array:
    """1 - residual / variance of each column, not below 0."""
    residual = np.square(v - predicted).mean(0)
    return np.maximum(1.0 - residual / np.maximum(v.var(0), 1e-12), 0.0)
