"""Fetch a file with a known sum from its official place, going on with an earlier download."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from common.limits import UserError

Say = Callable[[str], None]


def download(dataset: str, url: str, md5: str, path: Path, say: Say) -> None:
    """Fetch a file to `path`, where it appears whole and verified or not at all.

    What has come lies beside it as .part, which the next call goes on with. UserError if it cannot
    be fetched, OSError if it cannot be written.
    """
    import requests

    part = path.with_name(f"{path.name}.part")
    try:
        while True:
            begun = part.stat().st_size if part.exists() else 0
            say(f"{dataset}: fetching {url}{f' from byte {begun} on' if begun else ''} ...")
            _receive(url, part, begun)
            with part.open("rb") as whole:
                found = hashlib.file_digest(whole, lambda: hashlib.md5(usedforsecurity=False))
            if found.hexdigest() == md5:
                part.replace(path)
                return
            part.unlink()
            if not begun:  # else the fault may lie in what was there, and all of it is fetched
                raise ValueError("what came does not have the file's MD5 sum")
    except (requests.RequestException, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        if isinstance(error, requests.ConnectionError | requests.Timeout):
            reason = "no connection"  # the library's own words are of its pools and retries
        raise UserError(
            f"{dataset} could not be fetched from {url} ({reason}); put the file yourself at "
            f"{path} (its MD5 sum is {md5}), or try again."
        ) from None


def _receive(url: str, part: Path, begun: int) -> None:
    """Bring the file `part`, of which `begun` bytes are there, to its end."""
    import requests

    # As it lies on the server: a range is one of those bytes, and so is the sum.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    # An offline machine must get past this in seconds: 4 s to connect, 15 s of silence.
    with requests.get(url, headers=headers, stream=True, timeout=(4, 15)) as answer:
        if begun and answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # all of it is there, or too much: the sum tells
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            begun = 0  # the server sends the whole file
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
            raise ValueError("the server sent another part of the file")
        length = answer.headers.get("Content-Length", "")
        with (
            part.open("ab" if begun else "wb") as file,
            tqdm(
                total=begun + int(length) if length.isdecimal() else None,
                initial=begun,
                unit="B",
                unit_scale=True,
                disable=not sys.stderr.isatty(),
            ) as bar,
        ):
            for block in answer.iter_content(2**18):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
