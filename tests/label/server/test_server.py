"""The server, driven by MONAI Label's own client: annotate, learn, undo; and what it refuses.

The tests of a module go on from each other, in their order, as annotators do.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import itk
import numpy as np
import pytest
from monailabel.client import MONAILabelClient
from PIL import Image

from masksup_med.bundle.bundle import Bundle
from masksup_med.label.annotations import read_annotation
from masksup_med.label.scores import disagreement_of, viewing
from tests.label.server.conftest import MODEL, Server, asked, ended, masksup, mean_dice

LABELLED = [f"phantom_{number:04d}" for number in range(10)]
HELD_OUT = [f"phantom_{number:04d}" for number in range(10, 16)]


@pytest.fixture
def client(server: Server) -> MONAILabelClient:
    return MONAILabelClient(server.url)


def working_copy(server: Server) -> Path:
    return server.studies / "masksup" / MODEL


def test_it_says_what_it_serves(client):
    info = client.info()
    assert list(info["models"]) == list(info["trainers"]) == [MODEL]
    assert info["labels"] == ["polyp"]
    assert list(info["strategies"]) == ["disagreement", "random"]
    assert info["datastore"] == {"total": 16, "completed": 0, "label_tags": {}}
    assert sorted(client.datastore()["objects"]) == [*LABELLED, *HELD_OUT]


def test_masks_have_the_image_s_size_and_place(server, client):
    file, params = client.infer(MODEL, "phantom_0000", {})
    mask = np.asarray(Image.open(file))
    assert mask.shape == np.asarray(Image.open(server.studies / "phantom_0000.png")).shape[:2]
    assert set(np.unique(mask)) <= {0, 1}
    assert params["label_names"] == {"polyp": 1}
    file, _ = client.infer(MODEL, "phantom_0000", {"result_extension": ".nrrd"})
    assert np.array_equal(itk.array_from_image(itk.imread(file))[0], mask)


def test_an_image_may_be_sent_along(server, client, tmp_path):
    path = tmp_path / "sent.bmp"
    Image.open(server.studies / "phantom_0001.png").save(path)
    sent, _ = client.infer(MODEL, "", {}, file=str(path))
    kept, _ = client.infer(MODEL, "phantom_0001", {})
    assert np.array_equal(np.asarray(Image.open(sent)), np.asarray(Image.open(kept)))


def test_the_next_image_is_that_of_most_disagreement(server, client):
    assert ended(server.url, "scoring")["status"] == "DONE"
    predictor = viewing(Bundle(working_copy(server)), "cpu")
    scores = {name: disagreement_of(predictor, server.studies / f"{name}.png") for name in [*LABELLED, *HELD_OUT]}
    order = sorted(scores, key=lambda name: -scores[name])
    first, second = client.next_sample("disagreement", {}), client.next_sample("disagreement", {})
    assert [first["id"], second["id"]] == order[:2]
    assert first["disagreement"] == pytest.approx(scores[order[0]], abs=1e-4)
    assert client.next_sample("random", {})["id"] not in order[:2]


def test_labels_are_taken_in_every_format(server, client, tmp_path):
    for number, name in enumerate(LABELLED):
        truth = (np.asarray(Image.open(server.truth / f"{name}.png")) > 0).astype(np.uint8)
        suffix = (".png", ".nii.gz", ".nrrd")[number % 3]
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".png":
            Image.fromarray(truth * np.uint8(255)).save(path)
        else:
            itk.imwrite(itk.image_from_array(truth[np.newaxis]), str(path))
        client.save_label(name, str(path), params={})
        kept = np.asarray(Image.open(server.studies / "labels" / "final" / f"{name}.png"))
        assert np.array_equal(kept, truth)
    assert client.info()["datastore"]["completed"] == len(LABELLED)
    assert client.next_sample("disagreement", {})["id"] in HELD_OUT


def test_outlines_in_xml_are_a_label_too(server, client, tmp_path):
    _, xml = client.wsi_infer(MODEL, "phantom_0002", output="asap")
    path = tmp_path / "phantom_0002.xml"
    path.write_bytes(xml)
    mask = np.asarray(Image.open(client.infer(MODEL, "phantom_0002", {})[0]))
    assert np.array_equal(read_annotation(path, mask.shape[::-1], {1: "polyp"}), mask)
    before = (server.studies / "labels" / "final" / "phantom_0002.png").read_bytes()
    client.save_label("phantom_0002", str(path), params={})
    kept = server.studies / "labels" / "final" / "phantom_0002.png"
    assert np.array_equal(np.asarray(Image.open(kept)), mask)
    kept.write_bytes(before)


def test_a_label_that_does_not_fit_is_refused(server, tmp_path):
    path = tmp_path / "small.png"
    Image.new("L", (8, 8)).save(path)
    kept = (server.studies / "labels" / "final" / "phantom_0000.png").read_bytes()
    with open(path, "rb") as file:
        response = asked("put", f"{server.url}/datastore/label?image=phantom_0000", files={"label": file})
    assert response.status_code == 400
    assert "save it in the image's own size" in response.json()["detail"]
    assert (server.studies / "labels" / "final" / "phantom_0000.png").read_bytes() == kept


def test_it_learns_and_can_forget(server, client):
    weights = working_copy(server) / "models" / "model.pt"
    original, shipped = weights.read_bytes(), server.studies.parent / MODEL / "models" / "model.pt"
    before = mean_dice(client, server.truth, HELD_OUT)
    client.train_start(MODEL, {"max_epochs": 100})
    task = ended(server.url, "train")
    assert task["status"] == "DONE", task["details"]
    after = mean_dice(client, server.truth, HELD_OUT)
    assert after > before + 0.2
    stats = client.info()["train_stats"][MODEL]
    assert stats["accepted"]
    assert (stats["training"], stats["validation"]) in [(10 - held, held) for held in range(1, 6)]
    assert shipped.read_bytes() == original
    assert (weights.with_name("before_1.pt")).read_bytes() == original
    subprocess.run([masksup(), "label", "--studies", str(server.studies), "--undo"], check=True)
    assert weights.read_bytes() == original
    assert mean_dice(client, server.truth, HELD_OUT) == pytest.approx(before)


def test_batches_are_predicted_on_the_cpu(server, client):
    response = asked("post", f"{server.url}/batch/infer/{MODEL}?images=unlabeled", json={})
    assert response.status_code == 200
    task = ended(server.url, "batch/infer")
    assert task["status"] == "DONE", task["details"]
    kept = sorted(path.stem for path in (server.studies / "labels" / "original").glob("*.png"))
    assert kept == HELD_OUT


def test_contours_are_what_cvat_s_detector_reads(server, client):
    _, answer = client.infer(MODEL, "phantom_0003", {"output": "json"})
    (annotation,) = json.loads(answer)["annotations"]
    for element in annotation["annotation"]["elements"]:
        assert element["label"] == "polyp"
        assert np.array(element["contours"][0]).shape[1] == 2


def test_a_region_lies_where_it_belongs(server, client):
    body = {"location": [16, 8], "size": [40, 48]}
    answer = json.loads(client.wsi_infer(MODEL, "phantom_0003", body, output="dsa")[1])
    points = np.array([point[:2] for element in answer["elements"] for point in element["points"]])
    assert len(points)
    assert points.min(axis=0).tolist() >= [16, 8]
    assert (points.max(axis=0) <= [56, 56]).all()
    file, _ = client.infer(MODEL, "phantom_0003", body)
    mask = np.asarray(Image.open(file))
    assert mask[8:56, 16:56].any()
    assert not mask[:8].any()
    assert not mask[:, :16].any()
    response = asked(
        "post", f"{server.url}/infer/wsi/{MODEL}?image=phantom_0003", json={"location": [999, 0], "size": [9, 9]}
    )
    assert response.status_code == 400
    assert "beyond the image" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("post", "/infer/absent?image=phantom_0000", 404),
        ("post", f"/infer/{MODEL}?image=absent", 404),
        ("post", "/activelearning/absent", 404),
        ("post", "/train/absent", 404),
        ("post", "/scoring/absent", 404),
        ("post", "/batch/infer/absent", 404),
        ("get", "/datastore/image?image=absent", 404),
        ("get", "/datastore/label?label=absent&tag=final", 404),
        ("put", "/datastore/image/info?image=absent", 404),
        ("get", "/proxy/dicom/x", 404),
        ("get", f"/model/{MODEL}", 404),
        ("delete", "/datastore/image?id=phantom_0000", 400),
        ("post", f"/infer/{MODEL}?image=phantom_0000&output=nonsense", 422),
    ],
)
def test_what_there_is_not_is_told_in_words(server, method, path, status):
    response = asked(method, server.url + path)
    assert response.status_code == status
    assert response.json()["detail"]


def test_no_name_leaves_the_folder_of_the_studies(server, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (80, 64)).save(secret)
    inside = os.path.relpath(secret, server.studies)
    before = {path: path.stat().st_mtime_ns for path in server.studies.parent.rglob("*") if path.is_file()}
    for name in (str(secret), inside, inside[:-4], "masksup/../phantom_0000"):
        assert asked("post", f"{server.url}/infer/{MODEL}", params={"image": name}).status_code == 400
        body = {"params": json.dumps({"image": name})}
        hidden = asked("post", f"{server.url}/infer/{MODEL}?image=phantom_0000", data=body)
        assert hidden.status_code == 404
        assert asked("get", f"{server.url}/datastore/image", params={"image": name}).status_code == 400
        with open(secret, "rb") as file:
            upload = asked("put", f"{server.url}/datastore/image", params={"image": name}, files={"file": file})
        assert upload.status_code == 400
        with open(server.truth / "phantom_0000.png", "rb") as file:
            place = {"image": "phantom_0000", "tag": name}
            assert asked("put", f"{server.url}/datastore/label", params=place, files={"label": file}).status_code == 400
    after = {path: path.stat().st_mtime_ns for path in server.studies.parent.rglob("*") if path.is_file()}
    changed = {path for path in after if after[path] != before.get(path)}
    assert {path.name for path in changed} <= {"server.log", "datastore_v2.json"}


def test_an_image_may_be_added(server, client):
    with open(server.truth.parent / "images" / "phantom_0000.png", "rb") as file:
        response = asked("put", f"{server.url}/datastore/image?image=another", files={"file": file})
        assert response.json() == {"image": "another"}
    assert client.infer(MODEL, "another", {})[0]
    with open(server.truth.parent / "images" / "phantom_0001.png", "rb") as file:
        again = asked("put", f"{server.url}/datastore/image?image=another", files={"file": file})
    assert again.status_code == 400
    bad = asked("put", f"{server.url}/datastore/image?image=bad", files={"file": ("bad.png", b"no picture")})
    assert bad.status_code == 400


def test_other_websites_reach_nothing(server):
    assert asked("get", f"{server.url}/info/", headers={"Origin": "https://evil.example"}).status_code == 403
    assert asked("get", f"{server.url}/info/", headers={"Host": "evil.example"}).status_code == 403


def test_it_ends_with_all_that_it_has_started(server):
    import psutil

    asked("post", f"{server.url}/train/{MODEL}", json={"max_epochs": 500})
    parent = psutil.Process(server.process.pid)
    for _ in range(200):
        if children := parent.children(recursive=True):
            break
        time.sleep(0.1)
    server.process.send_signal(2)
    server.process.wait(30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert children
    assert not alive


def test_the_terminal_has_told_what_happened(server):
    lines = (server.studies.parent / "server.log").read_text(encoding="utf-8").splitlines()
    assert any(f"{MODEL} serves at {server.url}; 16 images wait for a label" in line for line in lines)
    assert any("held-out images" in line for line in lines)
    assert any(line.startswith("epoch 100/100") for line in lines)
    assert not [line for line in lines if line.startswith("[")]
