"""Pickles as numpy under Python 2 wrote them, in which some data sets still come."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any, ClassVar


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Pickles arrays as numpy under Python 2 did: str for bytes, names of numpy.core."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(value)) + value)

    dispatch[bytes] = save_bytes

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj.__name__ == "_reconstruct":
            self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
        else:
            super().save_global(obj, name)


def python2_pickle(value: Any) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()
