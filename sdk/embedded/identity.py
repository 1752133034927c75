"""As whom a server runs, and that it ends with its keeper.

Postgres refuses to run as root. As root, the server becomes ``nobody`` and keeps one capability, CAP_DAC_OVERRIDE, so
that it reaches its files below private directories of root: no user is made, and no mode is changed outside the home.
Where that is forbidden, a user namespace shows root as ``nobody``. Sources: capabilities(7), user_namespaces(7),
prctl(2). All of it is Linux; elsewhere the server runs as the caller, and the next keeper ends what is left over.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import EmbeddedError

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_NEWUSER = 0x10000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """kind: how the process changes before exec; uid, gid: who must own the files of the server."""

    kind: Literal["self", "nobody", "namespace"]
    uid: int
    gid: int


def own_identity() -> Identity:
    return Identity("self", os.geteuid(), os.getegid())


def unprivileged_identity() -> Identity:
    """Find an identity that is not root. Raises EmbeddedError when root can neither change uid nor make a namespace."""
    if os.geteuid() != 0:
        return own_identity()
    for candidate in (_nobody("nobody"), _nobody("namespace")):
        if _is_possible(candidate):
            owner = (0, 0) if candidate.kind == "namespace" else (candidate.uid, candidate.gid)
            return Identity(candidate.kind, *owner)
    raise EmbeddedError(
        "root_not_supported",
        "Postgres does not run as root, and this container forbids both a change of user and user namespaces",
        "run as another user, or set COURANTE_DATABASE_URL to a server of your own",
    )


def before_exec(identity: Identity, death_signal: signal.Signals) -> Callable[[], None]:
    """What the child does between fork and exec. The keeper has one thread, so that running Python there is safe."""
    keeper = os.getpid()

    def change() -> None:
        _become(identity)
        os.umask(0o077)
        if sys.platform == "linux":
            _check(_LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0))  # after setuid, which clears it
            if os.getppid() != keeper:  # the keeper died before the request was in place
                os._exit(1)

    return change


def _nobody(kind: Literal["nobody", "namespace"]) -> Identity:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Identity(kind, 65534, 65534)
    return Identity(kind, entry.pw_uid, entry.pw_gid)


def _become(identity: Identity) -> None:
    if identity.kind == "nobody":
        os.setgroups([])
        os.setgid(identity.gid)
        _check(_LIBC.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
        os.setuid(identity.uid)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        bit = 1 << _CAP_DAC_OVERRIDE
        sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        _check(_LIBC.capset(header, sets))
        _check(_LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))
    elif identity.kind == "namespace":
        inside = _nobody("namespace")
        _check(_LIBC.unshare(_CLONE_NEWUSER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{inside.uid} 0 1")
        Path("/proc/self/gid_map").write_text(f"{inside.gid} 0 1")


def _is_possible(identity: Identity) -> bool:
    """Try it in a child that does nothing else."""
    child = os.fork()
    if child == 0:
        try:
            _become(identity)
            os._exit(0 if os.geteuid() != 0 else 1)
        except BaseException:  # noqa: BLE001 - a forked child must never return into the caller's stack
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
