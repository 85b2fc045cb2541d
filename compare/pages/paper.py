"""The tables of docs/paper.md: what `make paper` found on several runs, a column or a row each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from compare.engines import ROOT
from compare.paper import build, representations

ENGINES = {"pytorch": "PyTorch", "tensorflow": "TensorFlow", "keras": "Keras"}
FIGURES = "paper-*.json"  # in docs/figures: the runs' own paper.json

Records = list[dict[str, Any]]


def records() -> Records:
    """What was found, mnist28's runs first, then by recipe and engine."""
    found = [json.loads(path.read_text()) for path in (ROOT / "docs" / "figures").glob(FIGURES)]
    engines = list(ENGINES)

    def order(record: dict[str, Any]) -> tuple[Any, ...]:
        run = record["run"]
        return -len(run["architecture"]), run["recipe"], engines.index(run["trained_by"])

    return sorted(found, key=order)


def first_of_kind(found: Records) -> Records:
    """PyTorch's runs: one of each architecture and recipe, tried with all labels."""
    return [record for record in found if record["run"]["trained_by"] == "pytorch"]


def title(record: dict[str, Any]) -> str:
    """Of a run: `mnist, published, PyTorch`."""
    run = record["run"]
    return f"{run['dataset']}, {run['recipe']}, {ENGINES[run['trained_by']]}"


def words() -> dict[str, str]:
    """The page's English."""
    found: dict[str, str] = json.loads((build.PAGE / "strings.json").read_text())["en"]
    return found


def claims_block(found: Records) -> str:
    """Every claim and every run."""
    english = words()
    rows = [
        [english[f"claim_{claim}"], english[f"where_{claim}"],
         *(english[f"verdict_{record['claims'][claim]}"] for record in found)]
        for claim in found[0]["claims"]
    ]  # fmt: skip
    return table(["claim", "section", *map(title, found)], rows)


def features_block(found: Records) -> str:
    """Section 5: test images classified rightly."""
    chosen = first_of_kind(found)
    heads = ["features"]
    for record in chosen:
        counts = record["representations"]
        heads += [f"{title(record)}: {counts[n]:,} labels" for n in ("few", "count")]
    rows = []
    for name, said in representations.TITLES.items():
        cells = [said]
        for record in chosen:
            row = next(r for r in record["representations"]["rows"] if r["name"] == name)
            cells += [f"{percent(row['few_mean'])} ± {100 * row['few_spread']:.1f}"]
            cells += [f"{100 * row['all']:.2f}%"]
        rows.append(cells)
    return table(heads, rows)


def smooth_block(found: Records) -> str:
    """Sections 4.1, 6.1 and 6.2."""
    rows = []
    for record in found:
        near, walk, seen = (record[name] for name in ("neighbours", "walk", "seen"))
        steps = [f"{walk[n]['ratio']:.2f} ± {walk[n]['spread']:.2f}" for n in walk if n in WALKS]
        rows.append([
            title(record), f"{near['samples']:.2f} / {near['held_out']:.2f}",
            percent(near["closer"]), *steps,
            *(percent(seen[name]["mean"]) for name in ("trained", "untrained")),
            percent(seen["chance"]),
        ])  # fmt: skip
    heads = [
        "run", "distance to training images, samples / real", "nearer than 99% of real",
        "largest / mean step", "... through training images", "one class in a map's top 100",
        "... untrained", "... of any 100",
    ]  # fmt: skip
    return table(heads, rows)


WALKS = ("generator", "memorised")


def forgetting_block(found: Records) -> str:
    """Section 6.3.1: what is left of an attribute, and by chance."""
    chosen, english = first_of_kind(found), words()
    counts = sorted({row["dropped"] for row in chosen[0]["forgetting"]["rows"]})
    rows = []
    for record in chosen:
        for name in dict.fromkeys(row["attribute"] for row in record["forgetting"]["rows"]):
            of = [row for row in record["forgetting"]["rows"] if row["attribute"] == name]
            left = {
                row["dropped"]: f"{percent(row['without']['attribute'], 0)} / "
                f"{percent(row['chance']['attribute'], 0)}"
                for row in of
            }
            cells = [title(record), english[f"a_{name}"], percent(of[0]["score"], 0)]
            rows.append([*cells, *(left[count] for count in counts)])
    heads = ["run", "attribute", "maps tell of it", *(f"{n} maps dropped" for n in counts)]
    return table(heads, rows)


def arithmetic_block(found: Records) -> str:
    """Section 6.3.2: sums that come out as meant."""
    english, rows = words(), []
    sizes = list(dict.fromkeys(row["exemplars"] for row in found[0]["arithmetic"]["rows"]))
    for name in dict.fromkeys(row["attribute"] for row in found[0]["arithmetic"]["rows"]):
        for record in found:
            cells = [english[f"a_{name}"], title(record)]
            for row in record["arithmetic"]["rows"]:
                if row["attribute"] == name:
                    both, has, same = (
                        percent(row["sum"][n], 0) for n in ("both", "attribute", "class")
                    )
                    cells.append(f"{both} ({has}, {same})")
            rows.append(cells)
    heads = [f"of {n}: both (attribute, digit)" for n in sizes]
    return table(["attribute", "run", *heads], rows)


def engines_block(found: Records) -> str:
    """The largest differences between engines on one checkpoint, over all runs."""
    worst: dict[str, dict[str, float]] = {}
    for record in found:
        for row in record["engines"]["rows"]:
            if row["reference"] == "pytorch":
                each = worst.setdefault(row["engine"], dict.fromkeys(row["differences"], 0.0))
                for name, value in row["differences"].items():
                    each[name] = max(each[name], value)
    english = words()
    names = list(next(iter(worst.values())))
    rows = [[engine, *(f"{each[n]:.0e}" for n in names)] for engine, each in worst.items()]
    return table(["engine", *(english[f"e_{n}"] for n in names)], rows)


def source_block(found: Records) -> str:
    """Which commands, where, how long."""
    lines = [
        f"- {title(record)}: `{' '.join(record['command'])}`, step {record['run']['step']:,}"
        for record in found
    ]
    where = ", ".join(sorted({record["processor"] for record in found}))
    return f"Measured on {where}:\n\n" + "\n".join(lines)


BLOCKS: dict[str, Callable[[Records], str]] = {
    "claims": claims_block,
    "features": features_block,
    "smooth": smooth_block,
    "forgetting": forgetting_block,
    "arithmetic": arithmetic_block,
    "engines": engines_block,
    "source": source_block,
}


def percent(x: float, digits: int = 1) -> str:
    return f"{100 * x:.{digits}f}%"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
