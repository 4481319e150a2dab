import base64
import io
import re
import subprocess
import sys

import jinja2
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from masksup_med.outputs import page
from masksup_med.outputs.page import picture_uri, write_page
from masksup_med.outputs.plots import INK, figure_svg, plot_style


def decoded(uri):
    kind, data = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def plot(height=1.0):
    with plot_style():
        figure = Figure((3, 2), layout="constrained")
        axes = figure.add_subplot()
        axes.bar([1, 2], [height, 2], color="#3d8fd1")
        axes.axvline(1.5, color=INK)
        axes.set_xlabel("a < b & c")
        return figure_svg(figure)


@pytest.fixture
def templates(tmp_path, monkeypatch):
    folder = tmp_path / "templates"
    folder.mkdir()
    monkeypatch.setattr(page, "_TEMPLATES", folder)
    return folder


@pytest.mark.parametrize(
    ("shape", "size"), [((1070, 1348, 3), (320, 254)), ((640, 64), (32, 320)), ((20, 30, 3), (30, 20))]
)
def test_picture_is_shrunk_to_its_longer_side(shape, size):
    picture = decoded(picture_uri(np.full(shape, 90, np.uint8)))
    assert picture.size == size
    assert picture.mode == ("RGB" if len(shape) == 3 else "L")
    assert np.abs(np.asarray(picture).astype(int) - 90).max() <= 1


def test_thin_coloured_lines_keep_their_colour():
    picture = np.full((64, 64, 3), 60, np.uint8)
    picture[:, 31] = (240, 228, 66)
    line = np.asarray(decoded(picture_uri(picture)))[:, 31].mean(axis=0)
    assert np.abs(line - (240, 228, 66)).max() < 30


def test_figure_is_the_same_every_time_whatever_the_user_has_set():
    first = plot()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert plot() == first
        assert dict(matplotlib.rcParams) == before


def test_figure_needs_and_tells_nothing_of_the_outside():
    svg = plot()
    assert svg.startswith("<svg") and svg.rstrip().endswith("</svg>")
    rest = re.sub(r'xmlns(:xlink)?="http://www.w3.org/[^"]*"', "", svg)
    assert "http" not in rest
    assert "<style" not in rest and "<metadata" not in rest and "Matplotlib" not in rest


def test_figure_follows_the_text_of_its_page():
    svg = plot()
    assert "a &lt; b &amp; c</text>" in svg
    assert "font-family: inherit" in svg
    assert "stroke: currentColor" in svg and INK not in svg
    assert "#3d8fd1" in svg


def test_two_figures_share_no_id_and_find_their_own():
    ids = []
    for svg in (plot(), plot(height=1.5)):
        own = re.findall(r'\bid="([^"]+)"', svg)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))


def test_all_is_escaped_but_figures(tmp_path, templates):
    (templates / "a.html").write_text("<p title='{{ name }}'>{{ name }}</p>{{ plot }}\n")
    write_page(tmp_path / "out" / "a.html", "a.html", name="<b>x' &", plot=plot())
    html = (tmp_path / "out" / "a.html").read_text()
    assert html == f"<p title='&lt;b&gt;x&#39; &amp;'>&lt;b&gt;x&#39; &amp;</p>{plot()}\n"


def test_what_is_missing_is_an_error_and_the_old_page_stays(tmp_path, templates):
    (templates / "a.html").write_text("{{ name }} {{ nothing }}")
    (tmp_path / "a.html").write_text("old")
    with pytest.raises(jinja2.UndefinedError, match="nothing"):
        write_page(tmp_path / "a.html", "a.html", name="x")
    assert (tmp_path / "a.html").read_text() == "old"


def test_names_that_are_no_text_do_not_stop_a_page(tmp_path, templates):
    (templates / "a.html").write_text("{{ name }}")
    write_page(tmp_path / "a.html", "a.html", name=b"caf\xe9 \xc3\xa9".decode("utf-8", "surrogateescape"))
    assert (tmp_path / "a.html").read_bytes() == b"caf? \xc3\xa9"


def test_base_page_lets_nothing_in(tmp_path, monkeypatch):
    folder = page._TEMPLATES
    assert (folder / "base.html").is_file()
    source = '{% extends "base.html" %}{% block title %}T{% endblock %}{% block content %}C{% endblock %}'
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"a.html": source}), jinja2.FileSystemLoader(folder)])
    monkeypatch.setattr(page, "FileSystemLoader", lambda _: loader)
    write_page(tmp_path / "a.html", "a.html")
    html = (tmp_path / "a.html").read_text()
    assert '<html lang="en">' in html and "<title>T</title>" in html
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert "<script" not in html and "http:" not in html and "https:" not in html


def test_neither_torch_nor_pyplot_is_loaded():
    code = "import sys, masksup_med.outputs.page as _; print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
