"""Carries a user's mistake from a remote EnvRunner to the driver.

RLlib restarts an EnvRunner that raised and goes on, which is right for a machine that failed and
wrong for an env that will fail again: a run could sample nothing for ever. The message is left in
the cluster's key-value store, where the driver looks after each iteration.
"""

from __future__ import annotations

import ray
from ray.experimental import internal_kv

_NAMESPACE = "rllib_metarl"


def report_fault(trial_id: str | None, message: str) -> None:
    """Called by a remote EnvRunner before it raises."""
    internal_kv._internal_kv_put(_key(trial_id), message, overwrite=True, namespace=_NAMESPACE)


def reported_fault(trial_id: str | None) -> str | None:
    """The message that one of a trial's EnvRunners left, once; None if there is none."""
    if not ray.is_initialized():
        return None
    message = internal_kv._internal_kv_get(_key(trial_id), namespace=_NAMESPACE)
    if message is None:
        return None
    internal_kv._internal_kv_del(_key(trial_id), namespace=_NAMESPACE)
    return message.decode()


def _key(trial_id: str | None) -> str:
    return f"fault:{ray.get_runtime_context().get_job_id()}:{trial_id or ''}"
