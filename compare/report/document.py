"""A page that opens from disk: a template with its style, script, words and data in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page") / "style.css"  # of every page


def made(folder: Path, scripts: Sequence[str], data: dict[str, Any]) -> str:
    """A folder's page with its data in it: one style, one script, both allowed by their hash alone.

    folder: of template.html, strings.json and the scripts, which may lie elsewhere.
    """
    extra = folder / "extra.css"
    style = STYLE.read_text() + (extra.read_text() if extra.exists() else "")
    parts = "\n".join((folder / name).read_text() for name in scripts)
    script = f"'use strict';\n(() => {{\n{parts}\n}})();\n"
    template = (folder / "template.html").read_text()
    strings = json.loads((folder / "strings.json").read_text())
    filled = {
        # 'self' and file: are for weights alone, served or from disk; no other address is allowed.
        "policy": f"default-src 'none'; script-src {_hash(script)} 'self' file:; "
        f"style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "strings": embedded(strings),
        "data": embedded(data),
    }
    for name, content in filled.items():
        before, after = template.split(f"{{{{{name}}}}}")
        template = before + content + after
    return template


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def embedded(value: Any) -> str:
    """A value as JSON that may stand in a <script> element: no markup in it can end that.

    NaN and infinity, which JSON does not have, become null.
    """
    finite = json.loads(json.dumps(value), parse_constant=lambda name: None)
    text = json.dumps(finite, ensure_ascii=False, allow_nan=False)
    text = text.encode(errors="replace").decode()  # half a character, which UTF-8 does not have
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
