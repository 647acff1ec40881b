"""CSV, TSV and JSON lines are read as pandas reads them, and a broken row costs no more than itself."""

import io
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenclip.data.text_tables import json_rows, table_rows
from evenclip.errors import InputError


def captions(text: str) -> dict[str, str]:
    """Captions by image; the number of the line and the problem for rows that cannot be read."""
    rows = table_rows(text, "c", starts_row=lambda row: row["image"].endswith(".jpg"))
    return {
        f"line {line}" if isinstance(row, str) else row["image"]: row if isinstance(row, str) else row["caption"]
        for line, row in rows
    }


TEXTS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)), max_size=12)


@settings(deadline=None, max_examples=60)
@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=6), st.sampled_from([",", "\t"]))
def test_what_pandas_writes_is_read_back(texts, separator):
    names = [f"{number}.jpg" for number in range(len(texts))]
    written = pd.DataFrame({"image": names, "caption": texts}).to_csv(sep=separator, index=False)
    assert captions(written) == dict(zip(names, texts, strict=True))


@pytest.mark.parametrize("separator", [",", "\t"])
def test_pandas_reads_the_same(separator):
    texts = ['a "big" dog', "two lines\nof text", "tab\there", "plain", "comma, too"]
    frame = pd.DataFrame({"image": [f"{number}.jpg" for number in range(5)], "caption": texts})
    written = frame.to_csv(sep=separator, index=False)
    again = pd.read_csv(io.StringIO(written), sep=separator)
    assert list(captions(written).values()) == again["caption"].tolist() == texts


def lines(**changed: str) -> str:
    rows = [f"{number}.jpg,picture {number}" for number in range(6)]
    for number, caption in changed.items():
        rows[int(number[1:])] = f"{number[1:]}.jpg,{caption}"
    return "\n".join(["image,caption", *rows, ""])


GOOD = {f"{number}.jpg": f"picture {number}" for number in range(6)}
NOT_CLOSED = "a quotation mark that is not closed"


def test_an_open_quotation_mark_costs_its_row_alone():
    expected = {name: caption for name, caption in GOOD.items() if name != "2.jpg"} | {"line 4": NOT_CLOSED}
    assert captions(lines(_2='"a dog in the park')) == expected


def test_two_open_quotes_do_not_swallow_the_rows_between():
    expected = GOOD | {"4.jpg": 'a cat"', "line 3": NOT_CLOSED}
    del expected["1.jpg"]
    assert captions(lines(_1='"a dog', _4='a cat"')) == expected


def test_marks_within_a_csv_field_are_read_as_pandas_reads_them():
    text = lines(_1='"big" dog and a "small cat')
    assert captions(text)["1.jpg"] == pd.read_csv(io.StringIO(text))["caption"][1] == 'big dog and a "small cat'


def test_bare_quotation_marks_of_tsv_stay():
    text = 'image\tcaption\n1.jpg\t"big" dog\n2.jpg\t"a cat\n3.jpg\t"both"\n4.jpg\tend"\n'
    assert captions(text) == {"1.jpg": '"big" dog', "2.jpg": '"a cat', "3.jpg": "both", "4.jpg": 'end"'}


def test_rows_of_other_lengths_and_doubled_columns_are_named():
    assert captions("image,caption\r\n1.jpg,a\r\n2.jpg\r\n\r\n3.jpg,b,c") == {
        "1.jpg": "a", "line 3": "1 fields, the header has 2", "line 5": "3 fields, the header has 2",
    }  # fmt: skip
    with pytest.raises(InputError, match="two columns are called 'caption'"):
        captions("image,caption,caption\n")


def test_json_lines_end_at_line_feeds_alone():
    texts = ["first\u2028second", "price 5\u0085 euros", "para\u2029graph", "\x0b\x0c\x1c", "plain"]
    text = "\r\n".join(json.dumps({"caption": text}, ensure_ascii=False) for text in texts)
    assert [row["caption"] for _, row in json_rows(text)] == texts
    assert [line for line, row in json_rows('{}\n\n{"a": \n[1]\n{}') if isinstance(row, str)] == [3, 4]
