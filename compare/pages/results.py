"""The README's table of results: four questions, and what was measured, a line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from compare.pages import torture
from compare.parity.rungs import worst_of_rungs
from compare.quality import seconds


class Words(NamedTuple):
    """The table in one language. The figures are named in braces."""

    heading: tuple[str, str]
    rows: tuple[tuple[str, str, str], ...]  # question, answer, page


ENGLISH = Words(
    ("question", "measured"),
    (
        (
            "the same?",
            "five engines in float64, the worst relative difference of an array: outputs "
            "{rung1:.0e}, gradients {rung2:.0e}, one iteration {rung3:.0e}, trained in one and "
            "continued in another {rung5:.0e}, by several workers and by one {rung6:.0e}",
            "parity.md",
        ),
        (
            "how fast?",
            "ms per iteration on 2 cores (and in bfloat16): PyTorch {pytorch_float32:.0f} "
            "({pytorch_bfloat16:.0f}), TensorFlow {tensorflow_float32:.0f} "
            "({tensorflow_bfloat16:.0f}), Keras {keras_float32:.0f} ({keras_bfloat16:.0f}): "
            "{pytorch_times:.1f}, {tensorflow_times:.1f} and {keras_times:.1f} times the speed of "
            "their tutorials' loops",
            "speed.md",
        ),
        (
            "how good?",
            "Fréchet distance to real digits: {published:.1f} by recipe `published`, {tuned:.2f} "
            "by `tuned`, {real:.2f} for other real digits",
            "quality.md",
        ),
        (
            "how soon?",
            "seconds of training on 2 cores in {soon_precision}, to a Fréchet distance of 10, the "
            "published recipe's: {soon10:.0f} by recipe `{by10}` ({engine10}); of 2: {soon2:.0f} "
            "by `{by2}` ({engine2}); of 1: {soon1:.0f} by `{by1}` ({engine1})",
            "quality.md#seconds-to-quality",
        ),
        (
            "what did it learn?",
            "{learned:.1f}% of test digits are told by D's features and 1,000 labels "
            "({pixels:.1f}% by pixels); of the paper's {claims} claims {holds} hold",
            "paper.md",
        ),
        (
            "what if it breaks?",
            "{tried:,} faults, kills, full disks, broken files and wrong flags, and {fuzzed:,} "
            "fuzzed inputs: {lost} times something was lost",
            "torture.md",
        ),
    ),
)

CHINESE = Words(
    ("问题", "实测"),
    (
        (
            "真的一样吗？",
            "五个引擎，float64，单个数组的最大相对差异：输出 {rung1:.0e}，梯度 {rung2:.0e}，"
            "一次迭代 {rung3:.0e}，在一个引擎里训练、在另一个里续训 {rung5:.0e}，"
            "多个进程与单个进程 {rung6:.0e}",
            "parity.md",
        ),
        (
            "有多快？",
            "2 核上每次迭代的毫秒数（括号内为 bfloat16）：PyTorch {pytorch_float32:.0f}"
            "（{pytorch_bfloat16:.0f}），TensorFlow {tensorflow_float32:.0f}"
            "（{tensorflow_bfloat16:.0f}），Keras {keras_float32:.0f}（{keras_bfloat16:.0f}）；"
            "速度分别是各自教程循环的 {pytorch_times:.1f}、{tensorflow_times:.1f} 和 "
            "{keras_times:.1f} 倍",
            "speed.md",
        ),
        (
            "画得多好？",
            "到真实数字的 Fréchet 距离：配方 `published` 为 {published:.1f}，`tuned` 为 "
            "{tuned:.2f}，另一批真实数字为 {real:.2f}",
            "quality.md",
        ),
        (
            "多快能画好？",
            "2 核、{soon_precision} 下的训练秒数：Fréchet 距离降到 10（`published` 最终的水平）"
            "用配方 `{by10}`（{engine10}）需 {soon10:.0f}，降到 2 用 `{by2}`（{engine2}）需 "
            "{soon2:.0f}，降到 1 用 `{by1}`（{engine1}）需 {soon1:.0f}",
            "quality.md#seconds-to-quality",
        ),
        (
            "学到了什么？",
            "用 D 的特征和 1,000 个标签，测试数字的分类正确率为 {learned:.1f}%"
            "（用像素为 {pixels:.1f}%）；论文的 {claims} 条论断中 {holds} 条成立",
            "paper.md",
        ),
        (
            "坏了怎么办？",
            "{tried:,} 次故障、强制终止、磁盘写满、损坏的文件和错误的参数，"
            "另有 {fuzzed:,} 个模糊测试输入：丢失数据 {lost} 次",
            "torture.md",
        ),
    ),
)


def measured(figures: Callable[[str], Any]) -> dict[str, Any]:
    """The figures by the names that the tables use. figures: a record's name -> its JSON."""
    found: dict[str, Any] = {"real": figures("quality")["floor"]["frechet_distance"]}
    for _, finding in worst_of_rungs(figures("parity")["findings"]):
        if finding["precision"] == "float64":
            found[f"rung{finding['rung']}"] = finding["difference"]
    for row in figures("bench")["rows"]:
        if row["times_baseline"] is not None:  # an engine's, not a baseline's
            found[f"{row['name']}_{row['precision']}"] = row["ms"]
            if row["precision"] == "float32":
                found[f"{row['name']}_times"] = row["times_baseline"]
    for row in figures("quality")["rows"]:
        if (row["engine"], row["precision"]) == ("pytorch", "float32"):
            found[row["recipe"]] = row["mean"]["frechet_distance"]
    rows = figures("quality-time")["rows"]
    for goal in (10, 2, 1):
        if (best := seconds.fastest(rows, goal)) is not None:
            found |= {f"soon{goal}": seconds.mean_to(goal, best), f"by{goal}": seconds.name(best)}
            found |= {f"engine{goal}": best["engine"], "soon_precision": best["precision"]}
    paper = figures("paper-published")
    for row in paper["representations"]["rows"]:
        if row["name"] in ("trained", "pixels"):
            found["learned" if row["name"] == "trained" else "pixels"] = 100 * row["few_mean"]
    found["claims"] = len(paper["claims"])
    found["holds"] = list(paper["claims"].values()).count("holds")
    faults = torture.rows(figures("torture"))
    fuzzed = sum(row.tried for row in faults if row.fuzzed)
    tried, lost = sum(row.tried for row in faults), sum(row.lost for row in faults)
    return found | {"tried": tried - fuzzed, "fuzzed": fuzzed, "lost": lost}


def block(words: Words, figures: Callable[[str], Any]) -> str:
    """The table as Markdown."""
    found = measured(figures)
    lines = [f"| {words.heading[0]} | {words.heading[1]} | |", "|---|---|---|"]
    for question, answer, page in words.rows:
        link = f"[{Path(page).stem}](docs/{page})"
        lines.append(f"| {question} | {answer.format(**found)} | {link} |")
    return "\n".join(lines)
