"""Fill the generated blocks of the READMEs and of pages in docs/: `make readme`.

A block lies between `<!-- begin NAME -->` and `<!-- end NAME -->`. Code comes from the real files:
`<!-- begin excerpt FILE NAME ... -->` to `<!-- end excerpt -->` shows functions, classes, methods
(`Class.method`) or constants of a file; `*_impl/FILE` shows the three backends in three columns.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable
from typing import Any

from common.checkpoint import write_atomically
from compare.engines import ROOT
from compare.pages import paper, results, torture
from compare.pages.chinese import in_chinese
from compare.parity.rungs import TITLES, worst_of_rungs
from compare.quality import bands, seconds
from compare.speed import bench, scaling

BACKENDS = {"PyTorch": "pytorch_impl", "TensorFlow": "tensorflow_impl", "Keras": "keras_impl"}
PAGES = (
    "README.md",
    "README.zh-CN.md",
    *(
        f"docs/{name}.md"
        for name in (
            "side-by-side", "side-by-side.zh-CN", "parity", "porting-traps", "porting-traps.zh-CN",
            "pictures", "speed", "scale", "quality", "paper", "torture",
        )
    ),
)  # fmt: skip
BLOCK = re.compile(
    r"(?P<begin><!-- begin (?P<name>(?P<kind>[\w-]+)[^\n]*?) -->\n)"
    r".*?(?P<end><!-- end (?P=kind) -->)",
    re.DOTALL,
)


# ------------------------------------------------------------------ code


def excerpt(file: str, names: list[str]) -> str:
    """Code of a file as Markdown; of all backends in three columns where `*` stands for them."""
    if not file.startswith("*_impl/"):
        return fenced(file, names)
    cells = []
    for title, package in BACKENDS.items():
        code = fenced(file.replace("*_impl", package), names)
        cells.append(f"<td valign=top>\n\n**{title}**\n\n{code}\n\n</td>")
    return "<table><tr>\n" + "\n".join(cells) + "\n</tr></table>"


def fenced(file: str, names: list[str]) -> str:
    """The named parts of a file, one below the other, as a fenced block."""
    source = (ROOT / file).read_text()
    code = "\n\n".join(definition(source, name) for name in names)
    return f"```python\n{code}\n```"


def definition(source: str, name: str) -> str:
    """A function, class, `Class.method` or constant as its file has it, without its docstring.

    Decorators are part of it; so is the comment right above a constant. ValueError if there is
    none of that name.
    """
    lines, node = source.splitlines(), ast.parse(source)
    found: Any = node
    for part in name.split("."):
        found = next((n for n in found.body if part in _names(n)), None)
        if found is None:
            raise ValueError(f"there is no {name}")
    first = min(d.lineno for d in [found, *getattr(found, "decorator_list", [])])
    while isinstance(found, (ast.Assign, ast.AnnAssign)) and lines[first - 2].startswith("#"):
        first -= 1
    shown = list(range(first, found.end_lineno + 1))
    if isinstance(found, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(found):
        docstring = found.body[0]
        end = docstring.end_lineno or 0
        end += not lines[end]  # the blank line after it
        shown = [n for n in shown if not docstring.lineno <= n <= end]
    return textwrap.dedent("\n".join(lines[n - 1] for n in shown))


def _names(node: ast.stmt) -> set[str]:
    """What a statement defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


# ------------------------------------------------------------------ measured figures


def parity_block(record: dict[str, Any]) -> str:
    """The worst difference of each rung over all pairs."""
    lines = ["| rung | precision | worst pair | worst difference | bound |", "|" + "---|" * 5]
    for kind, f in worst_of_rungs(record["findings"]):
        title = f"{TITLES[f['rung']]}, {kind}" if kind else TITLES[f["rung"]]
        lines.append(
            f"| {f['rung']}: {title} | {f['precision']} | {' and '.join(f['pair'])} "
            f"| {f['difference']:.1e} | {f['bound']:.0e} |"
        )
    return "\n".join(lines) + f"\n\nMeasured on {record['processor']} with `{command(record)}`."


def bench_block(record: dict[str, Any]) -> str:
    """The benchmark's table."""
    return f"{bench.table(record['rows'])}\n\n{bench.summary(record)} Command: `{command(record)}`."


def scaling_block(record: dict[str, Any]) -> str:
    """What several workers cost."""
    where = f"Measured on {record['processor']}, batch {record['batch_size']}, float32"
    return f"{scaling.table(record)}\n\n{where}, one thread a worker, with `{command(record)}`."


def quality_block(record: dict[str, Any]) -> str:
    """The scores of every recipe and engine below the real digits' own."""
    commands = ", ".join(f"`{line}`" for line in bands.commands(record["rows"]))
    return f"{bands.table(record)}\n\n{bands.summary(record)} Commands: {commands}."


def seconds_block(record: dict[str, Any]) -> str:
    """After how many seconds of training the digits are how good."""
    return f"{seconds.table(record)}\n\n{seconds.summary(record)} Command: `{command(record)}`."


def torture_block(record: dict[str, Any], table: Callable[[dict[str, Any]], str]) -> str:
    """What was broken on purpose, how often, and how much of it was lost."""
    where = sorted({part["processor"] for part in record["parts"].values()})
    return f"{table(record)}\n\nMeasured on {', '.join(where)} with `{command(record)}`."


def traps_block(record: dict[str, Any]) -> str:
    """The catalogue of porting traps: what goes wrong, by how much, and what to write instead."""
    lines = ["| trap | error, and ours | PyTorch | TensorFlow | Keras |", "|" + "---|" * 5]
    for row in record["rows"]:
        naive, ours = row["naive"], f"{row['ours']:.0e}" if row["ours"] else "0"
        if not isinstance(naive, str):  # a string is the name of what is raised
            naive = f"{naive:.1e} ({row['error_of']})"
        cells = [f"**{row['name']}**: {row['wrong']}", f"{naive}; {ours}"]
        cells += [row["pytorch"], row["tensorflow"], row["keras"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\nMeasured on {record['processor']} with `{command(record)}`."


def command(record: dict[str, Any]) -> str:
    """The command that measured a record."""
    return " ".join(record["command"])


def figures(name: str) -> Any:
    """A measured record, docs/figures/NAME.json."""
    return json.loads((ROOT / "docs" / "figures" / f"{name}.json").read_text())


# ------------------------------------------------------------------ blocks and pages

# A block without a file's name in it -> its content.
BLOCKS = {
    "step": lambda: excerpt("*_impl/step.py", ["train_step"]),
    "parity": lambda: parity_block(figures("parity")),
    "parity-dcgan": lambda: parity_block(figures("parity-dcgan")),
    "bench": lambda: bench_block(figures("bench")),
    "bench-dcgan": lambda: bench_block(figures("bench-dcgan")),
    "scaling": lambda: scaling_block(figures("scaling")),
    "quality": lambda: quality_block(figures("quality")),
    "quality-time": lambda: seconds_block(figures("quality-time")),
    "traps": lambda: traps_block(figures("traps")),
    "torture": lambda: torture_block(figures("torture"), torture.short_table),
    "torture-rows": lambda: torture_block(figures("torture"), torture.table),
}


def content(name: str, chinese: bool = False) -> str:
    """What belongs into a block. ValueError if nothing of that name can be made."""
    kind, *arguments = name.split()
    if kind == "excerpt" and len(arguments) > 1:
        return excerpt(arguments[0], arguments[1:])
    if name == "results":
        return results.block(results.CHINESE if chinese else results.ENGLISH, figures)
    if kind == "paper" and arguments and arguments[0] in paper.BLOCKS:
        return paper.BLOCKS[arguments[0]](paper.records())
    if name not in BLOCKS:
        raise ValueError(f"there is no block {name!r}; there are {', '.join(BLOCKS)} and excerpts")
    return BLOCKS[name]()


def filled(text: str, chinese: bool = False) -> str:
    """A page with every generated block made anew."""

    def block(match: re.Match[str]) -> str:
        made = content(match["name"], chinese)
        if chinese and match["kind"] not in ("step", "excerpt", "results"):
            made = in_chinese(made)
        return f"{match['begin']}{made}\n{match['end']}"

    return BLOCK.sub(block, text)


def main() -> None:
    for page in PAGES:
        path = ROOT / page
        text = filled(path.read_text(), chinese=page.endswith(".zh-CN.md"))
        write_atomically(path, text.encode())
        print(f"{page} is up to date.")
