"""The one exception that means: a person can mend this."""

from __future__ import annotations


class UserError(Exception):
    """Something the user got wrong, told in one message: what, where and the mend.

    The command line prints it as ``error: ...`` without a traceback and exits with code 2.
    """
