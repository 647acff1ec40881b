"""A training that is watched in an MLflow store whose server is lost and comes back."""

from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from evenclip.track.live import EXPERIMENT, live_log
from evenclip.train import TrainOptions, train_model
from support.tiny_training import write_model, write_squares, write_weights

N_STEPS, LOST_AT, BACK_AT = 200, 60, 120


def check_live_training(folder: Path, uri: str, lose: Callable[[], None], bring_back: Callable[[], None]) -> None:
    """Train in ``folder``, call the functions at their steps; assert that the store has every point in the end."""
    write_squares(folder / "data", 64)
    weights = write_weights(folder / "weights.parquet", {f"{i:05d}": 1 for i in range(64)})
    plain = {"model": str(write_model(folder / "tiny.json")), "samples_seen": N_STEPS * 16, "batch_size": 16}
    options = TrainOptions(**plain, log_every=2, device="cpu", precision="fp32")
    seen = []
    with live_log(uri, "run/seed0") as watch:

        def watch_and_disturb(row: dict) -> None:
            watch(row)
            seen.append(row["step"])
            if row["step"] == LOST_AT:
                lose()
            if row["step"] == BACK_AT:
                bring_back()

        state, out = folder / "state", folder / "run"
        train_model(folder / "data", weights, out, 0, state, options, watch=watch_and_disturb)
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    steps = {point.step for point in client.get_metric_history(run.info.run_id, "train/loss")}
    assert seen == list(range(2, N_STEPS + 1, 2)) and steps == set(seen)
    assert run.info.status == "FINISHED" and (out / "model.safetensors").is_file()
