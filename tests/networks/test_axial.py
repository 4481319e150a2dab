"""Axial attention against its formula written out, and MedT's tiles."""

import pytest
import torch

from masksup_med.networks import MedT
from masksup_med.networks._axial import _AxialAttention, _RelativePositions
from masksup_med.networks.medt import _from_tiles, _to_tiles


def attention_along_a_line(attention, line):
    """Medical Transformer, equation 3, for one line ``(C, L)``, place by place and head by head."""
    width, length = attention.width, line.shape[1]
    qkv = attention.norm_qkv(attention.qkv(line[None]))[0]
    table = None if attention.positions is None else attention.positions.table
    gates = torch.ones(4) if attention.gates is None else attention.gates
    out = torch.zeros_like(line)
    for head in range(8):
        q, k, v = qkv[head * 2 * width : (head + 1) * 2 * width].split([width // 2, width // 2, width])
        for i in range(length):
            logits = torch.zeros(length)
            for j in range(length):
                logits[j] = normed(attention.norm_qk, head, q[:, i] @ k[:, j])
                if table is not None:
                    q_at = table[: width // 2, i - j + length - 1]
                    k_at = table[width // 2 : width, j - i + length - 1]
                    logits[j] += gates[0] * normed(attention.norm_qr, head, q[:, i] @ q_at)
                    logits[j] += gates[1] * normed(attention.norm_kr, head, k[:, j] @ k_at)
            weights = logits.softmax(0)
            for channel in range(width):
                row = head * width + channel
                out[row, i] = normed(attention.norm_sv, row, v[channel] @ weights)
                if table is not None:
                    at = sum(weights[j] * table[width + channel, i - j + length - 1] for j in range(length))
                    out[row, i] *= gates[2]
                    out[row, i] += gates[3] * normed(attention.norm_sr, row, at)
    return out


def normed(norm, row, value):
    deviation = (norm.running_var[row] + norm.eps).sqrt()
    return (value - norm.running_mean[row]) / deviation * norm.weight[row] + norm.bias[row]


@pytest.mark.parametrize(("length", "gated"), [(5, True), (5, False), (None, False)])
@pytest.mark.parametrize("axis", [2, 3])
@torch.no_grad()
def test_formula(length, gated, axis):
    torch.manual_seed(0)
    attention = _AxialAttention(16, axis, length, gated).eval()
    for parameter in attention.parameters():
        parameter.normal_()
    for name, buffer in attention.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            buffer.normal_()
    image = torch.randn(1, 16, 5, 5)
    output = attention(image)
    for other in range(5):
        line = image.select(5 - axis, other)[0]
        expected = attention_along_a_line(attention, line)
        torch.testing.assert_close(output.select(5 - axis, other)[0], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_positions_are_interpolated():
    positions = _RelativePositions(1, 4)  # a table for distances -3 to 3
    positions.table.copy_(torch.arange(-3.0, 4.0).expand(2, 7))
    at_7 = positions(7)  # distances -6 to 6, over the same table
    assert torch.allclose(at_7[0, :, 0], torch.arange(7) / 2)
    assert torch.allclose(at_7[0, 0, 6], torch.tensor(-3.0))
    assert torch.equal(positions(4)[0, 1], torch.tensor([1.0, 0.0, -1.0, -2.0]))


def test_tiles_and_back():
    image = torch.rand(2, 3, 64, 96)
    tiles = _to_tiles(image, 32)
    assert tiles.shape == (12, 3, 32, 32)
    assert torch.equal(tiles[6 + 5], image[1, :, 32:, 64:])  # the second image's last
    assert torch.equal(_from_tiles(tiles, image), image)


@torch.no_grad()
def test_the_local_branch_sees_the_whole_of_a_large_image():
    network = MedT(3, 1).eval()
    seen = []
    network.local.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    network(torch.rand(1, 3, 224, 224))
    assert seen == [49]
