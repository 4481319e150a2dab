"""The label server: MONAI Label's routes for one app, behind a guard; runs where monailabel is installed.

Of MONAI Label's routes those are left out that nobody asks of a folder of pictures, and that would open more doors:
the proxies for DICOM servers, the upload of weights, sessions, logs, log-ins, pages that load scripts from elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request

from masksup_med.errors import MaskSupError, MissingDataError
from masksup_med.label.guard import LOOPBACK, Guard

__all__ = ["TOKEN", "main"]

logger = logging.getLogger("masksup_med")

TOKEN = "MASKSUP_LABEL_TOKEN"  # the environment has it, since other users can read a command
_MAX_BYTES = 512 << 20
_BEHIND = ("train", "scoring", "batch_infer")  # in processes of their own, of whose words MONAI Label makes log lines


def main(settings: Mapping[str, Any]) -> None:
    """Serve until interrupted.

    Args:
        settings: ``studies``, ``model``, ``host``, ``port``, and ``device`` or None.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    for work in _BEHIND:
        words = logging.getLogger(f"task_{work}")
        words.setLevel(logging.INFO)
        words.addFilter(lambda record: not record.getMessage().startswith("["))  # what MONAI Label says
    with tempfile.TemporaryDirectory(prefix="masksup-label-") as uploads:
        tempfile.tempdir = uploads  # where MONAI Label puts what it is sent
        _prepare(settings, uploads)
        _serve(settings)


def _prepare(settings: Mapping[str, Any], uploads: str) -> None:
    """Tell MONAI Label, and the processes that it starts, what to serve."""
    conf = {"model": settings["model"], "uploads": uploads}
    conf |= {"device": settings["device"]} if settings["device"] else {}
    os.environ |= {
        "MONAI_LABEL_APP_DIR": str(Path(__file__).parent / "app"),
        "MONAI_LABEL_STUDIES": settings["studies"],
        "MONAI_LABEL_APP_CONF": json.dumps(conf),
        "MONAI_LABEL_SERVER_PORT": str(settings["port"]),
        "MONAI_LABEL_SESSIONS": "false",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",  # the app does so when there is something to do
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # MONAI Label fails without
    }


def _serve(settings: Mapping[str, Any]) -> None:
    import uvicorn
    from monailabel.utils.async_tasks.utils import background_processes, stop_background_task

    host, token = settings["host"], os.environ.pop(TOKEN, None)
    hosts = (*LOOPBACK, host) if host in LOOPBACK else ()
    try:
        app = Guard(_application(settings), hosts, token, _MAX_BYTES)
        uvicorn.run(app, host=host, port=settings["port"], log_level="warning")
    finally:
        for method in background_processes:
            stop_background_task(method)


def _application(settings: Mapping[str, Any]) -> Any:
    """The routes."""
    from fastapi import Depends, FastAPI
    from monailabel.endpoints import activelearning, batch_infer, datastore, infer, info, scoring, train, wsi_infer
    from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException

    app = FastAPI(title="masksup label", docs_url=None, redoc_url=None, lifespan=partial(_lifespan, settings))
    for endpoint in (info, infer, wsi_infer, batch_infer, train, activelearning, scoring, datastore):
        app.include_router(endpoint.router, dependencies=[Depends(_known)])
    statuses = {
        MissingDataError: 404,
        ImageNotFoundException: 404,
        LabelNotFoundException: 404,
        MaskSupError: 400,
        MONAILabelException: 400,
        json.JSONDecodeError: 400,
    }
    for kind, status in statuses.items():
        app.add_exception_handler(kind, _answering(status))
    return app


@asynccontextmanager
async def _lifespan(settings: Mapping[str, Any], _: Any) -> AsyncIterator[None]:
    from monailabel.interfaces.utils.app import app_instance

    app = app_instance()
    app.server_mode(True)
    app.on_init_complete()
    host = f"[{settings['host']}]" if ":" in settings["host"] else settings["host"]
    waiting = len(app.datastore().unlabelled())
    logger.info(
        "%s serves at http://%s:%d; %d images wait for a label. Ctrl-C ends.",
        *(settings["model"], host, settings["port"], waiting),
    )
    yield


def _answering(status: int) -> Any:
    """What answers an error of a kind with its words."""
    from fastapi.responses import JSONResponse

    async def answer(_: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": getattr(error, "msg", None) or str(error)}, status)

    return answer


async def _known(request: Request) -> None:
    """Refuse routes to what there is not, before a process is started for it."""
    from monailabel.interfaces.utils.app import app_instance

    for kind, name in request.path_params.items():
        app_instance().check(kind, name)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except MaskSupError as failure:
        sys.exit(f"Error: {failure}")
