"""The balance stage as people use it: files in, files out, wrong input told apart, shards equal to the whole."""

import json
import re
import resource
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn.base
from hypothesis import given, settings
from hypothesis import strategies as st

from evenclip.balance import BalanceOptions, M4Balancer, audit, balance
from evenclip.balance.scatter import add_counts, apply_plan, count_part, gather_weights, solve_cells
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.coding import RowCoder
from evenclip.balance.table.source import BATCH_ROWS, Source
from evenclip.errors import InputError

REPORT_FIELDS = {
    "strategy", "objective", "dual_bound", "relative_gap", "converged", "feasible", "retention",
    "max_representation_residual", "max_association_residual", "blocking_pair", "rb_before", "rb_after", "ab_before",
    "ab_after", "realised_rb", "realised_ab", "ess", "design_effect", "n", "n_cells", "seconds", "peak_memory_mb",
}  # fmt: skip


def biased_table(n: int = 2000, seed: int = 0, **extra) -> pa.Table:
    """A pair of groups, 3 : 1, half of the rows with neither; two labels that lean to one group each."""
    rng = np.random.default_rng(seed)
    draw = rng.random(n)
    woman, man = draw < 0.125, (draw >= 0.125) & (draw < 0.5)
    columns = {
        "key": [f"pair{i}" for i in range(n)],
        "sensitive.gender.woman": woman,
        "sensitive.gender.man": man,
        "target.nurse": rng.random(n) < 0.05 + 0.2 * woman,
        "target.pilot": rng.random(n) < 0.05 + 0.2 * man,
        "proxy.machine": rng.random(n) < 0.1 + 0.3 * man,
    }
    return pa.table(columns | extra)


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.parquet"
    pq.write_table(biased_table(), path)
    return path


def test_m4_balances_and_reports_what_the_contract_names(labels, tmp_path):
    report = balance(labels, tmp_path / "m4", BalanceOptions())
    assert set(report) >= REPORT_FIELDS
    assert json.loads((tmp_path / "m4/report.json").read_text()) == report
    assert report["converged"] and report["feasible"] and abs(report["relative_gap"]) < 1e-8
    assert report["rb_before"] > 0.2 and report["ab_before"] > 0.15
    assert report["rb_after"] < 0.01 and report["ab_after"] < 0.02
    assert report["realised_rb"] < 0.02 and report["realised_ab"] < 0.03
    weights = pq.read_table(tmp_path / "m4/weights.parquet")
    assert weights.schema.equals(pa.schema({"key": pa.string(), "weight": pa.float32(), "copies": pa.uint8()}))
    assert weights.column("key").to_pylist() == [f"pair{i}" for i in range(2000)]
    q = weights.column("weight").to_numpy()
    assert q.min() >= 0 and q.max() <= 1 and q.mean() == pytest.approx(report["retention"], abs=1e-6)
    assert weights.column("copies").to_numpy().sum() == 2000
    manifest = json.loads((tmp_path / "m4/manifest.json").read_text())
    assert manifest["stage"] == "balance" and manifest["n"] == 2000 and manifest["options"]["strategy"] == "m4"


def test_none_shows_every_row_once_and_changes_nothing(labels, tmp_path):
    report = balance(labels, tmp_path / "none", BalanceOptions(strategy="none"))
    weights = pq.read_table(tmp_path / "none/weights.parquet")
    assert set(weights.column("weight").to_pylist()) == {1.0} and set(weights.column("copies").to_pylist()) == {1}
    assert report["rb_after"] == report["rb_before"] == report["realised_rb"]
    assert report["ess"] == 2000 and report["design_effect"] == 1


def test_random_subsample_keeps_m4_rows_and_the_bias(labels, tmp_path):
    m4 = balance(labels, tmp_path / "m4", BalanceOptions())
    report = balance(labels, tmp_path / "random", BalanceOptions(strategy="random_subsample"))
    weights = pq.read_table(tmp_path / "random/weights.parquet")
    q, copies = weights.column("weight").to_numpy(), weights.column("copies").to_numpy()
    assert set(q) == {0.0, 1.0}
    assert q.mean() == pytest.approx(m4["retention"], abs=1e-3)
    assert copies.sum() == 2000 and (copies[q == 0] == 0).all() and (copies[q == 1] > 0).all()
    assert copies.max() - copies[q == 1].min() <= 1
    assert report["rb_after"] == pytest.approx(report["rb_before"], abs=0.02)
    assert report["ab_after"] > 0.7 * report["ab_before"]


def test_proxies_are_balanced_too_when_requested(labels, tmp_path):
    with_proxies = balance(labels, tmp_path / "p", BalanceOptions(proxies=True))
    table = pq.read_table(labels)
    weights = pq.read_table(tmp_path / "p/weights.parquet").column("weight").to_numpy()
    plain = M4Balancer().fit(table).weight_

    def association(q):
        woman, man, machine = (
            table.column(c).to_numpy() for c in ("sensitive.gender.woman", "sensitive.gender.man", "proxy.machine")
        )
        return abs(np.average(machine[woman], weights=q[woman]) - np.average(machine[man], weights=q[man]))

    assert association(weights) < 0.03 < association(plain)
    assert with_proxies["n_cells"] > 0 and with_proxies["feasible"]


def test_seed_decides_copies_and_nothing_else(labels, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        balance(labels, tmp_path / name, BalanceOptions(), seed)
    a, b, c = (pq.read_table(tmp_path / name / "weights.parquet") for name in "abc")
    assert a.equals(b)
    assert a.column("weight").equals(c.column("weight")) and not a.column("copies").equals(c.column("copies"))
    for seed, written in ((1, a), (2, c)):
        assert (M4Balancer(seed=seed).fit(labels).copies_ == written.column("copies").to_numpy()).all()


def test_target_share_is_reached_under_both_codings(labels):
    for coding, share in (("signed", 0.3), ("one_hot", 0.2)):
        options = {"attribute_coding": coding, "target": {"gender.woman": share}, "eps_rep": 0.001}
        groups = M4Balancer(**options).fit(labels).report_["groups"]
        woman = next(row for row in groups if row["group"].endswith("woman") or coding == "signed")
        reached = 1 - woman["share_after"] if woman["group"] == "gender.man" else woman["share_after"]
        assert reached == pytest.approx(share, abs=0.005)


def test_only_one_hot_coding_touches_rows_without_people():
    rng = np.random.default_rng(3)
    n = 4000
    person = rng.random(n) < 0.5
    woman = person & (rng.random(n) < 0.5)
    table = pa.table({
        "sensitive.g.woman": woman, "sensitive.g.man": person & ~woman,
        "target.sport": rng.random(n) < np.where(person, 0.4, 0.1),  # tied to people, not to either group
    })  # fmt: skip
    signed = M4Balancer(attribute_coding="signed").fit(table)
    one_hot = M4Balancer(attribute_coding="one_hot").fit(table)
    assert signed.report_["retention"] > 0.98
    assert one_hot.report_["retention"] < 0.9
    assert one_hot.report_["ab_before"] > 0.1 > signed.report_["ab_before"]


def test_image_and_text_signals_are_matched_jointly():
    table = biased_table(3000)
    rename = {"sensitive.gender": "image.sensitive.gender", "target.nurse": "text.target.nurse"}
    names = []
    for name in table.column_names:
        for old, new in rename.items():
            name = name.replace(old, new)
        names.append(name)
    report = M4Balancer().fit(table.rename_columns(names)).report_
    pairs = {(row["group"], row["label"]) for row in report["associations"]}
    assert pairs == {("image.gender.man", "text.nurse"), ("image.gender.man", "pilot")}
    assert report["feasible"] and report["ab_after"] < 0.02


def test_unknown_groups_carry_no_moment():
    table = biased_table(2000)
    woman = table.column("sensitive.gender.woman").to_numpy()
    unknown = np.random.default_rng(1).random(2000) < 0.3
    column = pa.array(woman, mask=unknown)
    table = table.drop_columns("sensitive.gender.man").set_column(1, "sensitive.gender.woman", column)
    group = M4Balancer(target={"gender.woman": 0.2}).fit(table).report_["groups"][0]
    assert group["n_inside"] + group["n_outside"] == 2000 - unknown.sum() and group["n_not_known"] == unknown.sum()
    assert group["share_before"] == pytest.approx(woman[~unknown].mean())


def test_infeasible_request_names_pairs_and_what_helps(labels, tmp_path):
    with pytest.raises(InputError) as error:
        balance(labels, tmp_path / "out", BalanceOptions(retention=0.95))
    message = str(error.value)
    for part in ("gender.man", "tolerance", "largest feasible retention is 0.", "cap 2", "--allow-infeasible"):
        assert part in message
    assert not (tmp_path / "out").exists()
    report = balance(labels, tmp_path / "out", BalanceOptions(retention=0.95, allow_infeasible=True))
    assert not report["feasible"] and report["converged"] and report["rb_after"] < report["rb_before"]


def test_an_infeasible_request_names_the_unbalanced_pair():
    rng = np.random.default_rng(0)
    group = rng.random(2000) < 0.5
    fair = {f"target.fair{r}": rng.random(2000) < 0.2 for r in range(5)}
    table = pa.table({"sensitive.a.yes": group, "target.nurse": rng.random(2000) < 0.1 + 0.4 * group} | fair)
    blocking = M4Balancer().fit(table).report_["blocking_pair"]
    assert blocking == {"attribute": "a.yes", "label": "nurse", "constraint": "association"}
    with pytest.raises(InputError) as error:
        M4Balancer(retention=0.9).fit(table)
    ((pair, residual, tolerance),) = re.findall(
        r"\((.*?)\) is left with ([\d.]+) \(tolerance ([\d.]+)\)", error.value.what.partition(": ")[2]
    )
    assert pair == "a.yes, nurse" and float(residual) > float(tolerance)


def test_auto_retention_is_the_largest_that_works(labels, tmp_path):
    report = balance(labels, tmp_path / "auto", BalanceOptions())
    largest = report["largest_retention"]
    assert report["retention"] == pytest.approx(largest, rel=2e-3)
    assert balance(labels, tmp_path / "at", BalanceOptions(retention=largest * 0.9999))["feasible"]
    with pytest.raises(InputError):
        balance(labels, tmp_path / "above", BalanceOptions(retention=largest * 1.001))


STRICT = {"strict": True}
BAD_TABLES = {
    "NaN utility": ({"utility": pa.array([0.5, float("nan")] * 1000, pa.float32())}, {}, "row 1 .*utility nan"),
    "inf utility": ({"utility": pa.array([0.5, float("inf")] * 1000, pa.float32())}, {}, "utility inf"),
    "negative utility": ({"utility": pa.array([0.5, -0.5] * 1000, pa.float32())}, {}, "utility -0.5"),
    "utility of strings": ({"utility": ["1", "0"] * 1000}, {}, "utility has type string"),
    "string that is no flag": ({"target.nurse": ["yes", "maybe"] * 1000}, {}, "target.nurse: .maybe. is neither"),
    "number that is no flag": ({"target.nurse": [0, 2] * 1000}, {}, "column target.nurse: 2 is neither"),
    "flags of lists": ({"target.nurse": pa.array([[True]] * 2000)}, {}, "type is list.*, not bool"),
    "all-null attribute": ({"sensitive.gender.woman": pa.nulls(2000)}, STRICT, "every value is null"),
    "all-null booleans": ({"sensitive.gender.woman": pa.nulls(2000, pa.bool_())}, STRICT, "every value is null"),
    "constant attribute": ({"sensitive.age.old": [True] * 2000}, STRICT, "constant"),
    "label never true": ({"target.judge": [False] * 2000}, STRICT, "never true"),
    "null label": ({"target.judge": pa.array([True, None] * 1000)}, {}, "1000 values are null"),
    "attribute without value": ({"sensitive.old": [True, False] * 1000}, {}, "an attribute needs a value"),
    "key of lists": ({"key": pa.array([[1]] * 2000)}, {}, "column key: type is list"),
    "unknown target": ({}, {"target": {"gender.person": 0.5}}, "unknown group 'gender.person'"),
    "signed without a pair": ({"sensitive.a.b": [True, False] * 1000}, {"attribute_coding": "signed"}, "needs two"),
    "contradictory targets": ({}, {"target": {"gender.man": 0.6, "gender.woman": 0.6}}, "must share 1"),
}  # fmt: skip


@pytest.mark.parametrize(("extra", "options", "words"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_wrong_tables_and_options_are_told_apart(extra, options, words, tmp_path):
    table = biased_table()
    for name, values in extra.items():
        if name in table.column_names:
            table = table.drop_columns(name)
        table = table.append_column(name, pa.array(values) if isinstance(values, list) else values)
    pq.write_table(table, tmp_path / "labels.parquet")
    with pytest.raises(InputError, match=words) as error:
        balance(tmp_path / "labels.parquet", tmp_path / "out", BalanceOptions.parse(options, "--option"))
    assert error.value.where and error.value.instead
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [{"target": {"gender.woman": 0.0}}, {"target": {"gender.woman": 1.2}}, {"cap": -1}, {"cap": 0.5}, {"retention": 0},
     {"retention": -0.1}, {"retention": 1.5}, {"eps_rel": -0.1}, {"enforcement": 0}, {"strategy": "m5"}],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError):
        BalanceOptions.parse(options, "--option")


def test_fewer_rows_than_groups_are_refused(tmp_path):
    table = pa.table({"sensitive.a.x": [True], "sensitive.a.y": [False], "target.t": [True], "key": ["k"]})
    with pytest.raises(InputError, match="1 rows are fewer than the 2 groups"):
        M4Balancer().fit(table)


@pytest.mark.parametrize("column", ["key", "sensitive", "target"])
def test_missing_columns_are_named(column, labels, tmp_path):
    table = pq.read_table(labels)
    pq.write_table(table.select([n for n in table.column_names if not n.startswith(column)]), labels)
    with pytest.raises(InputError, match=f"column {column}"):
        balance(labels, tmp_path / "out", BalanceOptions())


def test_duplicate_and_null_keys_are_named(tmp_path):
    keys = [f"pair{i}" for i in range(2000)]
    keys[1234] = keys[7]
    pq.write_table(biased_table(key=keys), tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="'pair7' occurs more than once"):
        balance(tmp_path / "twice.parquet", tmp_path / "out", BalanceOptions())
    pq.write_table(biased_table(key=[None, *keys[1:]]), tmp_path / "null.parquet")
    with pytest.raises(InputError, match="1 keys are null"):
        balance(tmp_path / "null.parquet", tmp_path / "out", BalanceOptions())
    assert not (tmp_path / "out").exists()


def test_empty_missing_and_truncated_files_are_refused(labels, tmp_path):
    pq.write_table(biased_table(0), tmp_path / "empty.parquet")
    content = labels.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[: len(content) // 2])
    (tmp_path / "damaged.parquet").write_bytes(content[:200] + bytes(2000) + content[2200:])
    for name, words in (("empty", "no rows"), ("none", "no such file"), ("cut", "not a readable Parquet file")):
        with pytest.raises(InputError, match=words):
            balance(tmp_path / f"{name}.parquet", tmp_path / "out", BalanceOptions())
    with pytest.raises(InputError):
        balance(tmp_path / "damaged.parquet", tmp_path / "out", BalanceOptions())
    assert not (tmp_path / "out").exists()


def test_folders_stand_for_their_parquet_files(labels, tmp_path):
    balance([labels.parent], tmp_path / "a/out", BalanceOptions())
    balance(labels, tmp_path / "b/out", BalanceOptions())
    assert pq.read_table(tmp_path / "a/out/weights.parquet").equals(pq.read_table(tmp_path / "b/out/weights.parquet"))


@pytest.mark.parametrize("strategy", ["m4", "random_subsample"])
def test_scatter_and_gather_equals_the_single_run(strategy, tmp_path):
    rng = np.random.default_rng(4)
    table = biased_table(3000, utility=pa.array(rng.random(3000), pa.float32()))
    shards = [tmp_path / f"shard{i}.parquet" for i in range(3)]
    for shard, rows in zip(shards, (table[:1000], table[1000:1700], table[1700:]), strict=True):
        pq.write_table(rows, shard)
    options = BalanceOptions(strategy=strategy)
    whole = balance(shards, tmp_path / "whole", options, seed=5)
    cells = [tmp_path / f"cells{i}.parquet" for i in range(3)]
    for shard, out in zip(shards, cells, strict=True):
        count_part(shard, out, options)
    add_counts(cells, tmp_path / "counts")
    solved = solve_cells(tmp_path / "counts", tmp_path / "plan", options, seed=5)
    parts = [tmp_path / f"w{i}.parquet" for i in range(3)]
    for i, shard in enumerate(shards):
        apply_plan(shard, i + 1, tmp_path / "counts", tmp_path / "plan", parts[i])
    gather_weights(parts, tmp_path / "plan", tmp_path / "gathered")
    written = pq.read_table(tmp_path / "whole/weights.parquet")
    assert pq.read_table(tmp_path / "gathered/weights.parquet").equals(written)
    assert json.loads((tmp_path / "gathered/report.json").read_text()) == solved
    with pytest.raises(InputError, match="2300 rows, the plan is for 3000"):
        gather_weights(parts[::2], tmp_path / "plan", tmp_path / "short")
    with pytest.raises(InputError, match="occurs more than once"):
        gather_weights([parts[0]] * 3, tmp_path / "plan", tmp_path / "twice")
    changing = {"seconds", "peak_memory_mb"}
    assert {k: v for k, v in solved.items() if k not in changing} == {
        k: v for k, v in whole.items() if k not in changing
    }


@pytest.mark.parametrize("in_memory", [1 << 29, 1], ids=["in memory", "in a temporary file"])
def test_many_cells_over_several_batches_get_their_weights(in_memory, tmp_path, monkeypatch):
    monkeypatch.setattr("evenclip.balance.table.coding.IN_MEMORY", in_memory)
    n = 2 * BATCH_ROWS + 1001
    rng = np.random.default_rng(7)
    table = biased_table(n, key=rng.permutation(n).astype(str))
    table = pa.table(table.to_pydict() | {f"target.l{r:02d}": rng.random(n) < 0.3 for r in range(16)})
    cuts = [0, 10, 70_000, 70_001, 110_000, n]  # files and row groups that end anywhere
    shards = [tmp_path / f"{i}.parquet" for i in range(len(cuts) - 1)]
    for shard, start, stop in zip(shards, cuts, cuts[1:], strict=False):
        pq.write_table(table[start:stop], shard, row_group_size=9999)
    report = balance(shards, tmp_path / "out", BalanceOptions(retention=0.4))
    assert report["n"] == n and report["n_cells"] > 50_000
    weights = pq.read_table(tmp_path / "out/weights.parquet")
    assert weights.column("key").equals(table.column("key"))
    weight, copies = (weights.column(name).to_numpy().astype(float) for name in ("weight", "copies"))
    assert copies.sum() == n and weight.mean() == pytest.approx(0.4, abs=1e-6)
    bits = np.column_stack([table.column(name).to_numpy() for name in table.column_names if name != "key"])
    cell = np.unique(np.packbits(bits, axis=1), axis=0, return_inverse=True)[1]
    total, mass = np.bincount(cell, copies), np.bincount(cell, weight)
    assert np.abs(total - mass / 0.4).max() < 1.001  # each cell is shown as often as its weights say
    single = M4Balancer(retention=0.4).fit(table)
    assert (single.weight_ == weight.astype(np.float32)).all() and (single.copies_ == copies).all()


def test_batches_are_independent_of_row_groups_and_chunks(tmp_path):
    n = BATCH_ROWS + 5000
    table = pa.table({"key": [str(i) for i in range(n)], "sensitive.a.x": [i % 3 == 0 for i in range(n)],
                      "target.y": [True, False] * (n // 2)})  # fmt: skip
    pq.write_table(table, tmp_path / "labels.parquet", row_group_size=1234)
    chunked = pa.concat_tables([table[:7], table[7:70_001], table[70_001:]])
    for source in (Source(tmp_path / "labels.parquet"), Source(chunked), Source(table)):
        for columns in (["key"], ["sensitive.a.x", "target.y"]):
            batches = list(source.batches(columns))
            assert [len(batch) for batch in batches] == [BATCH_ROWS, 5000]
            assert pa.Table.from_batches(batches).equals(table.select(columns))


def test_plan_is_refused_for_rows_that_were_not_counted(labels, tmp_path):
    options, counts, plan, out = BalanceOptions(), tmp_path / "counts", tmp_path / "plan", tmp_path / "w.parquet"
    count_part(labels, tmp_path / "cells.parquet", options)
    add_counts([tmp_path / "cells.parquet"], counts)
    solve_cells(counts, plan, options)
    table = pq.read_table(labels)
    flipped = pa.array([True] * len(table))
    pq.write_table(table.set_column(1, "sensitive.gender.woman", flipped), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="not counted"):
        apply_plan(tmp_path / "other.parquet", 1, counts, plan, out)
    for number in (0, 2):
        with pytest.raises(InputError, match=f"no part {number} of 1"):
            apply_plan(labels, number, counts, plan, out)
    count_part(tmp_path / "other.parquet", tmp_path / "cells.parquet", options)
    add_counts([tmp_path / "cells.parquet"], tmp_path / "other_counts")
    with pytest.raises(InputError, match="other cells than the plan"):
        apply_plan(labels, 1, tmp_path / "other_counts", plan, out)
    with pytest.raises(InputError, match="no column count"):
        add_counts([labels], tmp_path / "counts2")
    assert not out.exists()


def test_parts_may_outnumber_the_files_a_process_may_open(labels, tmp_path):
    cells = [tmp_path / f"{i}.parquet" for i in range(300)]
    count_part(labels, cells[0], BalanceOptions())
    for path in cells[1:]:
        path.write_bytes(cells[0].read_bytes())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        assert add_counts(cells, tmp_path / "counts") == pq.read_metadata(cells[0]).num_rows
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = pq.ParquetFile(tmp_path / "counts/before.parquet")
    assert before.num_row_groups == 300
    assert before.read_row_group(299)["before"].to_pylist() == [
        299 * n for n in pq.read_table(cells[0])["count"].to_pylist()
    ]


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(1, 200), offset=st.integers(0, 17), n_labels=st.integers(1, 70))
def test_cells_are_the_distinct_rows_with_their_counts(data, n, offset, n_labels):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    columns = {"sensitive.a.x": pa.array(rng.random(n) < 0.5, mask=rng.random(n) < 0.2)}
    columns |= {f"target.y{r:02d}": pa.array(rng.random(n) < 0.03) for r in range(n_labels)}
    table = pa.table(columns)[min(offset, n - 1) :]
    cells = count_cells(Source(table), 8)
    expected: dict[tuple, int] = {}
    for row in zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True):
        expected[row] = expected.get(row, 0) + 1
    decoded = cells.table()
    rows = zip(*(decoded.column(name).to_pylist() for name in table.column_names), strict=True)
    assert dict(zip(rows, cells.count.tolist(), strict=True)) == expected
    codes = RowCoder(cells.columns, 8).encode(table.combine_chunks().to_batches()[0], "t")[0]
    assert (np.bincount(cells.find(codes), minlength=len(cells)) == cells.count).all()


@pytest.mark.parametrize("kind", ["pandas", "arrow", "path", "folder", "polars"])
def test_the_estimator_takes_tables_of_any_kind(kind, labels):
    table = pq.read_table(labels)
    expected = M4Balancer(retention=0.4).fit(table)
    if kind == "polars":
        table = pytest.importorskip("polars", reason="polars is optional").from_arrow(table)
    given_table = {
        "pandas": table.to_pandas() if kind == "pandas" else None,
        "path": str(labels),
        "folder": labels.parent,
    }
    balancer = M4Balancer(retention=0.4).fit(given_table.get(kind, table))
    assert (balancer.weight_ == expected.weight_).all() and (balancer.copies_ == expected.copies_).all()


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_tables_of_other_libraries_give_the_same_results(kind):
    if kind == "polars":
        from_arrow = pytest.importorskip("polars", reason="polars is optional").from_arrow
    else:
        from_arrow = pa.Table.to_pandas
    rng = np.random.default_rng(2)
    table = biased_table(1500, utility=pa.array(rng.random(1500), pa.float32()))
    unknown = pa.array(table.column("sensitive.gender.woman").to_numpy(), mask=rng.random(1500) < 0.1)
    table = table.set_column(1, "sensitive.gender.woman", unknown)
    expected, balanced = (M4Balancer(retention=0.4, seed=1).fit(t) for t in (table, from_arrow(table)))
    assert (balanced.weight_ == expected.weight_).all() and (balanced.copies_ == expected.copies_).all()
    assert balanced.report_ == expected.report_
    weights = pa.table({"key": table.column("key"), "weight": balanced.weight_, "copies": balanced.copies_})
    assert audit(from_arrow(table), from_arrow(weights), n_bootstrap=5) == audit(table, weights, n_bootstrap=5)
    with pytest.raises(InputError, match="column target"):
        M4Balancer().fit(from_arrow(table.select(["key", "sensitive.gender.woman"])))


@pytest.mark.parametrize("table", [None, 3, np.zeros((2, 2)), iter([])], ids=["None", "int", "array", "iterator"])
def test_what_is_not_a_table_is_refused(table):
    with pytest.raises(InputError, match="is not a table"):
        M4Balancer().fit(table)


def test_tables_that_cannot_be_read_say_why():
    table = biased_table(50)
    mixed = table.to_pandas().astype({"target.nurse": object})
    mixed.loc[3, "target.nurse"] = "yes"
    with pytest.raises(InputError, match=r"cannot be read .*target\.nurse"):
        M4Balancer().fit(mixed)
    twice = pa.Table.from_arrays([*table.columns, table.column("target.nurse")], [*table.column_names, "target.nurse"])
    with pytest.raises(InputError, match=r"column target\.nurse occurs more than once"):
        M4Balancer().fit(twice)


def test_the_estimator_follows_scikit_learn(labels):
    balancer = M4Balancer(seed=3, cap=2)
    assert balancer.get_params()["cap"] == 2 and balancer.get_params()["seed"] == 3
    assert balancer.set_params(retention=0.5) is balancer and balancer.get_params()["retention"] == 0.5
    with pytest.raises(InputError, match="unknown key 'capp'") as error:
        balancer.set_params(capp=3)
    assert error.value.instead == "did you mean 'cap'?" and balancer.get_params()["cap"] == 2
    copy = sklearn.base.clone(M4Balancer(seed=3, target={"gender.woman": 0.4}))
    assert copy.get_params() == M4Balancer(seed=3, target={"gender.woman": 0.4}).get_params()
    rows = balancer.fit_resample(labels)
    assert len(rows) == 2000 and (np.bincount(rows, minlength=2000) == balancer.copies_).all()


def test_balancing_loads_no_heavy_library(labels, tmp_path):
    code = (
        "import sys; from evenclip.balance import BalanceOptions, balance;"
        "balance(sys.argv[1], sys.argv[2], BalanceOptions());"
        "sys.exit(', '.join({'torch', 'matplotlib', 'pandas', 'sklearn'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code, str(labels), str(tmp_path / "out")]
    assert subprocess.run(command, check=False, capture_output=True, text=True).stderr == ""


def test_audit_and_report_agree(labels, tmp_path):
    report = balance(labels, tmp_path / "m4", BalanceOptions())
    audited = audit(labels, tmp_path / "m4/weights.parquet", n_bootstrap=50)
    for stage, suffix in (("before", "_before"), ("after", "_after")):
        for name in ("rb", "ab"):
            assert audited[name][stage]["value"] == pytest.approx(report[name + suffix], abs=1e-5)
    assert audited["rb"]["realised"]["value"] == pytest.approx(report["realised_rb"], abs=1e-9)
    for name in ("ess", "design_effect"):
        assert audited[name] == pytest.approx(report[name], rel=1e-4)
    kept, reported = (
        {(part["group"], part["label"]): part["kept"] for part in parts} for parts in (audited["kept"], report["kept"])
    )
    assert kept == pytest.approx(reported, rel=1e-4)
    assert audited["warnings"] == report["warnings"]


def test_one_warning_lists_all_that_cannot_be_balanced(labels, tmp_path):
    table = pq.read_table(labels)
    n = len(table)
    rare = [True] * 3 + [False] * (n - 3)
    extra = {"sensitive.age.old": [True] * n, "target.judge": [False] * n, "target.king": [False] * n}
    for name, values in (extra | {"target.rare": rare}).items():
        table = table.append_column(name, pa.array(values))
    balancer = M4Balancer(min_rows=10, retention=0.7).fit(table)
    report = balancer.report_
    assert {entry["name"] for entry in report["dropped"]} == {"age.old", "judge", "king", "rare"}
    (warning,) = [text for text in report["warnings"] if text.startswith("left out")]
    assert all(name in warning for name in ("age.old", "judge, king", "rare"))
    expected = M4Balancer(retention=0.7).fit(pq.read_table(labels))
    assert (balancer.weight_ == expected.weight_).all()
    with pytest.raises(InputError, match=r"age\.old .*judge, king \("):
        M4Balancer(strict=True).fit(table)
    only_judge = table.select(["sensitive.gender.woman", "sensitive.gender.man", "target.judge"])
    with pytest.raises(InputError, match="no label is left to balance"):
        M4Balancer().fit(only_judge)


def test_kept_shares_are_those_of_the_rows(labels):
    table = pq.read_table(labels)
    balancer = M4Balancer(preserve="labels").fit(table)
    woman, man, nurse = (
        table.column(c).to_numpy() for c in ("sensitive.gender.woman", "sensitive.gender.man", "target.nurse")
    )
    parts = {(part["group"], part["label"]): part for part in balancer.report_["kept"]}
    q = balancer.weight_.astype(float)
    for key, rows in (
        ((None, "nurse"), nurse),
        (("gender.woman", None), woman),
        (("gender.man", "nurse"), man & nurse),
    ):
        part = parts[key]
        assert part["rows"] == rows.sum() and part["before"] == pytest.approx(rows.mean())
        assert part["after"] == pytest.approx(q[rows].sum() / q.sum(), rel=1e-5)
        assert part["kept"] == pytest.approx(part["after"] / part["before"])
        assert part["realised"] == pytest.approx(balancer.copies_[rows].sum() / 2000)
        assert part["effective_rows"] == pytest.approx(q[rows].sum() ** 2 / (q[rows] ** 2).sum(), rel=1e-5)
    kept = [part["kept"] for part in balancer.report_["kept"]]
    assert kept == sorted(kept)


def test_warnings_name_lost_labels_copies_and_few_rows():
    table = biased_table(300)
    warnings = M4Balancer(preserve="labels", preserve_tolerance=0.01, cap=50).fit(table).report_["warnings"]
    assert any("fewer than 30 effective distinct rows: (gender.man, nurse)" in text for text in warnings), warnings
    rng = np.random.default_rng(0)
    woman = rng.random(2000) < 0.5
    nurse = rng.random(2000) < np.where(woman, 0.5, 0.02)
    lost = {"sensitive.g.woman": woman, "sensitive.g.man": ~woman, "target.nurse": nurse}
    warnings = M4Balancer().fit(pa.table(lost)).report_["warnings"]
    assert any("less than half of their share: nurse" in text and "preserve: labels" in text for text in warnings)
    warnings = M4Balancer(preserve="labels", cap=40).fit(pa.table(lost)).report_["warnings"]
    assert any("times per epoch (more than 10); set max_copies" in text for text in warnings)
