"""Ultralytics' own PyTorch path in FP16: predict() of a decoded frame to boxes.

The network is yolov8n with random weights: the same computation, no boxes, so that NMS has nothing to do.
"""

from peer_loop import python_version, serve


def prepare(settings):
    import cv2
    import torch
    import ultralytics

    image = cv2.imread(settings["image"])
    model = ultralytics.YOLO("yolov8n.yaml", task="detect")
    how = {"conf": settings["threshold"], "iou": settings["iou"], "imgsz": settings["size"], "half": True, "rect": False}

    def run():
        result = model.predict(image, device=0, verbose=False, **how)[0]
        return len(result.boxes.data.cpu()), result.speed

    versions = f"ultralytics {ultralytics.__version__}, torch {torch.__version__}, {python_version()}"
    return versions, "yolov8n in FP16 with random weights: the same computation, but nothing for NMS to do", run


serve(prepare)
