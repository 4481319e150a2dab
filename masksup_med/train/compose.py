"""Write the bundle that a training starts from: a shipped one's configs with this data set's settings."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from masksup_med.bundle.edit import with_settings
from masksup_med.bundle.location import find_bundle, overlay
from masksup_med.data.datalist import Datalist, save_datalist
from masksup_med.train.choices import Choice, Wishes
from masksup_med.train.labels import Drawn

__all__ = ["DATALIST", "check_wishes", "compose"]

DATALIST = Path("configs", "datalist.json")
_CONFIGS = ("train.yaml", "pretrain.yaml", "inference.yaml", "evaluate.yaml", "multi_gpu_train.yaml")
_HEADER = re.compile(r"\A(#.*\n)+")
_LICENCE = """\
The images and labels that this model was trained on belong to whoever made it; none of them is part of the bundle,
but for the sample pictures in docs/ and the file names in configs/datalist.json. Take both out before you pass it on.
"""


def check_wishes(wishes: Wishes) -> None:
    """Raise :class:`SettingError` if there is no such paradigm or network."""
    _overlays(wishes)


def compose(
    folder: Path, name: str, base: str, drawn: Drawn, choices: Iterable[Choice], wishes: Wishes, datalist: Datalist
) -> None:
    """Write a bundle without weights and model card.

    Args:
        folder: where to.
        name: of the bundle.
        base: name of the shipped bundle to start from.
        drawn: what labels mean.
        choices: whose settings to write.
        wishes: of the user.
        datalist: images for training and validation.
    """
    source = find_bundle(base)
    settings = _settings(drawn, choices, wishes)
    for file in _CONFIGS:
        text = (source / "configs" / file).read_text(encoding="utf-8")
        edited = with_settings(text, _kept(file, yaml.safe_load(text), settings, drawn))
        _write(folder / "configs" / file, _HEADERS[file].format(folder=name) + _HEADER.sub("", edited, count=1))
    _write(folder / "configs" / "metadata.json", _metadata(source, name, drawn))
    _write(folder / "docs" / "data_license.txt", _LICENCE)
    for copied in ("LICENSE", "configs/logging.conf"):
        shutil.copyfile(source / copied, folder / copied)
    (folder / "models").mkdir(exist_ok=True)
    save_datalist(datalist, folder / DATALIST)


def _settings(drawn: Drawn, choices: Iterable[Choice], wishes: Wishes) -> dict[str, Any]:
    """All settings that differ from the base's."""
    settings = _overlays(wishes)
    if drawn.kind == "values":
        several = overlay("classes", "several")
        if len(drawn.names) > 1:
            settings |= several | {"classes": len(drawn.values)}
        else:
            settings["load"] = [*several["load"], {"_target_": "AsDiscreted", "keys": "label", "threshold": 0.5}]
        settings["label_values"] = list(drawn.values)
    settings["network_def#out_channels"] = _channels(drawn)
    for choice in choices:
        settings |= choice.settings
    dataset = {"dataset_dir": f"$@bundle_root + '/{DATALIST.as_posix()}'"}
    return {**dataset, "seed": wishes.seed, **settings}


def _overlays(wishes: Wishes) -> dict[str, Any]:
    """The settings of what was asked for by name."""
    paradigm = {} if wishes.paradigm is None else overlay("paradigm", wishes.paradigm)
    return paradigm | overlay("network", wishes.network)


def _channels(drawn: Drawn) -> int:
    return 1 if len(drawn.names) == 1 else len(drawn.names) + 1


def _kept(file: str, there: Mapping[str, Any], settings: Mapping[str, Any], drawn: Drawn) -> dict[str, Any]:
    """Those of the settings that belong into a config."""
    if file == "train.yaml":
        return dict(settings)
    if file != "inference.yaml":
        return {}
    kept = {key: value for key, value in settings.items() if key.partition("#")[0] in there and key != "dataset_dir"}
    kept |= {"temperature": 1.0} | ({"mpp": None} if "mpp" in there else {})  # not what the base was calibrated to
    return kept | {"postprocessing#transforms": _decisions(there["postprocessing"]["transforms"], drawn)}


_RUN = "#   python -m monai.bundle run --config_file"
_HEADERS = {
    "train.yaml": f"# Written by `masksup train`. To train it anew:\n{_RUN} {{folder}}/configs/train.yaml\n",
    "pretrain.yaml": "# Teach the network without labels, before train.yaml: a masked autoencoder.\n"
    f"{_RUN} \"['{{folder}}/configs/train.yaml','{{folder}}/configs/pretrain.yaml']\"\n",
    "inference.yaml": "# Predict masks for a folder of images, at their own size, as PNG files of the same names.\n"
    f"{_RUN} {{folder}}/configs/inference.yaml --dataset_dir DIR --output_dir OUT\n",
    "evaluate.yaml": "# Measure trained weights on the validation images, after train.yaml:\n"
    f"{_RUN} \"['{{folder}}/configs/train.yaml','{{folder}}/configs/evaluate.yaml']\"\n",
    "multi_gpu_train.yaml": "# Train on several devices, after train.yaml; without CUDA, on as many processes:\n"
    "#   torchrun --standalone --nproc_per_node=2 -m monai.bundle run \\\n"
    "#     --config_file \"['{folder}/configs/train.yaml','{folder}/configs/multi_gpu_train.yaml']\"\n",
}


def _decisions(steps: list[dict[str, Any]], drawn: Drawn) -> list[dict[str, Any]]:
    """The base's steps after the network; with several classes, the most probable one is written as its number."""
    if len(drawn.names) == 1:
        return steps
    several: dict[str, dict[str, Any]] = {"Activationsd": {"softmax": True}, "AsDiscreted": {"argmax": True}}
    left_out = ("sigmoid", "threshold", "scale")
    return [
        {key: value for key, value in step.items() if key not in left_out} | several.get(step["_target_"], {})
        for step in steps
    ]


def _metadata(source: Path, name: str, drawn: Drawn) -> str:
    metadata = json.loads((source / "configs" / "metadata.json").read_text(encoding="utf-8"))
    for of_the_base in ("dicom_segments", "weights_sha256", "quality"):
        metadata.pop(of_the_base, None)
    names = ("background", *drawn.names)
    listed = ", ".join(drawn.names)
    several = len(drawn.names) > 1
    numbers = ", ".join(f"{number} {each}" for number, each in enumerate(names))
    metadata |= {
        "version": "0.1.0",
        "changelog": {"0.1.0": "made by masksup train"},
        "name": name,
        "task": f"Segmentation of {listed}",
        "description": f"A network that finds {listed} in images, trained by masksup train.",
        "authors": "who has trained it",
        "copyright": "Copyright (c) who has trained it",
        "data_source": "images and labels of who has trained it; see docs/README.md",
        "label_classes": f"one channel: {numbers}",
        "pred_classes": f"{len(names)} channels of logits: {numbers}"
        if several
        else f"one channel of logits: above 0 {listed}, else background",
        "eval_metrics": {},
        "references": metadata["references"][:1],
    }
    if drawn.kind == "values":
        metadata["label_values"] = list(drawn.values)
    data = metadata["network_data_format"]
    data["inputs"]["image"]["modality"] = "n/a"
    data["outputs"]["pred"] |= {
        "num_channels": _channels(drawn),
        "channel_def": {str(number): each for number, each in enumerate(names)},
    }
    return json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
