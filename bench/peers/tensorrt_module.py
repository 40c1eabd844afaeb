"""Makes `import tensorrt` work where only NVIDIA's bindings are installed: their libraries come from LD_LIBRARY_PATH."""

import importlib.util
import sys


def provide():
    if importlib.util.find_spec("tensorrt") is None:
        import tensorrt_bindings

        sys.modules["tensorrt"] = tensorrt_bindings
    import tensorrt

    return tensorrt.__version__
