"""Tables as people have them: CSV and TSV, a tidy form, and misspelt columns, which are never ignored."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evenclip.balance import BalanceOptions, balance
from evenclip.balance.table.form import TableForm, check_names
from evenclip.balance.table.source import Source
from evenclip.cli import app
from evenclip.errors import InputError

N = 400
FORM = TableForm(("gender",), ("nurse", "pilot"), "photo")


def tidy_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    woman = rng.random(N) < 0.4
    gender = np.where(rng.random(N) < 0.1, None, np.where(woman, "woman", "man"))
    nurse, pilot = rng.random(N) < np.where(woman, 0.4, 0.2), rng.random(N) < np.where(woman, 0.2, 0.3)
    photos = [f"{i:04d}" for i in range(N)]  # must stay text
    caption = 'a "photo",\nof someone'
    return pd.DataFrame({"photo": photos, "gender": gender, "nurse": nurse, "pilot": pilot, "caption": caption})


def wide_frame() -> pd.DataFrame:
    frame = tidy_frame()
    has_gender = frame["gender"].notna()
    groups = {f"sensitive.gender.{g}": (frame["gender"] == g).where(has_gender) for g in ("man", "woman")}
    labels = {f"target.{name}": frame[name] for name in ("nurse", "pilot")}
    return pd.DataFrame({"key": frame["photo"], **groups, **labels})


def weights(table, out, form: TableForm | None = None) -> pa.Table:
    balance(Source(table, form), out, BalanceOptions())
    return pq.read_table(out / "weights.parquet")


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> pa.Table:
    folder = tmp_path_factory.mktemp("parquet")
    wide_frame().to_parquet(folder / "labels.parquet")
    return weights(folder / "labels.parquet", folder / "out")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv", {}),
        ("a.tsv", {"sep": "\t"}),
        ("semicolons.csv", {"sep": ";"}),
        ("a.csv.gz", {}),
        ("mark.csv", {"encoding": "utf-8-sig"}),
        ("utf16.csv", {"encoding": "utf-16"}),
    ],
)
@pytest.mark.parametrize("tidy", [True, False], ids=["tidy", "wide"])
def test_delimited_tables_give_the_weights_of_parquet(name, options, tidy, tmp_path, expected):
    frame = tidy_frame() if tidy else wide_frame()
    frame.to_csv(tmp_path / name, index=False, **options)
    assert weights(tmp_path / name, tmp_path / "out", FORM if tidy else None) == expected


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_folder_of_tidy_tables_gives_the_same_weights(ending, tmp_path, expected):
    folder = tmp_path / "tables"
    folder.mkdir()
    frame = tidy_frame().sort_values("gender", kind="stable")  # the first file lacks a group
    whole = tmp_path / "whole.parquet"
    frame.to_parquet(whole)
    for i, part in enumerate((frame[:150], frame[150:])):
        part.to_csv(folder / f"{i}.csv", index=False) if ending == "csv" else part.to_parquet(folder / f"{i}.parquet")
    assert weights(folder, tmp_path / "parts", FORM) == weights(whole, tmp_path / "one", FORM)


@pytest.mark.parametrize("values", [("yes", "No"), (1.0, 0.0), ("TRUE", "false"), (1, 0)])
def test_labels_are_cast_as_in_parquet(values, tmp_path, expected):
    frame = tidy_frame()
    frame["nurse"] = [values[0] if flag else values[1] for flag in frame["nurse"]]
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert weights(tmp_path / "a.csv", tmp_path / "out", FORM) == expected


def test_rows_without_keys_are_numbered_with_a_note(tmp_path):
    tidy_frame().to_csv(tmp_path / "a.csv", index=False)
    options = ["--attribute", "gender", "--label", "nurse"]
    run = CliRunner().invoke(app, ["balance", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out"), *options])
    assert run.exit_code == 0 and run.stderr.count("rows are named by their number") == 1
    assert pq.read_table(tmp_path / "out/weights.parquet")["key"].to_pylist() == [str(i) for i in range(N)]
    weighted = ["--weights", str(tmp_path / "out/weights.parquet")]
    assert CliRunner().invoke(app, ["audit", str(tmp_path / "a.csv"), *options, *weighted]).exit_code == 0


@pytest.mark.parametrize("column", ["target.nurse ", "sensitive.gender.woman\t"])
def test_label_columns_that_end_with_a_space_are_errors(column):
    with pytest.raises(InputError, match="begins or ends with a space"):
        check_names(["key", column], "table")


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("Target.nurse", "target.nurse"),
        ("target_nurse", "target.nurse"),
        ("targets.nurse", "target.nurse"),
        ("sensitve.gender.woman", "sensitive.gender.woman"),
        ("Image.sensitive.gender.woman", "image.sensitive.gender.woman"),
        ("text.traget.nurse", "text.target.nurse"),
        (" proxy.white", "proxy.white"),
        ("Utility", "utility"),
    ],
)
def test_misspelt_label_columns_are_errors_that_name_the_nearest(column, meant):
    with pytest.raises(InputError, match="looks like a label column") as error:
        check_names(["key", column], "table")
    assert f"did you mean {meant}?" in error.value.instead


def test_other_columns_are_allowed():
    check_names(["key", "caption", "url", "text", "image", "image_path", "text_length", "target", "sensor.a"], "table")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (TableForm(("Gender",)), "no column Gender\n.*did you mean gender"),
        (TableForm(("gender",), ("nurs",)), "no column nurs\n.*did you mean nurse"),
        (TableForm(("gender",), ("nurse",), "phtoo"), "no column phtoo\n.*did you mean photo"),
        (TableForm(("photo",), ("nurse",)), "more than 100 different values"),
        (TableForm(("gender",), ("caption",)), "neither true nor false"),
    ],
)
def test_a_wrong_form_is_one_error(form, message, tmp_path):
    tidy_frame().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=message):
        Source(tmp_path / "a.csv", form)


def test_two_spellings_of_a_group_are_an_error(tmp_path):
    frame = tidy_frame()
    frame.loc[7, "gender"] = "Woman "
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match="'Woman' and 'woman' are two spellings"):
        Source(tmp_path / "a.csv", FORM)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('key,gender,n\n1,"x,1\n2,y,0\n', "not a readable table"),
        ("key,gender,n\n1,x,1\n2,y\n", "Expected 3 columns, got 2"),
        ("key,gender,n\n", "no rows"),
        ("", "not a readable table"),
    ],
    ids=["open quote", "ragged", "no rows", "empty"],
)
def test_broken_tables_are_errors(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        Source(tmp_path / "a.csv", TableForm(("gender",), ("n",)))


def test_long_and_strange_captions_are_read(tmp_path, expected):
    frame = tidy_frame()
    frame.loc[3, "caption"] = "long, " * 40_000
    frame.loc[4, "caption"] = 'a line\u2028"quoted", and \x85 more'
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert weights(tmp_path / "a.csv", tmp_path / "out", FORM) == expected


def test_a_table_that_is_not_utf8_says_so(tmp_path):
    (tmp_path / "a.csv").write_bytes("key,gender,n\n1,mädchen,1\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        Source(tmp_path / "a.csv", TableForm(("gender",), ("n",)))


def test_a_folder_of_parquet_and_csv_is_refused(tmp_path):
    wide_frame().to_csv(tmp_path / "a.csv", index=False)
    wide_frame().to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="Parquet files and a.csv"):
        Source(tmp_path)


def test_tables_in_memory_take_a_form_too(tmp_path, expected):
    assert weights(tidy_frame(), tmp_path / "out", FORM) == expected
