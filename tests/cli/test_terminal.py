"""Tables fit their width, lose no word, and never break what is to stay whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmark.cli.terminal import counted, shortened, table_lines

WORDS = st.text("abc-/+_%", min_size=1, max_size=30)
CELLS = st.lists(WORDS, max_size=8).map(" ".join)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4))
def test_a_table_fits_and_every_letter_stays_in_its_column(rows: list[tuple[str, str, str]]) -> None:
    lines = table_lines(["one", "two", "three"], rows, 60)
    assert max(map(len, lines)) <= 60
    rule = next(line for line in lines if set(line) <= {"-", " "} and "-" in line)
    starts = [n for n, sign in enumerate(rule) if sign == "-" and (n == 0 or rule[n - 1] == " ")]
    for column, (start, end) in enumerate(zip(starts, [*starts[1:], 60], strict=True)):
        shown = "".join(line[start:end] for line in lines[lines.index(rule) + 1 :]).replace(" ", "")
        assert shown == "".join(row[column] for row in rows).replace(" ", "")


def test_what_stays_whole_is_never_broken_and_the_rest_gives_way() -> None:
    claim, verdict = "missingmark-3-resnet20-cifar10-synflow-shuffle", "reproduced, provisional"
    lines = table_lines(["claim", "verdict", "statement"], [[claim, verdict, "word " * 40]], 90, ["claim", "verdict"])
    assert lines[2].startswith(f"{claim}  {verdict}  word")
    assert max(map(len, lines)) <= 90


def test_long_names_break_behind_the_signs_that_join_them() -> None:
    lines = table_lines(["n", "text"], [["missingmark/resnet18-tiny+shuffle", "x" * 60]], 60)
    assert lines[2].split()[0].endswith(("/", "-", "+"))


def test_a_shortened_text_is_whole_words_and_says_so() -> None:
    assert shortened("tickets beat the dense network", 20) == "tickets beat the…"
    assert shortened("tickets", 7) == "tickets"
    assert [counted(n, "cell") for n in (0, 1, 1200)] == ["0 cells", "1 cell", "1,200 cells"]
