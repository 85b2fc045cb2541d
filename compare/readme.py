"""Fill the generated blocks of the READMEs and of docs/side-by-side.md: `make readme`.

A block lies between `<!-- begin NAME -->` and `<!-- end NAME -->`. Code comes from the real files:
`<!-- begin excerpt FILE NAME ... -->` to `<!-- end excerpt -->` shows functions, classes, methods
(`Class.method`) or constants of a file; `*_impl/FILE` shows the three backends in three columns.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from common.checkpoint import write_atomically
from compare import bands, bench
from compare.parity import TITLES, worst_of_rungs
from compare.torture import row as torture

ROOT = Path(__file__).parent.parent
BACKENDS = {"PyTorch": "pytorch_impl", "TensorFlow": "tensorflow_impl", "Keras": "keras_impl"}
PAGES = ("README.md", "README.zh-CN.md", "docs/side-by-side.md")
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


def quality_block(record: dict[str, Any]) -> str:
    """The scores of every recipe and engine below the real digits' own."""
    return f"{bands.table(record)}\n\n{bands.summary(record)} Command: `{command(record)}`."


def torture_block(record: dict[str, Any]) -> str:
    """What was broken on purpose, how often, and how much of it was lost."""
    where = sorted({part["processor"] for part in record["parts"].values()})
    return f"{torture.table(record)}\n\nMeasured on {', '.join(where)} with `{command(record)}`."


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
    "bench": lambda: bench_block(figures("bench")),
    "quality": lambda: quality_block(figures("quality")),
    "traps": lambda: traps_block(figures("traps")),
    "torture": lambda: torture_block(figures("torture")),
}

# Cells of the tables above, and the words around their commands, as README.zh-CN.md has them.
CHINESE = {
    "rung": "级",
    "precision": "精度",
    "worst pair": "差异最大的一对",
    "worst difference": "最大差异",
    "bound": "上限",
    "0: initial weights, names, shapes": "0：初始权重、名称、形状",
    "1: outputs": "1：输出",
    "2: gradients": "2：梯度",
    "3: one iteration": "3：一次迭代",
    "4: losses of a run, free run": "4：一次训练的损失，自由运行",
    "4: losses of a run, windows": "4：一次训练的损失，分窗口",
    "5: A continued in B": "5：A 训练，B 续训",
    "ms per iteration (quartiles)": "每次迭代毫秒数（四分位数）",
    "images/s": "图像/秒",
    "times the framework's own loop": "是框架自身循环的几倍",
    "of the limit": "极限的几倍",
    "start to first step": "启动到第一步",
    "of it compiling": "其中编译",
    "peak memory": "内存峰值",
    "runs": "运行数",
    "failed": "失败",
    "Fréchet distance": "Fréchet 距离",
    "kernel distance": "核距离",
    "precision (3-NN)": "精确率（3-NN）",
    "recall (3-NN)": "召回率（3-NN）",
    "KL of classes": "类别 KL",
    "rarest class": "最少的类别",
    "confident digits": "清晰的数字",
    "distance to training images": "到训练图像的距离",
    "distance to other samples": "到其他样本的距离",
    "D loss": "D 损失",
    "G loss": "G 损失",
    "real digits, held out": "未见过的真实数字",
    "tried on purpose": "故意尝试",
    "times": "次数",
    "survived": "幸存",
    "lost": "丢失",
    "trap": "陷阱",
    "error, and ours": "误差；我们的误差",
}
# The sentences below the tables, as patterns and what takes their place.
SENTENCES = {
    r"^(\d+) samples of each run against (\d+) test digits; mean ± standard deviation over seeds "
    r"\(of one run: over parts of its samples\); losses are means of the last (\d+) iterations; "
    r"extractor (\w+), (.*) accurate\. Command: (`.*`)\.$": (
        r"每次运行 \1 个样本，对照 \2 个测试数字；各种子的均值 ± 标准差"
        r"（单次运行：其样本各部分的标准差）；损失是最后 \3 次迭代的均值；"
        r"特征提取器 \4，准确率 \5。命令：\6。"
    ),
    r"^- (\w+), (\S+(?: \(\w+\))?) to (\S+(?: \(\w+\))?): "
    r"ratio of the geometric mean Fréchet distances ([\d.]+), "
    r"(not shown to be )?equivalent within a factor of ([\d.]+) \(p = (.*)\)$": (
        r"- \1，\2 对 \3：Fréchet 距离几何均值之比 \4，以 \6 倍为界的等价检验 p = \7"
    ),
    r"^Measured on (.*) with (`.*`)\.$": r"在 \1 上测得，命令：\2。",
    r"(?<=\d) cores(?=, batch)": " 核",
    r"）, (?=\d+ GFLOP/s)": "），",
    r"^Measured on (.*), batch ([\d, ]+)\. ": r"在 \1 上测得，批次大小 \2。",
    r"The best large product here reaches (.*); a copy (\d+ GB/s)\. Command: (`.*`)\.$": (
        r"在这台机器上，大矩阵乘法最快为 \1，内存拷贝为 \2。命令：\3。"
    ),
}


def content(name: str) -> str:
    """What belongs into a block. ValueError if nothing of that name can be made."""
    kind, *arguments = name.split()
    if kind == "excerpt" and len(arguments) > 1:
        return excerpt(arguments[0], arguments[1:])
    if name not in BLOCKS:
        raise ValueError(f"there is no block {name!r}; there are {', '.join(BLOCKS)} and excerpts")
    return BLOCKS[name]()


def in_chinese(text: str) -> str:
    """A table with the cells that CHINESE knows, and the sentences below it, in Chinese."""
    text = re.sub(r"(?<=\| )[^|\n]+(?= \|)", lambda m: CHINESE.get(m[0], m[0]), text)
    text = re.sub(r"(\d GFLOP/s) in (\w+) \((\w+)\)", r"\1（\2，\3）", text)
    for english, chinese in SENTENCES.items():
        text = re.sub(english, chinese, text, flags=re.MULTILINE)
    return text


def filled(text: str, chinese: bool = False) -> str:
    """A page with every generated block made anew."""

    def block(match: re.Match[str]) -> str:
        made = content(match["name"])
        if chinese and match["kind"] not in ("step", "excerpt"):
            made = in_chinese(made)
        return f"{match['begin']}{made}\n{match['end']}"

    return BLOCK.sub(block, text)


def main() -> None:
    for page in PAGES:
        path = ROOT / page
        text = filled(path.read_text(), chinese=page.endswith(".zh-CN.md"))
        write_atomically(path, text.encode())
        print(f"{page} is up to date.")


if __name__ == "__main__":
    main()
