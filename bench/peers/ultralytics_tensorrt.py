"""Ultralytics on the same plan: predict() of a decoded frame to boxes."""

from peer_loop import python_version, serve
from tensorrt_module import provide


def prepare(settings):
    tensorrt = provide()
    import cv2
    import torch
    import ultralytics

    image = cv2.imread(settings["image"])
    model = ultralytics.YOLO(settings["ultralytics_plan"], task="detect")
    how = {"conf": settings["threshold"], "iou": settings["iou"], "max_det": 300, "device": 0, "verbose": False}

    def run():
        result = model.predict(image, **how)[0]
        return len(result.boxes.data.cpu()), result.speed

    versions = f"ultralytics {ultralytics.__version__}, TensorRT {tensorrt}, torch {torch.__version__}, {python_version()}"
    return versions, "predict() of a decoded frame; boxes brought to the host", run


serve(prepare)
