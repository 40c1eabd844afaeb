"""The CPU stages of a detector as they are done in Python, timed one at a time on request.

Reads one JSON command a line on standard input and answers each with one JSON line:
  {"stage": "setup", "image": PATH, "size": 640, "output": PATH or null, "threshold": 0.25, "iou": 0.7}
  {"stage": "decode" | "preprocess" | "blob" | "postprocess"}  ->  {"ms": 1.23, "count": 4}
"""

import json
import sys
import time

try:
    import cv2
    import numpy as np
except ImportError as error:
    print(json.dumps({"missing": error.name}), flush=True)
    sys.exit(0)

GREY = (114, 114, 114)


def letterbox(image, size):
    height, width = image.shape[:2]
    ratio = min(size / height, size / width)
    content = round(width * ratio), round(height * ratio)
    left, top = (size - content[0]) / 2, (size - content[1]) / 2
    resized = cv2.resize(image, content, interpolation=cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(
        resized,
        round(top - 0.1), round(top + 0.1), round(left - 0.1), round(left + 0.1),
        cv2.BORDER_CONSTANT, value=GREY,
    )  # fmt: skip


class Stages:
    def __init__(self, image, size, output, threshold, iou):
        self.bytes = np.fromfile(image, dtype=np.uint8)
        self.size, self.threshold, self.iou = size, threshold, iou
        self.image = cv2.imdecode(self.bytes, cv2.IMREAD_COLOR)
        self.output = None if output is None else np.fromfile(output, dtype=np.float32).reshape(1, 84, -1)

    def decode(self):
        return cv2.imdecode(self.bytes, cv2.IMREAD_COLOR).shape[0]

    def preprocess(self):
        planes = np.ascontiguousarray(letterbox(self.image, self.size)[..., ::-1].transpose(2, 0, 1))
        return (planes.astype(np.float32) / 255)[None].shape[0]

    def blob(self):
        return cv2.dnn.blobFromImage(letterbox(self.image, self.size), 1 / 255, swapRB=True).shape[0]

    def postprocess(self):
        rows = self.output[0].T
        classes = rows[:, 4:]
        scores = classes.max(axis=1)
        chosen = scores >= self.threshold
        scores = scores[chosen]
        ids = classes[chosen].argmax(axis=1)
        boxes = rows[chosen, :4].copy()
        boxes[:, :2] -= boxes[:, 2:] / 2
        kept = cv2.dnn.NMSBoxesBatched(boxes, scores, ids, self.threshold, self.iou)
        boxes[:, 2:] += boxes[:, :2]
        return len(boxes[kept])


stages = None
for line in sys.stdin:
    command = json.loads(line)
    stage = command.pop("stage")
    if stage == "setup":
        stages = Stages(**command)
        height, width = stages.image.shape[:2]
        answer = {
            "versions": f"OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads, NumPy {np.__version__}, "
            f"Python {sys.version.split()[0]}",
            "width": width,
            "height": height,
        }
    else:
        run = getattr(stages, stage)
        started = time.perf_counter()
        count = run()
        answer = {"ms": (time.perf_counter() - started) * 1e3, "count": count}
    print(json.dumps(answer), flush=True)
