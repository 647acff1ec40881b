"""Baselines against independent formulas, copies, moments, and the audit's statistics."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from evenclip.balance import BalanceOptions, M4Balancer, audit
from evenclip.balance.audit_report import write_figures
from evenclip.balance.moments import build_moments
from evenclip.balance.problem import contrasts_of
from evenclip.balance.realise import Plan, integers_along, ranks
from evenclip.balance.table.cells import count_cells
from evenclip.balance.table.duplicate_keys import hash_strings
from evenclip.balance.table.source import Source
from evenclip.errors import InputError


def tilted_table(n: int = 3000, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) < 0.7, rng.random(n) < 0.3
    return pa.table({
        "key": [str(i) for i in range(n)],
        "sensitive.a.yes": a,
        "sensitive.b.yes": b,
        "target.x": rng.random(n) < 0.1 + 0.2 * a,
        "target.y": rng.random(n) < 0.2 + 0.3 * b,
    })  # fmt: skip


def moments_of(table: pa.Table, **options):
    cells = count_cells(Source(table), 8)
    chosen = BalanceOptions(**options)
    return cells, build_moments(
        cells, contrasts_of(cells, chosen.attribute_coding, chosen.target), cells.columns.target, chosen
    )


def test_raking_agrees_with_fitting_the_cross_table():
    table = tilted_table()
    balancer = M4Balancer(strategy="raking", target={"a.yes": 0.5, "b.yes": 0.4}).fit(table)
    a, b = (table.column(f"sensitive.{name}.yes").to_numpy() for name in "ab")
    grid = np.array([[np.sum((a == i) & (b == j)) for j in (0, 1)] for i in (0, 1)], float)
    fitted = grid.copy()
    for _ in range(200):  # the textbook algorithm on the 2 x 2 table
        fitted *= (np.array([0.5, 0.5]) * grid.sum() / fitted.sum(1))[:, None]
        fitted *= np.array([0.6, 0.4]) * grid.sum() / fitted.sum(0)
    expected = (fitted / grid)[a.astype(int), b.astype(int)]
    assert balancer.weight_ / balancer.weight_.mean() == pytest.approx(expected, rel=1e-5)
    assert balancer.report_["rb_after"] < 1e-9 and balancer.weight_.max() == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # ipfn's own, about pandas 4
def test_raking_agrees_with_ipfn():
    ipfn = pytest.importorskip("ipfn.ipfn", reason="ipfn is an optional peer (evenclip[bench])")
    import pandas as pd

    table = tilted_table(500)
    frame = pd.DataFrame({n: table.column(f"sensitive.{n}.yes").to_numpy() for n in "ab"}).value_counts().reset_index()
    frame = frame.rename(columns={"count": "total"}).astype({"total": float})
    count = frame["total"].copy()
    margins = [
        pd.Series([250.0, 250.0], index=pd.Index([False, True], name="a")),
        pd.Series([250.0, 250.0], index=pd.Index([False, True], name="b")),
    ]
    fitted = ipfn.ipfn(frame, margins, [["a"], ["b"]], convergence_rate=1e-12).iteration()
    balancer = M4Balancer(strategy="raking").fit(table)
    ours = dict(zip(zip(*(table.column(f"sensitive.{n}.yes").to_pylist() for n in "ab"), strict=True),
                    (balancer.weight_ / balancer.weight_.mean()).tolist(), strict=True))  # fmt: skip
    for (_, row), n in zip(fitted.iterrows(), count, strict=True):
        assert ours[(row["a"], row["b"])] == pytest.approx(row["total"] / n, rel=1e-5)


@pytest.mark.filterwarnings("ignore")  # what the peer imports and calls warns about versions to come
def test_raking_agrees_with_the_balance_package():
    peer = pytest.importorskip("balance.weighting_methods.rake", reason="optional peer (evenclip[bench])")
    import pandas as pd

    table = tilted_table(2000)
    frame = pd.DataFrame({n: table.column(f"sensitive.{n}.yes").to_numpy().astype(str) for n in "ab"})
    target = pd.DataFrame({"a": ["True", "False"] * 5, "b": ["True"] * 4 + ["False"] * 6})  # margins 0.5 and 0.4
    ones = [pd.Series(np.ones(len(table_part))) for table_part in (frame, target)]
    expected = peer.rake(
        frame, ones[0], target, ones[1], transformations=None, convergence_rate=1e-12, weight_trimming_mean_ratio=None
    )["weight"].to_numpy()
    weight = M4Balancer(strategy="raking", target={"a.yes": 0.5, "b.yes": 0.4}).fit(table).weight_
    assert weight / weight.mean() == pytest.approx(expected / expected.mean(), rel=1e-5)


def test_raking_says_when_the_targets_contradict_each_other():
    same = np.arange(100) < 60
    table = pa.table({"sensitive.a.yes": same, "sensitive.b.yes": same, "target.x": [True] * 100})
    with pytest.raises(InputError, match="did not settle"):
        M4Balancer(strategy="raking", target={"a.yes": 0.3, "b.yes": 0.6}).fit(table)


def test_reweighing_makes_one_pair_independent():
    table = tilted_table().select(["sensitive.a.yes", "target.x"])
    balancer = M4Balancer(strategy="reweighing").fit(table)
    a, x = table.column("sensitive.a.yes").to_numpy(), table.column("target.x").to_numpy()
    # AIF360's Reweighing: w = n_group * n_label / (n * n_group_label)
    expected = np.array([(a == i).sum() * (x == j).sum() / (len(a) * ((a == i) & (x == j)).sum())
                         for i, j in zip(a, x, strict=True)])  # fmt: skip
    assert balancer.weight_ / balancer.weight_.mean() == pytest.approx(expected, rel=1e-5)
    assert balancer.report_["ab_after"] < 1e-9
    assert balancer.report_["groups"][0]["share_after"] == pytest.approx(a.mean())


@pytest.mark.filterwarnings("ignore")  # what the peer imports and calls warns about versions to come
def test_reweighing_agrees_with_aif360():
    preprocessing = pytest.importorskip("aif360.algorithms.preprocessing", reason="optional peer (evenclip[bench])")
    import pandas as pd
    from aif360.datasets import BinaryLabelDataset

    table = tilted_table().select(["sensitive.a.yes", "target.x"])
    columns = {"a": "sensitive.a.yes", "x": "target.x"}
    frame = pd.DataFrame({name: table.column(column).to_numpy().astype(float) for name, column in columns.items()})
    dataset = BinaryLabelDataset(df=frame, label_names=["x"], protected_attribute_names=["a"])
    expected = preprocessing.Reweighing([{"a": 0.0}], [{"a": 1.0}]).fit_transform(dataset).instance_weights
    weight = M4Balancer(strategy="reweighing").fit(table).weight_
    assert weight / weight.mean() == pytest.approx(expected / expected.mean(), rel=1e-5)


def test_cap_that_raking_exceeds_names_the_retention_that_fits():
    with pytest.raises(InputError, match="needs weights up to") as error:
        M4Balancer(strategy="raking", retention=0.95).fit(tilted_table())
    assert "at most 0." in error.value.instead


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 50), min_size=1, max_size=40).filter(lambda x: sum(x) > 1), st.floats(0, 0.999))
def test_rounded_cumulative_sums_stay_within_one(expected, start):
    expected = np.array(expected)
    total = round(expected.sum())
    integers = integers_along(expected, total, start)
    assert integers.sum() == total and (integers >= 0).all()
    running = np.cumsum(expected) * total / expected.sum()
    assert (np.abs(np.cumsum(integers) - running) <= 1 + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 3)), min_size=1, max_size=20), st.integers(0, 99))
def test_copies_follow_the_weights_as_closely_as_integers_can(cells, seed):
    count, weight = (np.array(column) for column in zip(*cells, strict=True))
    if weight.sum() < 0.5:
        return
    plan = Plan.of_weights(count, weight, seed)
    owner = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(count)), count))
    parts, seen = [], np.zeros(len(count), np.int64)
    for part in np.array_split(owner, 3):
        in_part = np.bincount(part, minlength=len(count))
        parts.append(plan.rows(part, ranks(part.astype(np.uint16), in_part, seen)))
        seen += in_part
    copies = np.concatenate([part[1] for part in parts])
    n = count.sum()
    per_cell = np.bincount(owner, copies, minlength=len(count))
    expected = count * weight * n / (count @ weight)
    assert copies.sum() == n
    assert (np.abs(per_cell - expected) <= 1 + 1e-6).all()
    for cell in range(len(count)):
        assert np.ptp(copies[owner == cell]) <= 1  # rows of a cell differ by at most one


def test_realised_moments_are_within_the_stated_bound():
    table = tilted_table(5000)
    balancer = M4Balancer(retention=0.4).fit(table)
    a, x = table.column("sensitive.a.yes").to_numpy() - 0.5, table.column("target.x").to_numpy()
    solved = (balancer.weight_ * a * x).mean() / balancer.weight_.mean()
    assert abs((balancer.copies_ * a * x).mean() - solved) <= balancer.n_cells_ * 0.5 / 5000


def test_too_many_copies_are_refused():
    with pytest.raises(InputError, match="the limit is 255"):
        Plan.of_weights(np.array([1, 1000]), np.array([1.0, 0.0]), 0)


@pytest.mark.parametrize("limits", [{}, {"_BLOCK_CELLS": 16, "_BLOCK_ELEMENTS": 40}, {"_CACHED_PAIRS": 0}])
@pytest.mark.parametrize("n_labels", [1, 7])
def test_moment_operators_equal_the_matrix_of_moments(n_labels, limits, monkeypatch):
    for name, value in limits.items():
        monkeypatch.setattr(f"evenclip.balance.moments.{name}", value)
    rng = np.random.default_rng(n_labels)
    table = pa.table({f"sensitive.a{k}.yes": rng.random(300) < 0.4 for k in range(3)}
                     | {f"target.y{r}": rng.random(300) < 0.3 for r in range(n_labels)})  # fmt: skip
    cells, moments = moments_of(table)
    labels = moments.labels.toarray()
    matrix = np.einsum("ik,ir->ikr", moments.signal, labels).reshape(len(cells), -1)
    value, multiplier = rng.random(len(cells)), rng.normal(size=moments.n_moments)
    assert moments.combine(multiplier) == pytest.approx(matrix @ multiplier)
    assert moments.expect(value) == pytest.approx(matrix.T @ (moments.weight * value))
    gram = matrix.T @ (matrix * (moments.weight * value)[:, None])
    assert moments.gram(value) == pytest.approx(gram)
    assert moments.gram(value) == pytest.approx(gram)  # once more, from the cached pairs
    assert moments.size == pytest.approx(np.sqrt(matrix.T**2 @ moments.weight))
    assert (len([*moments._pair_blocks()]) > 1) == ("_BLOCK_ELEMENTS" in limits)


def test_many_patterns_of_signals_are_held_in_blocks(monkeypatch):
    """Not by their label pairs alone: with few labels and many attributes, the products of signals are more."""
    monkeypatch.setattr("evenclip.balance.moments._BLOCK_ELEMENTS", 1000)
    rng = np.random.default_rng(0)
    table = pa.table({f"sensitive.a{k}.yes": rng.random(2000) < 0.5 for k in range(12)} | {"target.y": [True] * 2000})
    _, moments = moments_of(table)
    n_products = moments.signal.shape[1] * (moments.signal.shape[1] + 1) // 2
    held = [len(block.signal) * n_products for block in moments._pair_blocks()]
    assert len(held) > 10 and max(held) <= 1000 + n_products


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=50), st.integers(0, 5))
def test_equal_strings_have_equal_hashes_and_others_do_not(strings, offset):
    hashes = hash_strings(pa.array(["x"] * offset + strings)[offset:])
    for i, left in enumerate(strings):
        for j, right in enumerate(strings):
            assert (hashes[i] == hashes[j]) == (left == right)


def test_hashes_of_many_similar_keys_do_not_collide():
    keys = pa.array([f"{i:09d}" for i in range(200_000)] + [f"{i}" for i in range(200_000)])
    assert len(np.unique(hash_strings(keys))) == len(set(keys.to_pylist()))


def test_audit_intervals_cover_and_small_groups_are_marked(tmp_path):
    table = tilted_table(2000)
    rare = np.arange(2000) < 20
    table = table.append_column("sensitive.c.rare", pa.array(rare))
    report = audit(table, seed=1)
    groups = {row["group"]: row for row in report["groups"]}
    assert groups["c.rare"]["status"] == "insufficient" and groups["a.yes"]["status"] == "ok"
    assert report["rb"]["before"]["value"] < 0.3  # the rare group, 0.49 off, is left out of the maximum
    for row in (*report["groups"], *report["associations"]):
        value = row["before"]
        assert value["ci_low"] <= value["value"] <= value["ci_high"]
    a, x = table.column("sensitive.a.yes").to_numpy(), table.column("target.x").to_numpy()
    pair = next(row for row in report["associations"] if row["group"] == "a.yes" and row["label"] == "x")
    p, r = x[a].mean(), x[~a].mean()
    assert pair["before"]["value"] == pytest.approx(p - r)
    assert pair["before"]["smd"] == pytest.approx((p - r) / np.sqrt((p * (1 - p) + r * (1 - r)) / 2))
    width = pair["before"]["ci_high"] - pair["before"]["ci_low"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(p * (1 - p) / a.sum() + r * (1 - r) / (~a).sum()), rel=0.1)
    json.dumps(report, allow_nan=False)


def test_audit_takes_weights_of_its_rows_in_any_order(tmp_path):
    table = tilted_table(1000)
    rng = np.random.default_rng(0)
    weights = pa.table({"key": table.column("key"), "weight": rng.random(1000).astype(np.float32)})
    shuffled = weights.take(rng.permutation(1000))
    first, second = (audit(table, w, n_bootstrap=10) for w in (weights, shuffled))
    assert first == second
    a = table.column("sensitive.a.yes").to_numpy()
    share = next(row for row in first["groups"] if row["group"] == "a.yes")["after"]["value"]
    assert share == pytest.approx(np.average(a, weights=weights.column("weight").to_numpy().astype(float)))
    with pytest.raises(InputError, match="has no weight"):
        audit(table, weights[:999])
    with pytest.raises(InputError, match=r"not in the table \(1000 weights for 999 rows\)"):
        audit(table[:999], weights)
    for wrong, words in (
        (weights.set_column(1, "weight", pa.array([-1.0] * 1000, pa.float32())), "-1.0 is not a number from 0"),
        (weights.set_column(1, "weight", pa.array(["1"] * 1000)), "type is string, not a number"),
        (weights.set_column(0, "key", pa.array([[1]] * 1000)), "column key: type is list"),
        (weights[:0], "all are 0"),
        (weights.append_column("copies", pa.array([1.5] * 1000)), "copies: 1.5 is not a whole number"),
        (weights.append_column("copies", pa.array([None, *[1] * 999])), "copies: null is not a whole number"),
    ):
        with pytest.raises(InputError, match=words):
            audit(table, wrong)


def test_interval_of_a_maximum_is_that_of_its_pair():
    rng = np.random.default_rng(0)
    a = rng.random(2000) < 0.5
    leaning = {f"target.y{r}": rng.random(2000) < 0.2 + 0.3 * a for r in range(4)}  # any of which may lead in a draw
    table = pa.table({"sensitive.a.yes": a} | leaning)
    first, again, other = (audit(table, n_bootstrap=50, seed=seed) for seed in (1, 1, 2))
    assert first == again and first["ab"]["before"]["value"] == other["ab"]["before"]["value"]
    assert first["ab"]["before"]["ci_low"] != other["ab"]["before"]["ci_low"]
    leader = max((row["before"] for row in first["associations"]), key=lambda value: abs(value["value"]))
    assert leader["ci_low"] > 0  # so that the interval of its absolute value is its own
    assert first["ab"]["before"] == {name: leader[name] for name in ("value", "ci_low", "ci_high")}


def test_audit_is_independent_of_thread_order():
    table = tilted_table(500)
    rows = pa.table({"key": table.column("key"), "weight": np.arange(500) % 7 + 1.0, "copies": np.arange(500) % 5})
    backwards = table.take(np.arange(500)[::-1])
    assert audit(table, rows, n_bootstrap=20) == audit(backwards, rows, n_bootstrap=20)


def test_audit_intervals_hold_the_truth_as_often_as_they_say():
    rng, held = np.random.default_rng(0), []
    for _ in range(120):
        a = rng.random(400) < 0.6
        x = rng.random(400) < np.where(a, 0.3, 0.15)
        report = audit(pa.table({"sensitive.a.yes": a, "target.x": x}), n_bootstrap=100, seed=len(held))
        for row, truth in ((report["groups"][0], 0.6), (report["associations"][0], 0.15)):
            held.append(row["before"]["ci_low"] <= truth <= row["before"]["ci_high"])
    assert 0.90 < np.mean(held) < 0.985


def test_figures_are_written_as_png_and_html(tmp_path):
    table = tilted_table(500)
    balancer = M4Balancer(retention=0.4).fit(table)
    weights = pa.table({"key": table.column("key"), "weight": balancer.weight_, "copies": balancer.copies_})
    write_figures(audit(table, weights, n_bootstrap=10), tmp_path / "figures")
    for name in ("love_plot.png", "pairs.png", "kept.png"):
        assert (tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "figures/audit.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "http" not in page and "a.yes" in page


def test_the_commands_run_and_wrong_input_ends_with_status_2(tmp_path, monkeypatch, capsys):
    from evenclip.cli import app, main

    labels, out = tmp_path / "labels.parquet", tmp_path / "out"
    pq.write_table(tilted_table(), labels)
    run = CliRunner().invoke
    arguments = ["balance", str(labels), "--out", str(out), "--target", "a.yes=0.5", "--retention", "0.4",
                 "--option", "eps_rep=0.01", "--option", "target={b.yes: 0.4}"]  # fmt: skip
    assert run(app, arguments[:-2]).exit_code == 0
    assert json.loads((out / "manifest.json").read_text())["options"]["target"] == {"a.yes": 0.5}
    result = run(app, ["audit", str(labels), "--weights", str(out / "weights.parquet"), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["n"] == 3000
    assert "share of a.yes" in run(app, ["audit", str(labels)]).stdout
    result = run(app, ["audit", str(labels), "--target", "a.yes=0.7", "--json"])
    assert json.loads(result.stdout)["groups"][0]["target"] == 0.7
    monkeypatch.setattr("sys.argv", ["evenclip", "balance", str(labels), "--out", str(out), "--retention", "0.99"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2 and "largest feasible retention" in capsys.readouterr().err
    soft_result = run(app, [*arguments[:4], "--retention", "0.99", "--allow-infeasible"])
    assert soft_result.exit_code == 0 and "do NOT hold" in soft_result.stdout
    for wrong, words in (
        (["--target", "a.yes"], "'a.yes' is not of the form NAME=SHARE"),
        (["--retention", "-1"], "'retention': Input should be 'auto', or: Input should be greater than 0"),
    ):
        monkeypatch.setattr("sys.argv", ["evenclip", *arguments[:4], *wrong])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2 and words in capsys.readouterr().err


def test_options_survive_the_command_line():
    options = BalanceOptions(strategy="m4", target={"gender.woman": 0.4}, cap=2, retention=0.9, proxies=True)
    assert BalanceOptions.from_arguments(options.to_arguments()) == options


def test_thin_has_m4_weights_by_stratum_and_stays_biased():
    rng = np.random.default_rng(0)
    n = 4000
    draw = rng.random(n)
    woman, man = draw < 0.1, (draw >= 0.1) & (draw < 0.6)
    nurse = rng.random(n) < np.where(woman, 0.5, 0.1)
    table = pa.table({"sensitive.g.woman": woman, "sensitive.g.man": man, "target.nurse": nurse})
    m4, thin = M4Balancer().fit(table), M4Balancer(strategy="thin").fit(table)
    for shows_group in (True, False):
        for has_label in (True, False):
            stratum = ((woman | man) == shows_group) & (nurse == has_label)
            assert np.ptp(thin.weight_[stratum]) == 0
            assert thin.weight_[stratum][0] == pytest.approx(m4.weight_[stratum].mean(), rel=1e-5)
    assert thin.report_["ab_after"] > 0.7 * thin.report_["ab_before"] > 5 * m4.report_["ab_after"]
    assert thin.report_["retention"] == pytest.approx(m4.report_["retention"])


def label_table(n: int = 3000) -> tuple[pa.Table, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random((n, 3)) < [0.5, 0.1, 0.01]
    columns = {"sensitive.a.yes": rng.random(n) < 0.5} | {f"target.l{r}": labels[:, r] for r in range(3)}
    return pa.table(columns), labels


def test_metaclip_keeps_rows_as_its_published_algorithm_does():
    table, labels = label_table()
    entries = np.column_stack([labels, ~labels.any(1)])  # having no label is one more entry
    entry_count = np.maximum(entries.sum(0), 200)
    entry_prob = 200 / entry_count
    rng = np.random.default_rng(1)
    kept = np.zeros(len(table))
    for _ in range(300):  # the loop of the paper's algorithm 1
        for row in range(len(table)):
            for entry in np.flatnonzero(entries[row]):
                if rng.random() < entry_prob[entry]:
                    kept[row] += 1
                    break
    balancer = M4Balancer(strategy="metaclip", label_limit=200).fit(table)
    code = entries @ [1, 2, 4, 8]
    for cell in np.unique(code):
        rows = code == cell
        drawn = kept[rows].mean() / 300
        assert abs((balancer.weight_[rows] > 0).sum() - drawn * rows.sum()) <= 2 + 3 * np.sqrt(rows.sum() / 300)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_metaclip_finds_the_limit_that_keeps_a_share(share):
    table, _ = label_table()
    report = M4Balancer(strategy="metaclip", retention=share).fit(table).report_
    assert report["retention"] == pytest.approx(share, abs=1 / 3000)
    with pytest.raises(InputError, match="both say how many rows"):
        M4Balancer(strategy="metaclip", retention=share, label_limit=5).fit(table)


def test_audit_measures_the_four_crossings_of_sides():
    rng = np.random.default_rng(0)
    n = 3000
    by_image = rng.random(n) < 0.5
    by_text = np.where(rng.random(n) < 0.9, by_image, ~by_image)
    seen, named = rng.random(n) < 0.2 + 0.4 * by_image, rng.random(n) < 0.3 + 0.2 * by_text
    groups = {"image": by_image, "text": by_text}
    labels = {"image": seen, "text": named}
    columns = {f"{side}.sensitive.g.a": flags for side, flags in groups.items()}
    columns |= {f"{side}.target.nurse": flags for side, flags in labels.items()}
    table = pa.table(columns | {"key": [str(i) for i in range(n)]})
    crossings = audit(table, n_bootstrap=50)["crossings"]
    assert set(crossings) == {"text-text", "text-image", "image-text", "image-image"}
    for group, in_group in groups.items():
        for label, flags in labels.items():
            expected = abs(flags[in_group].mean() - flags[~in_group].mean())
            estimate = crossings[f"{group}-{label}"]["before"]
            assert estimate["value"] == pytest.approx(expected)
            assert estimate["ci_low"] <= expected <= estimate["ci_high"]
    balancer = M4Balancer(preserve="labels").fit(table)
    weights = pa.table({"key": table["key"], "weight": balancer.weight_, "copies": balancer.copies_})
    after = audit(table, weights, n_bootstrap=0)
    assert all(row["after"]["value"] < 0.03 for row in after["crossings"].values())
    assert audit(tilted_table(500), n_bootstrap=0)["crossings"] == {}
