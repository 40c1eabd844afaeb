"""ONNX Runtime in Python with OpenCV and NumPy around it: a decoded frame to boxes, on the GPU where its build can."""

from time import perf_counter

from peer_loop import decode_head, letterbox, python_version, serve


def prepare(settings):
    import cv2
    import numpy as np
    import onnxruntime as ort

    wanted = ["CUDAExecutionProvider"] if settings["kind"] == "gpu" else []
    there = [name for name in wanted if name in ort.get_available_providers()]
    session = ort.InferenceSession(settings["onnx"], providers=[*there, "CPUExecutionProvider"])
    (tensor,) = session.get_inputs()
    size = tensor.shape[2] if isinstance(tensor.shape[2], int) else settings["size"]
    image = cv2.imread(settings["image"])

    def run():
        started = perf_counter()
        padded, ratio, left, top = letterbox(image, size)
        blob = cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True).astype(np.float32, copy=False)
        prepared = perf_counter()
        output = session.run(None, {tensor.name: blob})[0]
        inferred = perf_counter()
        boxes = len(decode_head(output, ratio, left, top, settings["threshold"], settings["iou"]))
        marks = {"preprocess": prepared - started, "inference": inferred - prepared, "postprocess": perf_counter() - inferred}
        return boxes, {stage: seconds * 1e3 for stage, seconds in marks.items()}

    where = session.get_providers()[0].removesuffix("ExecutionProvider")
    versions = f"onnxruntime {ort.__version__} on {where}, OpenCV {cv2.__version__}, {python_version()}"
    return versions, f"FP32 ONNX model on {where}; letterbox, blob and NMS by OpenCV and NumPy", run


serve(prepare)
