"""The CPU stages of a detector as they are done in Python, one at a time: decode, preprocess, blob, postprocess.

`blob` is `preprocess` by cv2.dnn.blobFromImage; `blob-WIDTHxHEIGHT` does it of noise of that size, resized into a canvas that is
kept, and `blob-1-WIDTHxHEIGHT` with one thread. Freed memory stays the process', as in a server that runs for long. `output` of the settings is a file of the raw f32 values of a
[1, 84, anchors] output; empty where there is none to post-process. `masks` is a file of f32 values too: prototypes
[32, 160, 160], coefficients [objects, 32] and boxes [objects, 4] in pixels of an image of 1920x1080; empty where none are made.
The stage `masks` makes them at the size of the image, as Ultralytics' `process_mask_native` does; `maskBoxes` samples only what is under a box.
"""

import time

from peer_loop import letterbox, python_version, serve


def keep_memory():
    """Have glibc keep what is freed, up to the 32 MiB that it can be told: fresh pages cost as much as the work in them."""
    import ctypes

    trim_threshold, mmap_threshold = -1, -3
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_threshold, 32 << 20)
    libc.mallopt(trim_threshold, 1 << 30)


def prepare(settings):
    import cv2
    import numpy as np

    keep_memory()

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

    usual_threads = cv2.getNumThreads()
    canvases = {}

    def canvas_of(name):
        width, height = map(int, name.split("x"))
        noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
        ratio = min(size / height, size / width)
        content = round(width * ratio), round(height * ratio)
        left, top = (size - content[0]) // 2, (size - content[1]) // 2
        canvas = np.full((size, size, 3), 114, np.uint8)
        return noise, content, canvas, canvas[top : top + content[1], left : left + content[0]]

    def blob_of(name):
        threads, _, name = name.rpartition("-")
        if name not in canvases:
            canvases[name] = canvas_of(name)
        noise, content, canvas, inside = canvases[name]
        cv2.setNumThreads(int(threads) if threads else usual_threads)
        started = time.perf_counter()
        cv2.resize(noise, content, dst=inside, interpolation=cv2.INTER_LINEAR)
        cv2.dnn.blobFromImage(canvas, 1 / 255, swapRB=True)
        elapsed = (time.perf_counter() - started) * 1e3
        cv2.setNumThreads(usual_threads)
        return 0, elapsed

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

    # Where no masks are asked for: those of no object.
    file = settings["masks"]
    values = np.fromfile(file, dtype=np.float32) if file else np.zeros(32 * 160 * 160, np.float32)
    prototypes, rest = values[: 32 * 160 * 160].reshape(32, 160 * 160), values[32 * 160 * 160 :]
    objects = len(rest) // 36
    coefficients, mask_boxes = rest[: objects * 32].reshape(-1, 32), rest[objects * 32 :].reshape(-1, 4)

    def cells():
        # Of 640x640 pixels 140 above and below are padding: 35 cells of each side.
        return (coefficients @ prototypes).reshape(objects, 160, 160)[:, 35:125]

    def masks():
        planes = np.ascontiguousarray(cells().transpose(1, 2, 0))
        whole = cv2.resize(planes, (1920, 1080), interpolation=cv2.INTER_LINEAR) > 0
        kept = np.zeros((objects, 1080, 1920), bool)
        for index, (x1, y1, x2, y2) in enumerate(np.ceil(mask_boxes).astype(int)):
            kept[index, y1:y2, x1:x2] = whole[y1:y2, x1:x2, index]
        return len(kept)

    def mask_boxes_only():
        made = []
        for plane, (x1, y1, x2, y2) in zip(cells(), np.ceil(mask_boxes).astype(int)):
            place = np.float32([[1 / 12, 0, (x1 + 0.5) / 12 - 0.5], [0, 1 / 12, (y1 + 0.5) / 12 - 0.5]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            sampled = cv2.warpAffine(plane, place, (x2 - x1, y2 - y1), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            made.append(sampled > 0)
        return len(made)

    stages = {"decode": decode, "preprocess": preprocess, "blob": blob, "postprocess": postprocess}
    stages |= {"masks": masks, "maskBoxes": mask_boxes_only}

    def run(stage="decode"):
        return blob_of(stage.removeprefix("blob-")) if stage.startswith("blob-") else stages[stage]()

    threads = f"OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads"
    versions = f"{threads}, NumPy {np.__version__}, {python_version()}"
    return versions, "a stage at a time", run


serve(prepare)
