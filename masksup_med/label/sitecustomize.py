"""Start of every Python in the environment of MONAI Label, which imports this file; torch waits until it is needed.

Where torch is a CPU build, torchvision's import needs help; MONAI Label's own app for bundles imports it.
"""

import sys
from importlib.abc import MetaPathFinder


class _BeforeTorchvision(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname == "torchvision":
            sys.meta_path.remove(self)  # for what follows looks for it, too
            try:
                from masksup_med.networks._timm import prepare_torchvision

                prepare_torchvision()
            except ImportError:  # MONAI, half imported, asks whether it is there; it will be asked for again
                sys.meta_path.insert(0, self)
        return None


sys.meta_path.insert(0, _BeforeTorchvision())
