"""The CPU stages of a detector as they are done in Python, one at a time: decode, preprocess, blob, postprocess.

`blob` is `preprocess` by cv2.dnn.blobFromImage. `output` of the settings is a file of the raw f32 values of a
[1, 84, anchors] output; empty where there is none to post-process.
"""

from peer_loop import letterbox, python_version, serve


def prepare(settings):
    import cv2
    import numpy as np

    size, threshold, iou = settings["size"], settings["threshold"], settings["iou"]
    data = np.fromfile(settings["image"], dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    output = np.fromfile(settings["output"], dtype=np.float32).reshape(1, 84, -1) if settings["output"] else None

    def decode():
        return cv2.imdecode(data, cv2.IMREAD_COLOR).shape[0]

    def preprocess():
        planes = np.ascontiguousarray(letterbox(image, size)[0][..., ::-1].transpose(2, 0, 1))
        return (planes.astype(np.float32) / 255)[None].shape[0]

    def blob():
        return cv2.dnn.blobFromImage(letterbox(image, size)[0], 1 / 255, swapRB=True).shape[0]

    def postprocess():
        rows = output[0].T
        classes = rows[:, 4:]
        scores = classes.max(axis=1)
        chosen = scores >= threshold
        scores = scores[chosen]
        ids = classes[chosen].argmax(axis=1)
        boxes = rows[chosen, :4].copy()
        boxes[:, :2] -= boxes[:, 2:] / 2
        kept = cv2.dnn.NMSBoxesBatched(boxes, scores, ids, threshold, iou)
        boxes[:, 2:] += boxes[:, :2]
        return len(boxes[kept])

    stages = {"decode": decode, "preprocess": preprocess, "blob": blob, "postprocess": postprocess}
    threads = f"OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads"
    versions = f"{threads}, NumPy {np.__version__}, {python_version()}"
    return versions, "a stage at a time", lambda stage="decode": stages[stage]()


serve(prepare)
