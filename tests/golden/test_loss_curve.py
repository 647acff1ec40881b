"""The loss curve of a small training, against the one on record: a change of the mathematics shows here.

To put a new curve on record after a change that is meant: EVENCLIP_WRITE_GOLDEN=1 pytest tests/golden
"""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evenclip.train import TrainOptions, train_model
from support.tiny_training import write_model, write_squares, write_weights

ON_RECORD = Path(__file__).with_name("loss_curve.json")
COLUMNS = ("loss", "grad_norm", "lr", "logit_scale")
TOLERANCE = 5e-3  # relative; orders of summation differ between processors, a wrong step moves a curve by far more


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_the_loss_curve_is_the_one_on_record(tmp_path: Path, objective: str):
    write_squares(tmp_path / "data", 96)
    weights = write_weights(tmp_path / "weights.parquet", {f"{i:05d}": i % 3 for i in range(96)})
    options = TrainOptions(
        model=str(write_model(tmp_path / "tiny.json")),
        objective=objective,
        samples_seen=640,
        batch_size=16,
        crop_scale_min=0.9,
        precision="fp32",
        device="cpu",
        log_every=4,
    )
    train_model(tmp_path / "data", weights, tmp_path / "run", 0, tmp_path / "state", options)
    history = pq.read_table(tmp_path / "run" / "history.parquet").to_pydict()
    curve = {name: [round(value, 6) for value in history[name]] for name in COLUMNS}
    on_record = json.loads(ON_RECORD.read_text()) if ON_RECORD.exists() else {}
    if os.environ.get("EVENCLIP_WRITE_GOLDEN"):
        on_record[objective] = curve
        ON_RECORD.write_text(json.dumps(on_record, indent=1) + "\n")
    for name in COLUMNS:
        assert curve[name] == pytest.approx(on_record[objective][name], rel=TOLERANCE), name
