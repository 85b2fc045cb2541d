"""Fill README.md's generated blocks from the sources and the measured figures: `make readme`.

A block lies between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from common.checkpoint import write_atomically
from compare import bench
from compare.parity import TITLES

ROOT = Path(__file__).parent.parent
BACKENDS = {"PyTorch": "pytorch_impl", "TensorFlow": "tensorflow_impl", "Keras": "keras_impl"}


def step_block() -> str:
    """train_step of each backend in three columns, from the real files, without docstrings."""
    cells = []
    for title, package in BACKENDS.items():
        source = (ROOT / package / "step.py").read_text()
        code = function_source(source, "train_step")
        cells.append(f"<td valign=top>\n\n**{title}**\n\n```python\n{code}\n```\n\n</td>")
    return "<table><tr>\n" + "\n".join(cells) + "\n</tr></table>"


def function_source(source: str, name: str) -> str:
    """A function as it stands in its file, without its docstring."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            lines = source.splitlines()
            head = lines[node.lineno - 1 : node.body[0].lineno - 1]
            body = lines[(node.body[0].end_lineno or 0) : node.end_lineno]
            return textwrap.dedent("\n".join(head + body))
    raise ValueError(f"there is no function {name}")


def parity_block(record: dict[str, Any]) -> str:
    """The worst difference of each rung over all pairs."""
    lines = ["| rung | precision | worst pair | worst difference | bound |", "|" + "---|" * 5]
    groups: dict[tuple[int, str, str], dict[str, Any]] = {}
    for f in record["findings"]:
        kind = f["worst"].split(",")[0] if f["rung"] == 4 else ""
        key = (f["rung"], f["precision"], kind)
        if key not in groups or f["difference"] > groups[key]["difference"]:
            groups[key] = f
    for (rung, precision, kind), f in sorted(groups.items()):
        title = f"{TITLES[rung]}, {kind}" if kind else TITLES[rung]
        lines.append(
            f"| {rung}: {title} | {precision} | {' and '.join(f['pair'])} "
            f"| {f['difference']:.1e} | {f['bound']:.0e} |"
        )
    return "\n".join(lines) + f"\n\nMeasured on {record['processor']} with `{command(record)}`."


def bench_block(record: dict[str, Any]) -> str:
    """The benchmark's table."""
    return bench.table(record["rows"]) + (
        f"\n\nMeasured on {record['processor']}, batch {record['batch_size']}, with "
        f"`{command(record)}`."
    )


def command(record: dict[str, Any]) -> str:
    """The command that measured a record."""
    return " ".join(record["command"])


def fill(text: str, name: str, content: str) -> str:
    """Replace a block's content. ValueError if the text has no such block."""
    pattern = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"README.md has no block {name}")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def filled(text: str) -> str:
    """README.md with every generated block made anew."""
    figures = ROOT / "docs" / "figures"
    text = fill(text, "step", step_block())
    text = fill(text, "parity", parity_block(json.loads((figures / "parity.json").read_text())))
    return fill(text, "bench", bench_block(json.loads((figures / "bench.json").read_text())))


def main() -> None:
    path = ROOT / "README.md"
    write_atomically(path, filled(path.read_text()).encode())
    print("README.md is up to date.")


if __name__ == "__main__":
    main()
