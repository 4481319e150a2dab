"""The application that MONAI Label loads: one bundle that predicts, learns, and says which image to label next."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.utils.async_tasks.utils import processes

from masksup_med import __version__
from masksup_med.errors import MissingDataError
from masksup_med.label.app.infer import Infer, outlines_file
from masksup_med.label.app.learning import MostDisagreement, RandomImage, Score
from masksup_med.label.app.train import FineTuning
from masksup_med.label.scores import Scores
from masksup_med.label.served import Served
from masksup_med.label.studies import Studies
from masksup_med.label.workspace import FOLDER, Workspace

__all__ = ["MaskSupLabel"]


class MaskSupLabel(MONAILabelApp):
    """Serve one working copy.

    Args:
        app_dir: this file's folder.
        studies: folder of the images.
        conf: ``model``, the name of the working copy; ``device``; ``uploads``, the folder where the server puts what it
            is sent.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        _speak_plainly()
        self._workspace = Workspace(Path(studies) / FOLDER / conf["model"])
        self._served = Served(self._workspace.folder, conf.get("device"))
        self._scores = Scores(self._workspace.folder)
        self._uploads = Path(conf["uploads"]).resolve()
        description = self._served.predictor.bundle.metadata.get("description", "")
        super().__init__(app_dir, studies, dict(conf), "masksup-med", description, __version__)

    def init_datastore(self) -> Studies:
        """The images and labels."""
        watch = os.environ.get("MONAI_LABEL_DATASTORE_AUTO_RELOAD", "true").lower() == "true"
        return Studies(self.studies, self._served.predictor.bundle.classes, watch)

    def init_infers(self) -> dict[str, InferTask]:
        """What predicts."""
        return {self._workspace.folder.name: Infer(self._served)}

    def init_trainers(self) -> dict[str, TrainTask]:
        """What fine-tunes."""
        return {self._workspace.folder.name: FineTuning(self._workspace, str(self._served.predictor.device))}

    def init_strategies(self) -> dict[str, Strategy]:
        """What chooses the next image."""
        return {"disagreement": MostDisagreement(self._scores), "random": RandomImage()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """What the choice depends on."""
        return {"disagreement": Score(self._scores, str(self._served.predictor.device))}

    def infer(self, request: Mapping[str, Any], datastore: Studies | None = None) -> dict[str, Any]:
        """Predict an image of the studies, or one that was sent along."""
        task, studies = _one_of(self._infers, request.get("model"), "model"), datastore or self.datastore()
        image = str(request["image"])
        sent = Path(image).resolve().is_relative_to(self._uploads)
        file, params = task({**request, "image": image if sent else str(studies.path_of(image))})
        label = file
        if file and request.get("save_label") and not sent:
            label = studies.save_label(image, file, request.get("label_tag", "original"), {"model": request["model"]})
        return {"label": label, "tag": "original", "file": file, "params": params}

    def infer_wsi(self, request: Mapping[str, Any], datastore: Studies | None = None) -> dict[str, Any]:
        """Predict an image, or a region of it, for programs that want outlines."""
        result = self.infer({**request, "output": "found"}, datastore)
        found = result["params"].pop("found")
        return outlines_file(found, request.get("output") or "dsa", request["model"], self._uploads)

    def batch_infer(self, request: Mapping[str, Any], datastore: Studies | None = None) -> Any:
        """Predict many images, one after the other."""
        _one_of(self._infers, request.get("model"), "model")
        return super().batch_infer({**request, "multi_gpu": False, "device": "cpu", "max_workers": 1}, datastore)

    def train(self, request: Mapping[str, Any]) -> Any:
        """Fine-tune, then look at all images with the new weights."""
        result = _one_of(self._trainers, request.get("model"), "model")(request, self.datastore())
        for method in self._scoring_methods:
            self.scoring({"method": method})
        return result

    def next_sample(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Choose the image to label next; have the server look at images that are new to it."""
        task = _one_of(self._strategies, request.get("strategy") or "disagreement", "strategy")
        studies = self.datastore()
        chosen = task(request, studies)
        if not chosen:
            return {}
        if not processes("scoring"):
            self.on_init_complete()
        return {**chosen, "path": str(studies.path_of(chosen["id"]))}

    def on_init_complete(self) -> None:
        """Look at images that are new."""
        if self._scores.known(self.datastore().unlabelled()).keys() != self.datastore().unlabelled().keys():
            self.async_scoring(None)

    def check(self, kind: str, name: str) -> None:
        """Refuse what there is not.

        Args:
            kind: ``model``, ``strategy`` or ``method``, as in the routes of MONAI Label.
            name: of it.

        Raises:
            MissingDataError: there is none of that name.
        """
        _one_of(
            {"model": self._infers, "strategy": self._strategies, "method": self._scoring_methods}[kind], name, kind
        )


def _speak_plainly() -> None:
    """Have messages go out as they are, for clients to show, without what libraries say of themselves."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("__main__", "ignite", "monailabel"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _one_of(there: Mapping[str, Any], name: Any, kind: str) -> Any:
    if name not in there:
        raise MissingDataError(f"There is no {kind} {name!r}; take one of {', '.join(there)}.")
    return there[name]
