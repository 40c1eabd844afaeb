"""trtutils on the same plan: end2end() of a decoded frame.

It does not decode raw YOLOv8 heads: its end2end() reads one output as rows of final boxes, so on such a plan it does less
than the others. With "complete" the missing decoding and NMS are added with NumPy and OpenCV.
"""

from peer_loop import decode_head, python_version, serve
from tensorrt_module import provide


def prepare(settings):
    tensorrt = provide()
    import cv2
    import trtutils
    from trtutils.image import Detector

    image = cv2.imread(settings["image"])
    detector = Detector(
        settings["bare_plan"],
        preprocessor="cuda",
        conf_thres=settings["threshold"],
        nms_iou_thres=settings["iou"],
        cuda_graph=True,
        pagelocked_mem=True,
        warmup=True,
        no_warn=True,
    )
    versions = f"trtutils {trtutils.__version__}, TensorRT {tensorrt}, {python_version()}"
    if not settings["complete"]:
        return versions, "end2end() with its CUDA kernels and graph; raw heads are not decoded, so it does less", (
            lambda: len(detector.end2end(image))
        )

    def run():
        # Its own fast path up to the raw output, which has no public name.
        outputs, ratios, paddings = detector._end2end_graph_core([image])
        (ratio, _), (left, top) = ratios[0], paddings[0]
        return len(decode_head(outputs[0], ratio, left, top, settings["threshold"], settings["iou"]))

    return versions, "its pre-processing, graph and copy, then decoding and NMS with NumPy and OpenCV", run


serve(prepare)
