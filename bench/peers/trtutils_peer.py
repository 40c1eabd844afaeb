"""trtutils on the same plan: end2end() of a decoded frame.

It does not decode raw YOLOv8 heads: its end2end() reads one output as rows of final boxes, so on such a plan it does less
than the others. With "complete" the missing decoding and NMS are added with NumPy and OpenCV. From 0.7 on it replays a CUDA graph; 0.6 has none.
"""

from peer_loop import decode_head, python_version, serve
from tensorrt_module import provide


def load(settings):
    """The detector, and whether it replays a graph."""
    how = {
        "preprocessor": "cuda",
        "conf_thres": settings["threshold"],
        "nms_iou_thres": settings["iou"],
        "pagelocked_mem": True,
        "warmup": True,
        "no_warn": True,
    }
    try:
        from trtutils.image import Detector
    except ImportError:
        from trtutils.impls.yolo import YOLO

        return YOLO(settings["bare_plan"], **how), False
    return Detector(settings["bare_plan"], cuda_graph=True, **how), True


def prepare(settings):
    tensorrt = provide()
    import cv2
    import trtutils

    image = cv2.imread(settings["image"])
    detector, has_graph = load(settings)
    versions = f"trtutils {trtutils.__version__}, TensorRT {tensorrt}, {python_version()}"
    way = "its CUDA kernels and graph" if has_graph else "its CUDA kernels"
    if not settings["complete"]:
        return versions, f"end2end() with {way}; raw heads are not decoded, so it does less", (
            lambda: len(detector.end2end(image))
        )

    # Its own fast path up to the raw output, which has no public name.
    def raw():
        if has_graph:
            outputs, ratios, paddings = detector._end2end_graph_core([image])
            return outputs[0], ratios[0], paddings[0]
        pointer, ratios, padding = detector._preprocessor.direct_preproc(image, no_warn=True)
        return detector.engine.direct_exec([pointer], no_warn=True)[0], ratios, padding

    def run():
        output, (ratio, _), (left, top) = raw()
        return len(decode_head(output, ratio, left, top, settings["threshold"], settings["iou"]))

    return versions, f"{way} and the copy of the output, then decoding and NMS with NumPy and OpenCV", run


serve(prepare)
