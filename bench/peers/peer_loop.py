"""How every peer talks to the bench: one JSON line when it is ready, then one JSON answer to each JSON command.

Started with its settings as JSON in the first argument. Its first line is {"ready": versions, "note": text} or, where it
cannot take part, {"missing": reason}. A command is {"count": N}, with what else `run` takes; the answer is
{"ms": [N times], "boxes": boxes of the last, "stages": {name: [N times]} where the peer has a clock of its own}.
"""

import json
import os
import sys
import time


def serve(prepare):
    """Run a peer. `prepare(settings)` gives (versions, note, run), where run() does one frame or stage.

    run() returns the number of boxes; (boxes, milliseconds) where the peer measures by itself; or (boxes, milliseconds by stage)
    where it says what its time is made of.
    """
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        versions, note, run = prepare(json.loads(sys.argv[1]))
        run()
    except ImportError as error:
        answer({"missing": f"Python has no module {error.name or error}"})
        return
    except Exception as error:
        answer({"missing": f"{type(error).__name__}: {error}"})
        raise
    answer({"ready": versions, "note": note})
    for line in sys.stdin:
        command = json.loads(line)
        times, boxes, stages = [], 0, {}
        for _ in range(command.pop("count")):
            started = time.perf_counter()
            result = run(**command)
            elapsed = (time.perf_counter() - started) * 1e3
            boxes, own = result if isinstance(result, tuple) else (result, elapsed)
            for stage, milliseconds in own.items() if isinstance(own, dict) else ():
                stages.setdefault(stage, []).append(milliseconds)
            times.append(elapsed if isinstance(own, dict) else own)
        answer({"ms": times, "boxes": boxes, "stages": stages})


def python_version():
    return f"Python {sys.version.split()[0]}"


def letterbox(image, size):
    """Resize with the ratio kept, grey around it; (image, ratio, left, top)."""
    import cv2

    height, width = image.shape[:2]
    ratio = min(size / height, size / width)
    content = round(width * ratio), round(height * ratio)
    left, top = (size - content[0]) / 2, (size - content[1]) / 2
    resized = cv2.resize(image, content, interpolation=cv2.INTER_LINEAR)
    padded = cv2.copyMakeBorder(
        resized,
        round(top - 0.1), round(top + 0.1), round(left - 0.1), round(left + 0.1),
        cv2.BORDER_CONSTANT, value=(114, 114, 114),
    )  # fmt: skip
    return padded, ratio, round(left - 0.1), round(top - 0.1)


def decode_head(output, ratio, left, top, threshold, iou):
    """Boxes of a YOLOv8 head [1, 4 + classes, anchors] in pixels of the image, by NumPy and OpenCV."""
    import cv2
    import numpy as np

    rows = output[0].T
    classes = rows[:, 4:]
    scores = classes.max(axis=1)
    chosen = scores >= threshold
    scores = scores[chosen]
    ids = classes[chosen].argmax(axis=1)
    boxes = rows[chosen, :4].astype(np.float32)
    boxes[:, :2] -= boxes[:, 2:] / 2
    kept = cv2.dnn.NMSBoxesBatched(boxes, scores.astype(np.float32), ids, threshold, iou)
    boxes[:, 2:] += boxes[:, :2]
    return (boxes[kept] - [left, top, left, top]) / ratio
