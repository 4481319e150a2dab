"""Results in an MLflow run that was named."""

import json
import shutil

from mlflow import MlflowClient

from masksup_med.cli import main
from tests.evaluate.masks import LABELS, PREDS, without_plots, write


def test_results_go_into_the_named_run(empty_store, tmp_path):
    preds, labels, out = write(tmp_path / "preds", PREDS), write(tmp_path / "labels", LABELS), tmp_path / "out"
    uri = f"sqlite:///{shutil.copy(empty_store, tmp_path)}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("test", artifact_location=(tmp_path / "mlruns").as_uri())
    run_id = client.create_run(experiment).info.run_id
    client.set_terminated(run_id, "FINISHED")
    arguments = ["--pred", str(preds), "--label", str(labels), "-o", str(out), "--task", "polyp"]
    with without_plots():
        assert main(["evaluate", *arguments, "--mlflow-run", run_id, "--tracking-uri", uri]) == 0
    results, run = json.loads((out / "metrics.json").read_text()), client.get_run(run_id)
    assert run.info.status == "FINISHED"
    for name, metric in results["metrics"].items():
        assert run.data.metrics[f"polyp/native/{name}"] == metric["value"]
        low = metric["interval"] and metric["interval"][0]
        assert run.data.metrics.get(f"polyp/native/{name}_low") == low
    assert results["metrics"]["lesion_f1"]["interval"] is None  # some resamples have neither lesion nor prediction
    artifacts = {item.path for item in client.list_artifacts(run_id, "evaluation/polyp/native")}
    assert {path.rpartition("/")[2] for path in artifacts} == {"metrics.json", "per_image.csv", "report.html"}
    client.delete_run(run_id)
    assert main(["evaluate", *arguments, "--mlflow-run", run_id, "--tracking-uri", uri]) == 1
