"""Carries what went wrong from the EnvRunners, where it is seen, to the algorithm, which tells.

RLlib restarts an EnvRunner that raised and goes on, which is right for a machine that failed and
wrong for an env that will fail again: a run could sample nothing forever. The message is left in
the cluster's key-value store, where the driver looks after each iteration.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.experimental import internal_kv

from rllib_metarl.errors import UserError

_NAMESPACE = "rllib_metarl"


def report_fault(trial_id: str | None, message: str) -> None:
    """Called by a remote EnvRunner before it raises."""
    internal_kv._internal_kv_put(_key(trial_id), message, overwrite=True, namespace=_NAMESPACE)


@contextmanager
def carried(worker_index: int | None, trial_id: str | None) -> Iterator[None]:
    """Reports what a user can fix, where it happens in a remote EnvRunner."""
    try:
        yield
    except UserError as error:
        if worker_index:
            report_fault(trial_id, str(error))
        raise


def reported_fault(trial_id: str | None) -> str | None:
    """The message that one of a trial's EnvRunners left, once; None if there is none."""
    if not ray.is_initialized():
        return None
    message = internal_kv._internal_kv_get(_key(trial_id), namespace=_NAMESPACE)
    if message is None:
        return None
    internal_kv._internal_kv_del(_key(trial_id), namespace=_NAMESPACE)
    return message.decode()


def note_faults(trial_id: str | None, messages: list[str]) -> None:
    """Called by an EnvRunner that goes on in spite of them."""
    if not ray.is_initialized():
        return
    for message in messages:
        key = f"{_key(trial_id, 'note')}:{time.time_ns():020}:{uuid.uuid4().hex}"
        internal_kv._internal_kv_put(key, message, namespace=_NAMESPACE)


def noted_faults(trial_id: str | None) -> list[str]:
    """What a trial's EnvRunners have noted since the last call, in the order of time."""
    if not ray.is_initialized():
        return []
    found = sorted(
        internal_kv._internal_kv_list(f"{_key(trial_id, 'note')}:", namespace=_NAMESPACE)
    )
    messages = [internal_kv._internal_kv_get(key, namespace=_NAMESPACE) for key in found]
    for key in found:
        internal_kv._internal_kv_del(key, namespace=_NAMESPACE)
    return [message.decode() for message in messages if message is not None]


def _key(trial_id: str | None, kind: str = "fault") -> str:
    return f"{kind}:{ray.get_runtime_context().get_job_id()}:{trial_id or ''}"
