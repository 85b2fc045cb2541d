"""The pages a reader meets: excerpts are the source, both languages say the same, links work.

Commands are checked as far as that needs no framework: module, target and flags exist.
"""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from common import commandline, config, conversion, sampling
from common.plan import TrainArguments
from compare.pages import chinese, readme

ROOT = Path(__file__).parent.parent.parent
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
TOUR, CHINESE_TOUR = "docs/side-by-side.md", "docs/side-by-side.zh-CN.md"
TRAPS, CHINESE_TRAPS = "docs/porting-traps.md", "docs/porting-traps.zh-CN.md"
PAIRS = ((ENGLISH, CHINESE), (TOUR, CHINESE_TOUR), (TRAPS, CHINESE_TRAPS))
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)]+)\)")
INLINE = re.compile(r"`([^`]+)`")  # code in the text, which may go on in the next line
# As digits; Chinese has no words between it and its neighbours, so \b would not find its ends.
FIGURE = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)*(?:e[-+]?\d+)?", re.ASCII)


def read(page: str) -> str:
    return (ROOT / page).read_text()


def without_code(text: str) -> str:
    return FENCE.sub("", text)


def inline_code(prose: str) -> list[str]:
    return [" ".join(code.split()) for code in INLINE.findall(prose)]


def sections(text: str) -> list[tuple[str, str, str]]:
    """(level as #, title, text up to the next heading), code blocks included in the text."""
    marked = FENCE.sub(lambda m: re.sub("^#", "\0", m[0], flags=re.MULTILINE), text)
    found = list(HEADING.finditer(marked))
    ends = [m.start() for m in found[1:]] + [len(marked)]
    return [
        (m[1], m[2], marked[m.end() : end].replace("\0", "#"))
        for m, end in zip(found, ends, strict=True)
    ]


def facts(body: str) -> dict[str, Counter[str]]:
    """What must not depend on the language: commands, code in the text, pictures, figures.

    Of a generated block only its name: test_code_and_figures_are_those_of_the_files has the rest.
    """
    blocks = [block["name"] for block in readme.BLOCK.finditer(body)]
    body = readme.BLOCK.sub("", body)
    prose = without_code(body)
    code = [re.sub(r" +# .*", "", block[2]) for block in FENCE.finditer(body)]
    lines = [line for block in code for line in block.splitlines() if line]
    figures = FIGURE.findall(re.sub(r"\]\([^)]+\)", " ", INLINE.sub(" ", prose)))
    return {
        "generated block": Counter(blocks),
        "line of code": Counter(lines),
        "code in the text": Counter(inline_code(prose)),
        "picture": Counter(PICTURE.findall(prose)),
        "figure": Counter(figures),
    }


def differences(english: str, chinese: str, page: str) -> list[str]:
    """How an English page and its Chinese `page` differ, in words; empty if they say the same."""
    ours, theirs = sections(english), sections(chinese)
    found = []
    for a, b in itertools.zip_longest(ours, theirs, fillvalue=("", "nothing", "")):
        if a[0] != b[0]:
            found += [f"headings part: {a[0]} {a[1]!r} in English, {b[0]} {b[1]!r} in {page}"]
            break
        wanted, there = facts(a[2]), facts(b[2])
        for kind in wanted:
            lacks, adds = wanted[kind] - there[kind], there[kind] - wanted[kind]
            for verb, values in (("lacks", lacks), ("adds", adds)):
                found += [f"section {a[1]!r}: {page} {verb} the {kind} {v}" for v in values]
    return found


# ------------------------------------------------------------------ generated blocks


@pytest.mark.parametrize("page", readme.PAGES)
def test_code_and_figures_are_those_of_the_files(page: str) -> None:
    text = read(page)
    filled = readme.filled(text, chinese=page.endswith(".zh-CN.md"))
    blocks = {m["name"]: m[0] for m in readme.BLOCK.finditer(text)}
    stale = [m["name"] for m in readme.BLOCK.finditer(filled) if blocks[m["name"]] != m[0]]
    assert not stale, f"{page}: run `make readme`, which changes {stale}"
    assert filled == text


@pytest.mark.parametrize("page", readme.PAGES)
def test_every_block_is_one_that_gets_filled(page: str) -> None:
    text = read(page)
    count = len(readme.BLOCK.findall(text))
    assert count == text.count("<!-- begin ") == text.count("<!-- end ") > 0


@pytest.mark.parametrize("page", [TOUR, CHINESE_TOUR])
def test_all_code_of_the_tour_is_cut_from_files(page: str) -> None:
    outside = readme.BLOCK.sub("", read(page))
    assert {language for language, _ in FENCE.findall(outside)} <= {"", "math"}


def test_an_excerpt_is_the_source_without_its_docstring() -> None:
    source = textwrap.dedent('''\
        # of another thing

        # why it is 3
        A = 3


        @decorated
        def f(
            x: int,
        ) -> int:
            """Documented.

            At length.
            """

            def inner() -> int:
                """Kept."""
                return x

            return inner()


        class C:
            def method(self) -> int:
                """Gone."""
                return A
        ''')
    lines = source.splitlines()
    assert readme.definition(source, "A") == "# why it is 3\nA = 3"
    wanted = [*lines[6:10], *lines[15:20]]
    assert readme.definition(source, "f").splitlines() == wanted
    assert readme.definition(source, "C.method") == "def method(self) -> int:\n    return A"
    with pytest.raises(ValueError, match="there is no g"):
        readme.definition(source, "g")


@pytest.mark.parametrize("name", ["steps", "excerpt pytorch_impl/losses.py", "bench now"])
def test_an_unknown_block_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no block '{name}'"):
        readme.content(name)


def test_the_chinese_tables_are_chinese() -> None:
    lines = [
        line
        for page in (CHINESE, CHINESE_TRAPS)
        for m in readme.BLOCK.finditer(read(page))
        for line in m[0].splitlines()
        if line.startswith("|")
    ]
    cells = {cell.strip() for line in lines for cell in line.split("|")}
    # Two words in a row, outside of code; names of engines and recipes stand alone.
    words = re.compile(r"[a-z]{2,} [a-z]{2,}", re.IGNORECASE)
    english = {cell for cell in cells if words.search(re.sub(r"`.*?`", "", cell))}
    assert len(cells) > 200
    assert not english, f"compare/pages/ lacks the Chinese of {english}"
    assert "Measured on" not in read(CHINESE_TRAPS), "compare/pages/chinese.py misses a sentence"


def test_every_trap_and_no_other_has_its_chinese() -> None:
    rows = readme.figures("traps")["rows"]
    assert chinese.TRAPS.keys() == {row["name"] for row in rows}


# ------------------------------------------------------------------ two languages


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_both_languages_say_the_same(english: str, chinese: str) -> None:
    found = differences(read(english), read(chinese), chinese)
    assert not found, "\n".join([f"{english} and {chinese} have drifted apart:", *found])


def test_every_chinese_page_is_compared() -> None:
    assert {chinese for _, chinese in PAIRS} == {p for p in PAGES if p.endswith(".zh-CN.md")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n## Results\n", "\n### Results\n", "headings part: ### 'Results'"),
        ("\n## Results\n", "\n", "section 'Bring your own, take it away': README.zh-CN.md adds"),
        ("<!-- begin step", "<!-- begin stem", "adds the generated block step"),
        ("make test ", "make tests ", "lacks the line of code make tests"),
        ("Every 250 iterations", "Every 251 iterations", "lacks the figure 251"),
        ("docs/images/digits.png", "docs/images/digit.png", "lacks the picture docs/images/digit"),
        ("`hyper` holds", "hyper holds", "adds the code in the text hyper"),
    ],
)
def test_a_drift_is_named(old: str, new: str, message: str) -> None:
    assert old in read(ENGLISH)
    found = differences(read(ENGLISH).replace(old, new), read(CHINESE), CHINESE)
    assert message in "\n".join(found)


# ------------------------------------------------------------------ what a reader has before them


def length(*files: str) -> int:
    return sum(len(read(file).splitlines()) for file in files)


@pytest.mark.parametrize("folder", readme.BACKENDS.values())
def test_the_experiment_is_read_in_an_evening(folder: str) -> None:
    files = [f"{folder}/{name}.py" for name in ("networks", "step", "losses", "train")]
    assert length(ENGLISH) <= 200 >= length(CHINESE)
    assert length(ENGLISH, *files[:2]) < 600
    assert length(*files) <= 350


def test_the_index_has_every_page() -> None:
    index = set(LINK.findall(read("docs/README.md")))
    pages = {Path(page).name for page in PAGES if page.startswith("docs/")} - {"README.md"}
    assert pages <= index
    assert "docs/README.md" in LINK.findall(read(ENGLISH))


# ------------------------------------------------------------------ links


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for _, title, _ in sections(page.read_text()):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken(page: str, text: str) -> list[str]:
    """Relative links of a page that lead nowhere."""
    found = []
    prose = without_code(text)
    for target in [*LINK.findall(prose), *PICTURE.findall(prose)]:
        if re.match("[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    assert broken(page, read(page)) == []


def test_a_broken_link_is_seen() -> None:
    text = "[a](absent.md) [b](README.md#nowhere) ![c](docs/images/absent.png) [d](README.md#start)"
    assert broken(ENGLISH, text) == ["absent.md", "README.md#nowhere", "docs/images/absent.png"]


@pytest.mark.parametrize("pair", PAIRS)
def test_a_page_is_linked_to_its_other_language(pair: tuple[str, str]) -> None:
    for page, other in (pair, pair[::-1]):
        assert Path(other).name in LINK.findall(read(page))


def test_the_readmes_lead_to_the_tour() -> None:
    assert TOUR in LINK.findall(read(ENGLISH))
    assert CHINESE_TOUR in LINK.findall(read(CHINESE))


# ------------------------------------------------------------------ commands

ARGUMENTS: dict[str, Any] = {
    "train": TrainArguments,
    "sample": sampling.SampleArguments,
    "convert": conversion.ConvertArguments,
}


def commands(page: str) -> set[str]:
    """`make ...` and `python -m ...` of a page, in blocks and in the text."""
    text = readme.BLOCK.sub("", read(page))
    lines = [
        line
        for language, block in FENCE.findall(text)
        if not language
        for line in block.splitlines()
    ]
    lines += inline_code(without_code(text))
    stripped = (re.sub(r" +# .*", "", line) for line in lines)
    return {line for line in stripped if re.match(r"make [a-z]|\S*python -m ", line)}


def check(line: str) -> None:
    """Fail if a command's target, module or flags do not exist."""
    _, *words = shlex.split(line)
    if line.startswith("make"):
        assert re.search(f"^{words[0]}:", read("Makefile"), re.MULTILINE), f"no target: {line}"
        flags = [w.removeprefix("ARGS=") for w in words[1:] if w.startswith("ARGS=")]
        kind, arguments = words[0].split("-")[0], shlex.split(" ".join(flags))
    else:
        module, *arguments = words[1:]
        path = ROOT / module.replace(".", "/")
        runs = path.with_suffix(".py").exists() or (path / "__main__.py").exists()
        assert runs, f"no module: {line}"
        kind = module.split(".")[1]
    if kind in ARGUMENTS:
        commandline.parse(
            ARGUMENTS[kind], arguments, prog=kind, description=""
        )  # UserError or exit


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist_with_their_flags(page: str) -> None:
    for line in commands(page):
        check(line)


def test_commands_are_found() -> None:
    least = {ENGLISH: 5, CHINESE: 5, TOUR: 20, CHINESE_TOUR: 20, "docs/torture.md": 1}
    assert all(len(commands(page)) >= count for page, count in least.items())


@pytest.mark.parametrize(
    "line",
    ["make tests", ".venv/bin/python -m keras_impl.draw x", 'make train-keras ARGS="--step 3"'],
)
def test_a_command_that_does_not_exist_is_seen(line: str) -> None:
    with pytest.raises((AssertionError, config.UserError, SystemExit)):
        check(line)
