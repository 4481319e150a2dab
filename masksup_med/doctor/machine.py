"""The machine, and what can compute on it."""

from __future__ import annotations

import os
import platform
from functools import partial
from pathlib import Path
from typing import Any

from masksup_med.doctor.findings import Finding, tried

__all__ = ["check_devices", "check_runtimes", "describe_system"]

_GIB = 1 << 30
_BF16 = ("avx512_bf16", "amx_bf16")
_ONNX, _OPENVINO = "pip install 'masksup-med[onnx]'", "pip install 'masksup-med[openvino]'"
_DRIVER = "see that the driver is as new as torch wants: https://pytorch.org"
_TORCH = "install torch again: https://pytorch.org"


def describe_system() -> dict[str, Any]:
    """Versions, where the package lies, and the size of the machine."""
    import masksup_med

    memory = _memory()
    return {
        "masksup_med": masksup_med.__version__,
        "location": str(Path(masksup_med.__file__).parent),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": None if memory is None else round(memory / _GIB, 1),
    }


def _memory() -> int | None:
    """Bytes of memory; None where the system does not say it in this way, as Windows."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_devices() -> list[Finding]:
    """Let each device that torch sees compute a convolution."""
    cpu = tried("cpu", partial(_convolve, "cpu"), "torch", _TORCH, required=True)
    return [cpu, *(_accelerators() if cpu.state == "ok" else [])]


def _accelerators() -> list[Finding]:
    import torch

    kind = torch.accelerator.current_accelerator()
    names = [f"{kind.type}:{index}" for index in range(torch.accelerator.device_count())] if kind else []
    found = [tried(name, partial(_convolve, name), remedy=_DRIVER) for name in names]
    return found or [Finding("gpu", "missing", *_why_none())]


def _why_none() -> tuple[str, str]:
    import torch

    has_driver = Path("/proc/driver/nvidia/version").exists()
    if has_driver and torch.version.cuda is None and torch.version.hip is None:
        return "there is an NVIDIA driver, but this torch is a CPU build", "install a CUDA build: https://pytorch.org"
    if built := torch.version.cuda or torch.version.hip:
        return f"torch is built for CUDA or ROCm {built}, but finds no GPU that works", _DRIVER if has_driver else ""
    return "none is seen by torch, which is a CPU build", ""


def _convolve(device: str) -> str:
    """Convolve ones by ones, of which 4 channels and 9 places are summed, and describe the device."""
    import torch

    image, weight = torch.ones(1, 4, 16, 16, device=device), torch.ones(4, 4, 3, 3, device=device)
    with torch.inference_mode(), torch.autocast(device.partition(":")[0], enabled=device.startswith("cuda")):
        result = torch.nn.functional.conv2d(image, weight)
    if not bool((result == 36).all()):
        raise RuntimeError(f"a convolution gives {result.flatten()[0].item()} instead of 36")
    return _describe(device)


def _describe_cpu() -> str:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    listed: Any = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.10
    has = [name for name in _BF16 if listed.get(name)] if listed else _flags()
    return f"{capability}; bf16: {', '.join(has) or 'no instructions'}; threads of torch: {torch.get_num_threads()}"


def _flags() -> list[str]:
    """Instructions for bf16, as Linux lists them."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return []
    return [name for name in _BF16 if name in words]


def _describe(device: str) -> str:
    import torch

    if device == "cpu":
        return _describe_cpu()
    if not device.startswith("cuda"):
        return ""
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / _GIB:.1f} GiB, CUDA {torch.version.cuda}"


def check_runtimes() -> list[Finding]:
    """Let each runtime run a network of one layer."""
    return [
        tried("torch", _try_torch, "torch", _TORCH, required=True),
        tried("onnx", _try_onnx, "onnx onnxruntime", _ONNX),
        tried("openvino", _try_openvino, "openvino", _OPENVINO),
    ]


def _try_torch() -> str:
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    network(torch.ones(1, 3, 8, 8)).sum().backward()
    return torch.__version__


def _try_onnx() -> str:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    _check(session.run(None, {"x": np.array([-1, 1], np.float32)})[0])
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    return f"{onnxruntime.__version__}; providers: {providers}"


def _try_openvino() -> str:
    import numpy as np
    import openvino
    from openvino import opset8

    values = opset8.parameter([2], np.float32)
    core = openvino.Core()
    compiled = core.compile_model(openvino.Model([opset8.relu(values)], [values], "relu"), "CPU")
    _check(compiled([np.array([-1, 1], np.float32)])[0])
    bf16 = ", bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else ""
    return f"{openvino.__version__.partition('-')[0]}; devices: {', '.join(core.available_devices)}{bf16}"


def _check(result: Any) -> None:
    if list(result) != [0, 1]:
        raise RuntimeError(f"max(0, (-1, 1)) gives {list(result)}")
