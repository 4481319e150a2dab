"""``masksup label`` as far as it needs no MONAI Label; the rest is in tests/label/server."""

from __future__ import annotations

import socket
import sys

import pytest

from masksup_med.cli import main
from masksup_med.label.environment import python
from tests.bundle.bundles import blank_copy, write_bundle


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "studies").mkdir()
    return tmp_path / "studies"


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """An environment without MONAI Label."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--studies DIR"),
        (["--studies", "absent"], "There is no folder"),
        (["--studies", "studies"], "Say which bundle by --bundle."),
        (["--studies", "studies", "--bundle", "absent"], "absent"),
        (["--studies", "studies", "--bundle", "blank"], "has no weights"),
        (["--studies", "studies", "--undo"], "Say which bundle"),
    ],
)
def test_what_is_missing_is_told_in_a_sentence(options, words, studies, monkeypatch, capsys):
    monkeypatch.chdir(studies.parent)
    blank_copy("polyp_masksup", studies.parent / "blank")
    assert main(["label", *options]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(studies.iterdir())


def test_without_monai_label_it_says_how_to_get_it(studies, elsewhere, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "my_polyps")
    assert main(["label", "--studies", str(studies), "--bundle", str(bundle)]) == 1
    assert "masksup label --install" in capsys.readouterr().err


def test_without_an_environment_of_its_own_it_does_not_install(monkeypatch, capsys):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert main(["label", "--install"]) == 1
    assert "virtual environment" in capsys.readouterr().err


def test_an_environment_that_was_not_finished_is_none(elsewhere, tmp_path):
    (tmp_path / "environment" / "monai-label" / "bin").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="--install"):
        python()


@pytest.fixture
def installed(monkeypatch):
    """As if MONAI Label were there."""
    monkeypatch.setattr("masksup_med.label.environment.python", lambda: sys.executable)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_others_are_not_listened_to_without_a_token(host, studies, installed, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "my_polyps")
    assert main(["label", "--studies", str(studies), "--bundle", str(bundle), "--host", host]) == 1
    assert "give --token" in capsys.readouterr().err


def test_a_port_that_cannot_be_had_is_told(studies, installed, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "my_polyps")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for each in (port, "99999"):
            assert main(["label", "--studies", str(studies), "--bundle", str(bundle), "--port", each]) == 1
            assert f"Nothing can listen to port {each} on 127.0.0.1" in capsys.readouterr().err


def test_nothing_is_undone_that_was_not_done(studies, elsewhere, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "my_polyps")
    main(["label", "--studies", str(studies), "--bundle", str(bundle)])
    assert main(["label", "--studies", str(studies), "--undo"]) == 1
    assert "nothing to undo" in capsys.readouterr().err
