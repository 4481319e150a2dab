"""Rights that root does not need: how to do without them, so that rules for others hold for it, too."""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile

__all__ = ["cannot_be_refused", "obey_rights"]

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def obey_rights() -> None:
    """From now on, let this process have no more rights to files than their owner is given; root goes by them, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("Ii", _VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capget")
    sets = list(struct.unpack("6I", data.raw))  # effective, permitted, inheritable; then for higher numbers
    sets[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    if libc.capset(header, struct.pack("6I", *sets)):
        raise OSError(ctypes.get_errno(), "capset")


def cannot_be_refused() -> bool:
    """Whether a process here reads even what nobody may read, after :func:`obey_rights`."""
    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0)
        child = os.fork()
        if not child:
            try:
                obey_rights()
                open(file.name, "rb").close()
            except PermissionError:
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(child, 0)[1] != 0
