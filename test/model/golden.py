"""Writes golden.jsonl: detections of every head, decoded by NumPy on its own, for golden.test.ts.

    python3 test/model/golden.py        (NumPy only)

A tensor is not stored but described: numbers of a linear congruential generator, scaled by channel. Both sides make
the same f32 (or f16) values from the description. Decoding is in f64 here, so boxes agree within rounding.
"""

import json
import pathlib

import numpy as np

W, H, BATCH, INDEX = 96, 64, 2, 1


def uniform(seed, n):
    out, state = np.empty(n), seed
    for i in range(n):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = (state >> 8) / 2**24
    return out


def fill(spec):
    """The values of a described tensor. `ranges`: [channels, low, high] along `axis`."""
    shape, axis = spec["shape"], spec["axis"]
    low = np.concatenate([np.full(n, a, np.float64) for n, a, _ in spec["ranges"]])
    high = np.concatenate([np.full(n, b, np.float64) for n, _, b in spec["ranges"]])
    assert len(low) == shape[axis], spec
    view = [1] * len(shape)
    view[axis] = shape[axis]
    low, high = low.reshape(view), high.reshape(view)
    values = low + uniform(spec["seed"], int(np.prod(shape))).reshape(shape) * (high - low)
    if spec["dtype"] in ("i32", "i64", "u8"):
        return np.floor(values)
    if spec.get("whole"):
        values[..., spec["whole"]] = np.floor(values[..., spec["whole"]])
    values = values.astype(np.float32)
    return (values.astype(np.float16) if spec["dtype"] == "f16" else values).astype(np.float64)


def tensor(name, shape, ranges, axis=-1, dtype="f32", seed=1, whole=None):
    spec = dict(name=name, dtype=dtype, shape=shape, axis=axis % len(shape), ranges=ranges, seed=seed)
    return spec | (dict(whole=whole) if whole else {})


def corners(cx, cy, w, h):
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def best(boxes, probabilities, scores, threshold):
    ids = probabilities.argmax(1)
    return kept(boxes, scores, ids, threshold)


def kept(boxes, scores, ids, threshold):
    assert np.abs(scores - threshold).min() > 1e-5, "a score lies on the threshold: take another seed"
    rows = np.nonzero(scores >= threshold)[0]
    rows = [r for r in rows if boxes[r, 0] < boxes[r, 2] and boxes[r, 1] < boxes[r, 3]]
    return [[*map(float, boxes[r]), float(scores[r]), int(ids[r])] for r in rows]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


CELLS = [(s, x, y) for s in (8, 16, 32) for y in range(H // s) for x in range(W // s)]
STRIDE = np.array([s for s, _, _ in CELLS], float)
GX = np.array([x for _, x, _ in CELLS], float)
GY = np.array([y for _, _, y in CELLS], float)
A = len(CELLS)
PIXELS = [[1, 0, W], [1, 0, H], [2, 2, 40]]
CORNERS = [[1, 0, 40], [1, 0, 30], [1, 41, W], [1, 31, H]]
FRACTIONS = [[2, 0.2, 0.8], [2, 0.05, 0.4]]

cases = []


def case(name, head, tensors, threshold, rows, inputs=None, forced=False, labels=None, image="images", batch=BATCH, anchors=None):
    extra = inputs or []
    assert 3 <= len(rows) <= 60, (name, len(rows))
    own = image if isinstance(image, dict) else dict(name=image, dtype="f32", shape=[batch, 3, H, W])
    model_inputs = [own, *extra]
    cases.append(
        dict(name=name, head=head, forced=forced, labels=labels, **(dict(anchors=anchors) if anchors else {}), inputs=model_inputs, outputs=tensors,
             index=batch - 1, inputWidth=W, inputHeight=H, threshold=threshold,
             expected=[[round(v, 5) for v in row] for row in rows])
    )


def names(n):
    return [f"thing {i}" for i in range(n)]


for dtype in ("f32", "f16"):
    t = tensor("output0", [BATCH, 4 + 5, A], [*PIXELS, [5, 0, 1]], axis=1, dtype=dtype, seed=3)
    v = fill(t)[INDEX]
    case(f"yolo, {dtype}", "yolo", [t], 0.95, best(corners(*v[:4]), v[4:].T, v[4:].max(0), 0.95), labels=names(5))

t = tensor("output0", [BATCH, 4 + 2 + 32, A], [*PIXELS, [2, 0, 1], [32, -3, 3]], axis=1, seed=4)
proto = tensor("output1", [BATCH, 32, H // 4, W // 4], [[32, -1, 1]], axis=1, seed=5)
v = fill(t)[INDEX]
case("yolo, segmentation", "yolo", [t, proto], 0.9, best(corners(*v[:4]), v[4:6].T, v[4:6].max(0), 0.9))

t = tensor("output0", [BATCH, A, 4 + 5], [*PIXELS, [5, 0, 1]], seed=6)
v = fill(t)[INDEX].T
case("yolo-transposed", "yolo-transposed", [t], 0.95, best(corners(*v[:4]), v[4:].T, v[4:].max(0), 0.95), labels=names(5))

for n, threshold in ((3, 0.85), (1, 0.95)):
    t = tensor("output", [BATCH, 3 * A, 5 + n], [*PIXELS, [1 + n, 0, 1]], seed=7 + n)
    v = fill(t)[INDEX].T
    p = v[5:].T
    s = v[4] if n == 1 else v[4] * p.max(1)
    case(f"yolo-objectness, {n} classes", "yolo-objectness", [t], threshold, best(corners(*v[:4]), p, s, threshold))

# YOLOv6 writes 1 for objectness: with one class the class alone tells.
t = tensor("outputs", [BATCH, A, 5 + 1], [*PIXELS, [1, 1, 1], [1, 0, 1]], seed=51)
v = fill(t)[INDEX].T
case("yolo-objectness, YOLOv6", "yolo-objectness", [t], 0.85, best(corners(*v[:4]), v[5:].T, v[5], 0.85), labels=names(1))

t = tensor("output", [BATCH, A, 5 + 4], [[2, -0.5, 1.5], [2, -1, 1.2], [5, 0, 1]], seed=20)
v = fill(t)[INDEX].T
s = v[4] * v[5:].max(0)
box = corners((v[0] + GX) * STRIDE, (v[1] + GY) * STRIDE, np.exp(v[2]) * STRIDE, np.exp(v[3]) * STRIDE)
case("yolox", "yolox", [t], 0.8, best(box, v[5:].T, s, 0.8), forced=True)

t = tensor("output", [BATCH, A, 5 + 4], [*PIXELS, [5, 0, 1]], seed=21)
v = fill(t)[INDEX].T
case("yolox-decoded", "yolox-decoded", [t], 0.8, best(corners(*v[:4]), v[5:].T, v[4] * v[5:].max(0), 0.8), forced=True)

t = tensor("output0", [BATCH, 50, 6], [*CORNERS, [1, 0, 1], [1, 0, 80]], seed=22, whole=5)
v = fill(t)[INDEX]
case("yolo-end-to-end", "yolo-end-to-end", [t], 0.7, kept(v[:, :4], v[:, 4], v[:, 5], 0.7))

# The same heads with boxes as fractions of the input.
t = tensor("output0", [BATCH, 50, 6], [[2, 0, 0.4], [2, 0.41, 1], [1, 0, 1], [1, 0, 80]], seed=52, whole=5)
v = fill(t)[INDEX]
box = v[:, :4] * [W, H, W, H]
case("yolo-end-to-end-fractions", "yolo-end-to-end-fractions", [t], 0.7, kept(box, v[:, 4], v[:, 5], 0.7), forced=True)
for head, shape, axis in (("yolo", [BATCH, 9, A], 1), ("yolo-transposed", [BATCH, A, 9], 2), ("yolo-objectness", [BATCH, 3 * A, 9], 2)):
    t = tensor("output0", shape, [*FRACTIONS, [5, 0, 1]], axis=axis, seed=53 + axis)
    v = fill(t)[INDEX]
    v = v if axis == 1 else v.T
    p = v[5:] if head == "yolo-objectness" else v[4:]
    s = p.max(0) * (v[4] if head == "yolo-objectness" else 1)
    limit = 0.9 if head == "yolo-objectness" else 0.95
    case(f"{head}-fractions", f"{head}-fractions", [t], limit, best(corners(*v[:4]) * [W, H, W, H], p.T, s, limit), forced=True, labels=names(len(p)))

# Boxes as corners.
for shape, axis in (([BATCH, 9, A], 1), ([BATCH, A, 9], 2)):
    t = tensor("output", shape, [*CORNERS, [5, 0, 1]], axis=axis, seed=57 + axis)
    v = fill(t)[INDEX]
    v = v if axis == 1 else v.T
    case(f"libreyolo, axis {axis}", "libreyolo", [t], 0.95, best(v[:4].T, v[4:].T, v[4:].max(0), 0.95), forced=True, labels=names(5))

ts = [
    tensor("confs", [BATCH, 40, 5], [[5, 0, 1]], seed=60),
    tensor("boxes", [BATCH, 40, 1, 4], [[2, 0, 0.4], [2, 0.41, 1]], seed=61),
]
p, b = (fill(t)[INDEX] for t in ts)
case("yolov4", "yolov4", ts, 0.9, best(b[:, 0] * [W, H, W, H], p, p.max(1), 0.9), image="input")

ts = [
    tensor("output", [BATCH, A, 5], [[5, 0, 1]], seed=62),
    tensor("947", [BATCH, A, 4], CORNERS, seed=63),
]
p, b = (fill(t)[INDEX] for t in ts)
case("damo-yolo", "damo-yolo", ts, 0.95, best(b, p, p.max(1), 0.95))

t = tensor("pred", [BATCH, A, 9], [*CORNERS, [5, 0, 1]], seed=64)
v = fill(t)[INDEX]
case("damo-yolo-rows", "damo-yolo-rows", [t], 0.95, best(v[:, :4], v[:, 4:], v[:, 4:].max(1), 0.95), image="images")

t = tensor("output", [BATCH, A, 6], [*CORNERS, [1, 0, 1], [1, 0, 80]], seed=23, whole=5)
v = fill(t)[INDEX]
case("deepstream", "deepstream", [t], 0.9, kept(v[:, :4], v[:, 4], v[:, 5], 0.9), image="input")

t = tensor("output", [60, 7], [[1, 0, BATCH], *CORNERS, [1, 0, 80], [1, 0, 1]], seed=24, whole=[0, 5])
v = fill(t)
v = v[v[:, 0] == INDEX]
case("yolov7-rows", "yolov7-rows", [t], 0.5, kept(v[:, 1:5], v[:, 6], v[:, 5], 0.5))

t = tensor("graph2_flat_predictions", [60, 7], [[1, 0, BATCH], *CORNERS, [1, 0, 1], [1, 0, 80]], seed=64, whole=[0, 6])
v = fill(t)
v = v[v[:, 0] == INDEX]
case("yolo-nas-flat", "yolo-nas-flat", [t], 0.5, kept(v[:, 1:5], v[:, 5], v[:, 6], 0.5))

sizes = [dict(name="orig_target_sizes", dtype="i64", shape=[BATCH, 2])]
for head in ("rtdetr", "deimv2-imagenet"):
    ts = [
        tensor("labels", [BATCH, 40], [[40, 0, 80]], dtype="i64", seed=25),
        tensor("boxes", [BATCH, 40, 4], CORNERS, seed=26),
        tensor("scores", [BATCH, 40], [[40, 0, 1]], dtype="f16", seed=27),
    ]
    l, b, s = (fill(t)[INDEX] for t in ts)
    case(head, head, ts, 0.7, kept(b, s, l, 0.7), inputs=sizes, forced=head != "rtdetr")

t = tensor("output0", [BATCH, 25, 4 + 7], [*FRACTIONS, [7, 0, 1]], seed=28)
v = fill(t)[INDEX].T
box = corners(*v[:4]) * [W, H, W, H]
case("rtdetr-ultralytics", "rtdetr-ultralytics", [t], 0.9, best(box, v[4:].T, v[4:].max(0), 0.9), labels=names(7))

t = tensor("output0", [BATCH, 25, 6], [*FRACTIONS, [1, 0, 1], [1, 0, 7]], seed=62, whole=5)
v = fill(t)[INDEX]
box = corners(*v[:, :4].T) * [W, H, W, H]
case("rtdetr-ultralytics-rows", "rtdetr-ultralytics-rows", [t], 0.6, kept(box, v[:, 4], v[:, 5], 0.6), forced=True)


def flattened(logits, boxes, threshold):
    p = sigmoid(logits)
    box = corners(*boxes.T) * [W, H, W, H]
    q, c = np.divmod(np.arange(p.size), p.shape[1])
    return kept(box[q], p.ravel(), c, threshold)


ts = [
    tensor("dets", [BATCH, 12, 4], FRACTIONS, seed=29),
    tensor("labels", [BATCH, 12, 91], [[91, -9, 2]], seed=30),
]
b, l = (fill(t)[INDEX] for t in ts)
case("rf-detr", "rf-detr", ts, 0.85, flattened(l, b, 0.85), image="input")

for activation, head in (("sigmoid", "hugging-face"), ("softmax", "hugging-face-softmax")):
    ts = [
        tensor("logits", [BATCH, 12, 6], [[6, -4, 3]], dtype="f16", seed=31),
        tensor("pred_boxes", [BATCH, 12, 4], FRACTIONS, seed=32),
    ]
    l, b = (fill(t)[INDEX] for t in ts)
    if activation == "sigmoid":
        rows = flattened(l, b, 0.6)
    else:
        p = np.exp(l) / np.exp(l).sum(1, keepdims=True)
        rows = best(corners(*b.T) * [W, H, W, H], p[:, :-1], p[:, :-1].max(1), 0.6)
    case(head, head, ts, 0.6, rows, labels=names(6 if activation == "sigmoid" else 5), image="pixel_values")

counts = tensor("counts", [BATCH], [[BATCH, 20, 25]], dtype="i32", seed=33)
t = tensor("rows", [64, 6], [[1, 0, 80], [1, 0, 1], *CORNERS], seed=34, whole=[0])
n = fill(counts).astype(int)
v = fill(t)[n[:INDEX].sum():][: n[INDEX]]
paddle = [dict(name="im_shape", dtype="f32", shape=[BATCH, 2]), dict(name="scale_factor", dtype="f32", shape=[BATCH, 2])]
case("paddle-rtdetr", "paddle-rtdetr", [t, counts], 0.6, kept(v[:, 2:], v[:, 1], v[:, 0], 0.6), inputs=paddle, image="image")

case("paddle-detection", "paddle-detection", [t, counts], 0.6, kept(v[:, 2:], v[:, 1], v[:, 0], 0.6), inputs=paddle[1:], image="image")

t = tensor("concat_14.tmp_0", [BATCH, A, 4 + 5], [*CORNERS, [5, 0, 1]], seed=86)
v = fill(t)[INDEX]
case("ppyoloe-raw", "ppyoloe-raw", [t], 0.95, best(v[:, :4], v[:, 4:], v[:, 4:].max(1), 0.95), labels=names(5), image="image")

ts = [
    tensor("tmp_17", [BATCH, A, 4], CORNERS, seed=87),
    tensor("concat_14.tmp_0", [BATCH, 5, A], [[5, 0, 1]], axis=1, seed=88),
]
b, p = (fill(t)[INDEX] for t in ts)
case("ppyoloe-planes", "ppyoloe-planes", ts, 0.95, best(b, p.T, p.max(0), 0.95), labels=names(5), image="image", inputs=paddle[1:])

# RetinaNet: score of anchor × class, offsets from anchors whose last pixel counts (NVIDIA's box.py, of 2019 and later).
for name, rounded in (("retinanet", False), ("retinanet-rounded", True)):
    levels = [(s, -(-H // s), -(-W // s)) for s in (8, 16, 32, 64, 128)]
    called = [("output%d", 0), ("output%d", 5)] if rounded else [("score_%d", 0), ("box_%d", 0)]
    ts = [tensor(called[0][0] % (called[0][1] + i + 1), [BATCH, 27, h, w], [[27, 0, 1]], axis=1, seed=100 + i) for i, (_, h, w) in enumerate(levels)]
    ts += [tensor(called[1][0] % (called[1][1] + i + 1), [BATCH, 36, h, w], [[36, -0.6, 0.6]], axis=1, seed=110 + i) for i, (_, h, w) in enumerate(levels)]
    rows, threshold = [], 0.99
    for i, (s, h, w) in enumerate(levels):
        p = fill(ts[i])[INDEX].reshape(9, 3, h, w)
        d = fill(ts[5 + i])[INDEX].reshape(9, 4, h, w)
        scales = np.repeat([4 * 2 ** (k / 3) for k in range(3)], 3)[:, None]
        ratios = np.array([1.0, 2.0, 0.5] * 3)
        ws = np.sqrt(s * s / ratios)
        ws = np.round(ws) if rounded else ws
        sides = np.stack([ws, np.round(ws * ratios) if rounded else ws * ratios], 1)
        anchors = np.concatenate([0.5 * (s - sides * scales), 0.5 * (s + sides * scales) - (1 if rounded else 0)], 1)
        assert np.abs(p - threshold).min() > 1e-5
        for y, x, a, c in zip(*np.nonzero(p.transpose(2, 3, 0, 1) >= threshold)):
            box = anchors[a] + np.array([x, y, x, y]) * s
            size = box[2:] - box[:2] + 1
            middle = box[:2] + 0.5 * size + d[a, :2, y, x] * size
            half = 0.5 * np.exp(d[a, 2:, y, x]) * size
            last = np.array([w, h]) * s - 1
            first, end = np.clip(middle - half, 0, last), np.clip(middle + half - 1, 0, last)
            rows.append([*map(float, first), *map(float, end + 1), float(p[a, c, y, x]), int(c)])
    case(name, name, ts, threshold, rows, labels=names(3), forced=rounded)

# EfficientDet: offsets y, x, h, w from anchors of three scales times three ratios; the upstream's BBoxTransform and Anchors.
def efficientdet_anchors(levels):
    for s, h, w in levels:
        cell = np.array([W / w, H / h])
        for y in range(h):
            for x in range(w):
                for k in range(3):
                    for ratio in ((1, 1), (1.4, 0.7), (0.7, 1.4)):
                        half = 4 * cell * 2 ** (k / 3) * ratio / 2
                        middle = (np.array([x, y]) + 0.5) * cell
                        yield [middle[1] - half[1], middle[0] - half[0], middle[1] + half[1], middle[0] + half[0]]


def efficientdet_boxes(a, d, last):
    yc, xc, h, w = (a[:, 0] + a[:, 2]) / 2, (a[:, 1] + a[:, 3]) / 2, a[:, 2] - a[:, 0], a[:, 3] - a[:, 1]
    b = corners(d[:, 1] * w + xc, d[:, 0] * h + yc, np.exp(d[:, 3]) * w, np.exp(d[:, 2]) * h)
    return np.concatenate([np.maximum(b[:, :2], 0), np.minimum(b[:, 2:], [W - last, H - last])], 1)


LEVELS = [(s, -(-H // s), -(-W // s)) for s in (8, 16, 32, 64, 128)]
usual = np.array(list(efficientdet_anchors(LEVELS)))
n = len(usual)
ts = [tensor("983", [BATCH, n, 4], [[4, -0.6, 0.6]], seed=180), tensor("1201", [BATCH, n, 90], [[60, 0, 0.3], [3, 0, 1], [27, 0, 0.3]], seed=181)]
d, p = (fill(t)[INDEX] for t in ts)
case("efficientdet", "efficientdet", ts, 0.985, best(efficientdet_boxes(usual, d, 1), p, p.max(1), 0.985), image="data")

# With the model's own anchors, which have other ratios, and the maps they were found in.
own = tensor("anchors", [1, n, 4], [[2, 0, 30], [2, 34, 60]], seed=182)
features = [tensor(f"feature_{s}", [BATCH, 8, h, w], [[8, -1, 1]], axis=1, seed=183) for s, h, w in LEVELS]
ts = [*features, tensor("regression", [BATCH, n, 4], [[4, -0.6, 0.6]], seed=184), tensor("classification", [BATCH, n, 3], [[3, 0, 1]], seed=185), own]
d, p = (fill(t)[INDEX] for t in ts[5:7])
rows = best(efficientdet_boxes(fill(own)[0], d, 1), p, p.max(1), 0.99)
case("efficientdet, anchors in the model", "efficientdet", ts, 0.99, rows, image="input", labels=names(3))

for title, classes, forced, dtype in (("efficientdet-maps", 90, False, "f32"), ("efficientdet-maps of four classes, f16", 4, True, "f16")):
    live = 18 if classes == 90 else 36
    ranges, threshold = [[9 * classes - live, -9, -3], [live, -6, 2.5]] if classes == 90 else [[live, -6, 2.5]], 0.92
    ts = [tensor(str(700 + i), [BATCH, 9 * classes, h, w], ranges, axis=1, seed=190 + i, dtype=dtype) for i, (_, h, w) in enumerate(LEVELS)]
    ts += [tensor(str(800 + i), [BATCH, 36, h, w], [[36, -0.6, 0.6]], axis=1, seed=200 + i, dtype=dtype) for i, (_, h, w) in enumerate(LEVELS)]
    rows, before = [], 0
    for i, (_, h, w) in enumerate(LEVELS):
        p = sigmoid(fill(ts[i])[INDEX].reshape(9, classes, h, w))
        d = fill(ts[5 + i])[INDEX].reshape(9, 4, h, w).transpose(2, 3, 0, 1).reshape(-1, 4)
        b = efficientdet_boxes(usual[before : before + 9 * h * w], d, 0)
        assert np.abs(p - threshold).min() > 2e-6
        for a, c, y, x in zip(*np.nonzero(p >= threshold)):
            box = b[(y * w + x) * 9 + a]
            if box[0] < box[2] and box[1] < box[3]:
                rows.append([*map(float, box), float(p[a, c, y, x]), int(c)])
        before += 9 * h * w
    case(title, "efficientdet-maps", ts, threshold, rows, forced=forced)

t = tensor("output", [BATCH, 100, 6], [*CORNERS, [1, 0, 1], [1, 1, 91]], seed=210, whole=5)
v = fill(t)[INDEX]
case("efficientdet-rows", "efficientdet-rows", [t], 0.8, kept(v[:, :4], v[:, 4], v[:, 5], 0.8), forced=True)

ts = [
    tensor("dets", [BATCH, 30, 5], [*CORNERS, [1, 0, 1]], seed=81),
    tensor("labels", [BATCH, 30], [[30, 0, 80]], dtype="i64", seed=82),
]
d, l = (fill(t)[INDEX] for t in ts)
case("mmdet", "mmdet", ts, 0.6, kept(d[:, :4], d[:, 4], l, 0.6), image="input")

ts = [
    tensor("2033", [30, 4], CORNERS, seed=83),
    tensor("2003", [30], [[30, 1, 91]], dtype="i64", seed=84),
    tensor("2002", [30], [[30, 0, 1]], seed=85),
]
b, l, s = map(fill, ts)
case("torchvision", "torchvision", ts, 0.6, kept(b, s, l, 0.6), image="image.1", batch=1)

for title, (num, boxes, scores, classes), dtype, shape in (
    ("whole classes", ("num_dets", "det_boxes", "det_scores", "det_classes"), "i32", [BATCH, 1]),
    ("float classes", ("num_detections", "nmsed_boxes", "nmsed_scores", "nmsed_classes"), "f32", [BATCH]),
    ("YOLO-NAS", ("graph2_num_predictions", "graph2_pred_boxes", "graph2_pred_scores", "graph2_pred_classes"), "i64", [BATCH, 1]),
):
    ts = [
        tensor(num, shape, [[shape[-1], 10, 20]], dtype="i32", seed=35),
        tensor(boxes, [BATCH, 20, 4], CORNERS, seed=36),
        tensor(scores, [BATCH, 20], [[20, 0, 1]], seed=37),
        tensor(classes, [BATCH, 20], [[20, 0, 80]], dtype=dtype, seed=38, whole=list(range(20)) if dtype == "f32" else None),
    ]
    n, b, s, c = (fill(t)[INDEX] for t in ts)
    n = int(np.ravel(n)[0])
    case(f"efficient-nms, {title}", "efficient-nms", ts, 0.4, kept(b[:n], s[:n], c[:n], 0.4))

# TensorFlow's: y before x in 0-1, float classes and counts, boxes that count only.
NHWC = dict(name="input_tensor", dtype="u8", shape=[BATCH, H, W, 3])
YX = [[2, 0, 0.5], [2, 0.5, 1]]
for head, first, called in (
    ("tf-detection", 1, ("detection_boxes", "detection_classes", "detection_scores", "num_detections")),
    ("tflite-detection", 0, tuple(f"StatefulPartitionedCall:{at}" for at in (3, 2, 1, 0))),
):
    ts = [
        tensor(called[0], [BATCH, 20, 4], YX, seed=60),
        tensor(called[1], [BATCH, 20], [[20, first, 90]], seed=61, whole=list(range(20))),
        tensor(called[2], [BATCH, 20], [[20, 0, 1]], seed=62),
        tensor(called[3], [BATCH], [[BATCH, 10, 20]], seed=63, whole=list(range(BATCH))),
    ]
    b, c, s, n = (fill(t)[INDEX] for t in ts)
    b = (b[:, [1, 0, 3, 2]] * [W, H, W, H])[: int(n)]
    case(head, head, ts, 0.4, kept(b, s[: int(n)], c[: int(n)], 0.4), image=NHWC)

# TensorFlow's combined NMS: boxes in the order that it was given, x before y or y before x, and a whole count.
for head, called, first in (("combined-nms", "yolo_nms", "xy"), ("combined-nms-yx", "decode_predictions", "yx")):
    ts = [
        tensor(called, [BATCH, 20, 4], YX, seed=120),
        tensor(f"{called}_1", [BATCH, 20], [[20, 0, 1]], seed=121),
        tensor(f"{called}_2", [BATCH, 20], [[20, 0, 80]], seed=122, whole=list(range(20))),
        tensor(f"{called}_3", [BATCH], [[BATCH, 10, 20]], dtype="i32", seed=123),
    ]
    b, s, c, n = (fill(t)[INDEX] for t in ts)
    b = (b if first == "xy" else b[:, [1, 0, 3, 2]]) * [W, H, W, H]
    image = dict(name="input", dtype="f32", shape=[BATCH, H, W, 3])
    case(head, head, ts, 0.4, kept(b[: int(n)], s[: int(n)], c[: int(n)], 0.4), image=image, forced=first == "yx")

# SSD of the ONNX zoo, and of Azure Custom Vision: finished rows in fractions.
XY = [[2, 0, 0.5], [2, 0.5, 1]]
for head, called, forced in (
    ("ssd", ("bboxes", "labels", "scores"), True),
    ("custom-vision", ("detected_boxes", "detected_classes", "detected_scores"), False),
):
    ts = [
        tensor(called[0], [BATCH, 20, 4], XY, seed=64),
        tensor(called[1], [BATCH, 20], [[20, 1, 80]], dtype="i64", seed=65),
        tensor(called[2], [BATCH, 20], [[20, 0, 1]], seed=66),
    ]
    b, c, s = (fill(t)[INDEX] for t in ts)
    case(head, head, ts, 0.4, kept(b * [W, H, W, H], s, c, 0.4), forced=forced)

# Azure Custom Vision's raw map, as Model._postprocess of its sample does it: centres are no sigmoids.
t = tensor("model_outputs0", [BATCH, 5 * 8, H // 32, W // 32], [[40, -2, 2]], axis=1, seed=69)
v = fill(t)[INDEX].transpose(1, 2, 0).reshape(H // 32, W // 32, 5, 8)
a = np.array([[0.573, 0.677], [1.87, 2.06], [3.34, 5.47], [7.88, 3.53], [9.77, 9.17]])
x = (v[..., 0] + np.arange(W // 32)[None, :, None]) / (W // 32)
y = (v[..., 1] + np.arange(H // 32)[:, None, None]) / (H // 32)
w, h = np.exp(v[..., 2]) * a[:, 0] / (W // 32), np.exp(v[..., 3]) * a[:, 1] / (H // 32)
p = np.exp(v[..., 5:] - v[..., 5:].max(3, keepdims=True))
p = (p / p.sum(3, keepdims=True) * sigmoid(v[..., 4, None])).reshape(-1, 3)
box = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1).reshape(-1, 4) * [W, H, W, H]
case("custom-vision-maps", "custom-vision-maps", [t], 0.3, best(box, p, p.max(1), 0.3), labels=names(3))

# pytorch-ssd, as its box_utils and detectNet do it: the background comes first and does not count.
ts = [
    tensor("scores", [BATCH, 60, 4], [[4, 0, 1]], seed=67),
    tensor("boxes", [BATCH, 60, 4], XY, seed=68),
]
s, b = (fill(t)[INDEX] for t in ts)
case("ssd-pytorch", "ssd-pytorch", ts, 0.9, best(b * [W, H, W, H], s[:, 1:], s[:, 1:].max(1), 0.9), forced=True, labels=names(3))

for head, strides, called in (
    ("nanodet", (8, 16, 32), ("dis_pred_stride_{}", "cls_pred_stride_{}")),
    ("picodet", (8, 16, 32, 64), ("transpose_{}.tmp_1", "transpose_{}.tmp_0")),
):
    ts, rows, maps = [], [], {}
    for s in (strides[-1], *strides[:-1]):
        cells = -(-H // s) * -(-W // s)
        pair = [tensor(called[0].format(s), [BATCH, cells, 32], [[32, -3, 3]], seed=40 + s),
                tensor(called[1].format(s), [BATCH, cells, 6], [[6, 0, 1]], seed=41 + s)]
        ts += pair
        maps[s] = [fill(t)[INDEX] for t in pair]
    for s in strides:
        d, c = maps[s]
        e = np.exp(d.reshape(-1, 4, 8))
        side = (e / e.sum(-1, keepdims=True)) @ np.arange(8) * s
        y, x = np.divmod(np.arange(len(c)), -(-W // s))
        x, y = (x + 0.5) * s, (y + 0.5) * s
        box = np.stack([x - side[:, 0], y - side[:, 1], x + side[:, 2], y + side[:, 3]], -1)
        rows += best(box, c, c.max(1), 0.97)
    case(head, head, ts, 0.97, rows, image="images" if head == "nanodet" else "image")

t = tensor("758", [BATCH, 5 + 3, H // 16, W // 16], [[1, 0, 1], [4, -1, 1], [3, 0, 1]], axis=1, seed=50)
v = fill(t)[INDEX].reshape(8, -1)
y, x = np.divmod(np.arange(v.shape[1]), W // 16)
box = corners((x + np.tanh(v[1])) / (W // 16), (y + np.tanh(v[2])) / (H // 16), sigmoid(v[3]), sigmoid(v[4])) * [W, H, W, H]
case("fastestdet", "fastestdet", [t], 0.7, best(box, v[5:].T, v[0] ** 0.6 * v[5:].max(0) ** 0.4, 0.7), labels=names(3))

# Maps of anchors and of distances, as their exporters' own post-processing reads them.
ANCHORS = {
    "yolov2": [[[34.56, 38.08], [109.44, 141.12], [212.16, 364.16], [301.44, 163.52], [531.84, 336.64]]],
    "yolov4": [[[12, 16], [19, 36], [40, 28]], [[36, 75], [76, 55], [72, 146]], [[142, 110], [192, 243], [459, 401]]],
    "yolov5": [[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[116, 90], [156, 198], [373, 326]]],
}


def level(t, order, anchors):
    """[cells × anchors, numbers] of the image, and the column and row of each."""
    v = fill(t)[INDEX]
    if order == "channels":
        v = v.reshape(anchors, -1, *v.shape[-2:]).transpose(2, 3, 0, 1)
    elif order == "anchors":
        v = v.transpose(1, 2, 0, 3)
    h, w = v.shape[:2]
    y, x = np.mgrid[:h, :w]
    grid = np.repeat(np.stack([x, y], -1).reshape(-1, 2), anchors, 0)
    return v.reshape(h * w * anchors, -1), grid


def anchored(ts, order, anchors, strides, threshold, box, scores):
    rows = []
    for t, a, s in zip(ts, anchors, strides):
        v, grid = level(t, order, len(a))
        xy, wh = box(v, grid, np.tile(np.array(a, float), (len(v) // len(a), 1)), s)
        p = scores(v)
        rows += kept(np.concatenate([xy - wh / 2, xy + wh / 2], 1), p.max(1), p.argmax(1), threshold)
    return rows


def map_shape(order, s, a, n):
    h, w = H // s, W // s
    return {"channels": [BATCH, a * n, h, w], "anchors": [BATCH, a, h, w, n], "cells": [BATCH, h, w, a, n]}[order]


def anchor_tensors(names_, order, strides, a, ranges, seed):
    axis = 1 if order == "channels" else -1
    spread = ranges * a if order == "channels" else ranges
    n = sum(r[0] for r in ranges)
    return [tensor(name, map_shape(order, s, a, n), spread, axis, seed=seed + s) for name, s in zip(names_, strides)]


def darknet(scales):
    def box(v, grid, a, s):
        k = scales[s]
        return ((sigmoid(v[:, :2]) * k) - 0.5 * (k - 1) + grid) * s, np.exp(v[:, 2:4]) * a
    return box


def yolov5_logits(v, grid, a, s):
    return (sigmoid(v[:, :2]) * 2 - 0.5 + grid) * s, (sigmoid(v[:, 2:4]) * 2) ** 2 * a


def yolov5_sigmoid(v, grid, a, s):
    return (v[:, :2] * 2 - 0.5 + grid) * s, (v[:, 2:4] * 2) ** 2 * a


def softmax(v):
    e = np.exp(v - v.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


S = (8, 16, 32)
ONE = {8: 1.0, 16: 1.0, 32: 1.0}
SPREAD = [[2, -2, 2], [2, -2, -1], [1, -6, 3]]
as_given = lambda v: v[:, 4:5] * v[:, 5:]
as_logits = lambda v: sigmoid(v[:, 4:5]) * sigmoid(v[:, 5:])

ts = anchor_tensors(["grid"], "channels", [32], 5, [*SPREAD, [20, -2, 6]], 60)
rows = anchored(ts, "channels", ANCHORS["yolov2"], [32], 0.25, darknet(ONE), lambda v: sigmoid(v[:, 4:5]) * softmax(v[:, 5:]))
case("yolov2-maps", "yolov2-maps", ts, 0.25, rows, image="image")

for head, scales in (("yolov4-maps", {8: 1.2, 16: 1.1, 32: 1.05}), ("yolov3-maps", ONE)):
    ts = anchor_tensors(["Identity:0", "Identity_1:0", "Identity_2:0"], "cells", S, 3, [*SPREAD[:2], [1, 0, 1], [4, 0, 1]], 70)
    a = ANCHORS["yolov4" if head == "yolov4-maps" else "yolov5"]
    rows = anchored(ts, "cells", a, S, 0.85, darknet(scales), as_given)
    case(head, head, ts, 0.85, rows, forced=True, image="input_1:0")

# tensorflow-yolov4 has moved the centres, and has anchors and numbers on one axis.
parts = [[2, -0.1, 1.1], [2, -2, -1], [1, 0, 1], [4, 0, 1]] * 3
ts = [tensor(f"output_{at + 1}", [BATCH, H // s, W // s, 27], parts, seed=75 + s) for at, s in enumerate(S)]
rows = anchored(ts, "cells", ANCHORS["yolov4"], S, 0.85, lambda v, grid, a, s: ((v[:, :2] + grid) * s, np.exp(v[:, 2:4]) * a), as_given)
case("yolov4-maps, moved", "yolov4-maps", ts, 0.85, rows, forced=True, image="input_1:0")

for order, forced in (("anchors", False), ("channels", True)):
    ts = anchor_tensors(["output0", "345", "346"], order, S, 3, [*SPREAD, [4, -4, 4]], 80)
    rows = anchored(ts, order, ANCHORS["yolov5"], S, 0.85, yolov5_logits, as_logits)
    case(f"yolov5-maps, by {order}", "yolov5-maps", ts, 0.85, rows, forced=forced, anchors="yolov5")

ts = anchor_tensors(["output0", "286", "288"], "channels", S, 3, [[2, 0, 1], [2, 0.1, 0.6], [1, 0, 1], [4, 0, 1]], 90)
rows = anchored(ts, "channels", ANCHORS["yolov5"], S, 0.85, yolov5_sigmoid, as_given)
case("yolov5-maps-sigmoid", "yolov5-maps-sigmoid", ts, 0.85, rows, forced=True, anchors="yolov5")

ts = anchor_tensors(["082_convolutional", "094_convolutional", "106_convolutional"], "channels", S, 3, [*SPREAD, [4, -4, 4]], 100)
rows = anchored(ts, "channels", ANCHORS["yolov4"], S, 0.85, darknet({8: 1.2, 16: 1.1, 32: 1.05}), as_logits)
case("darknet-maps", "darknet-maps", ts, 0.85, rows, forced=True, anchors="yolov4")

ts = anchor_tensors(["output", "788", "output.1"], "channels", S, 1, [[2, -1, 1], [2, -1, 1], [5, 0, 1]], 110)
cells = [[[s, s]] for s in S]
rows = anchored(ts, "channels", cells, S, 0.8, lambda v, grid, a, s: ((v[:, :2] + grid) * s, np.exp(v[:, 2:4]) * a), as_given)
case("yolox-maps", "yolox-maps", ts, 0.8, rows, labels=names(4))


def distance_rows(boxes_, classes_, n, logits, channels_last, threshold):
    rows = []
    for b, c, s in zip(boxes_, classes_, S):
        b, c = (fill(t)[INDEX] if channels_last else fill(t)[INDEX].transpose(1, 2, 0) for t in (b, c))
        h, w = b.shape[:2]
        side = b.reshape(h * w, 4, -1)
        side = side[..., 0] if side.shape[-1] == 1 else np.stack([softmax(side[:, k]) @ np.arange(side.shape[-1]) for k in range(4)], 1)
        y, x = np.mgrid[:h, :w]
        grid = np.stack([x, y], -1).reshape(-1, 2) + 0.5
        box = np.concatenate([grid - side[:, :2], grid + side[:, 2:]], 1) * s
        p = c.reshape(h * w, n)
        rows += best(box, sigmoid(p) if logits else p, (sigmoid(p) if logits else p).max(1), threshold)
    return rows


for title, head, bins, sums, last, logits, forced in (
    ("RKNN's nine", "dfl-maps", 16, True, False, False, False),
    ("RKNN's YOLOv6", "dfl-maps", 1, True, False, False, False),
    ("six of probabilities", "dfl-maps", 16, False, False, False, True),
    ("six of NHWC", "dfl-maps-logits", 16, False, True, True, True),
    ("six of convolutions", "dfl-maps-logits", 16, False, False, True, False),
):
    shape = lambda s, n: [BATCH, H // s, W // s, n] if last else [BATCH, n, H // s, W // s]
    end = "/cv{}.{}/Conv_output_0" if title.endswith("convolutions") else "{}_{}"
    axis = -1 if last else 1
    b = [tensor(end.format(2, s), shape(s, 4 * bins), [[4 * bins, 0.2 if bins == 1 else -3, 3]], axis, seed=120 + s) for s in S]
    c = [tensor(end.format(3, s), shape(s, 5), [[5, -6, 3] if logits else [5, 0, 1]], axis, seed=130 + s) for s in S]
    extra = [tensor(f"sum_{s}", shape(s, 1), [[1, 0, 1]], axis, seed=140 + s) for s in S] if sums else []
    rows = distance_rows(b, c, 5, logits, last, 0.94)
    case(f"{head}, {title}", head, [*b, *c, *extra], 0.94, rows, forced=forced)

boxes_ = tensor("yolonms_layer_1/ExpandDims_1:0", [BATCH, 30, 4], [[1, 0, 30], [1, 0, 40], [1, 31, H], [1, 41, W]], seed=150)
scores_ = tensor("yolonms_layer_1/ExpandDims_3:0", [BATCH, 80, 30], [[30, 0, 1]], seed=151)
for name, shape in (("batch of triples", [40, 3]), ("Tiny YOLOv3", [1, 40, 3])):
    chosen = tensor("yolonms_layer_1/concat_2:0", shape, [[1, 0, 2], [1, 0, 80], [1, 0, 30]], dtype="i32", seed=152)
    rows = []
    for image, c, r in fill(chosen).reshape(-1, 3).astype(int):
        y1, x1, y2, x2 = fill(boxes_)[INDEX][r]
        s = fill(scores_)[INDEX][c, r]
        if image == INDEX and s >= 0.3:
            rows.append([x1, y1, x2, y2, s, int(c)])
    size = [dict(name="image_shape", dtype="f32", shape=[BATCH, 2])]
    case(f"yolov3-onnx, {name}", "yolov3-onnx", [boxes_, scores_, chosen], 0.3, rows, inputs=size, image="input_1")

# Qualcomm's AI Hub: the best class of every anchor, as bytes or whole numbers, before NMS.
for dtype in ("u8", "i64"):
    ts = [
        tensor("boxes", [BATCH, 1029, 4], CORNERS, seed=160),
        tensor("scores", [BATCH, 1029], [[1029, 0, 1]], seed=161),
        tensor("class_idx", [BATCH, 1029], [[1029, 0, 80]], dtype=dtype, seed=162),
    ]
    b, s, c = (fill(t)[INDEX] for t in ts)
    case(f"qualcomm, {dtype}", "qualcomm", ts, 0.97, kept(b, s, c, 0.97), image="image")

# NanoDet-Plus measures from the corners of the cells, of four strides.
plus = [(s, x, y) for s in (8, 16, 32, 64) for y in range(-(-H // s)) for x in range(-(-W // s))]
t = tensor("output", [BATCH, len(plus), 6 + 32], [[6, 0, 1], [32, -3, 3]], seed=170)
v = fill(t)[INDEX]
s, x, y = np.array(plus, float).T
e = np.exp(v[:, 6:].reshape(-1, 4, 8))
side = (e / e.sum(-1, keepdims=True)) @ np.arange(8) * s[:, None]
box = np.stack([x * s - side[:, 0], y * s - side[:, 1], x * s + side[:, 2], y * s + side[:, 3]], -1)
case("nanodet-plus", "nanodet-plus", [t], 0.95, best(box, v[:, :6], v[:, :6].max(1), 0.95), labels=names(6), image="data")

# SCRFD without points: distances from the corners of two anchors a cell, in strides.
scrfd_ = [[tensor(f"{kind}_{s}", [BATCH, 2 * (W // s) * (H // s), n], [[n, 0, 1 if n == 1 else 3]], seed=200 + s + n)
           for s in S] for kind, n in (("score", 1), ("bbox", 4))]
rows = []
for s, score, box in zip(S, *scrfd_):
    at = np.array([[x * s, y * s] for y in range(H // s) for x in range(W // s) for _ in range(2)], float)
    d = fill(box)[INDEX] * s
    p = fill(score)[INDEX]
    rows += best(np.concatenate([at - d[:, :2], at + d[:, 2:]], 1), p, p[:, 0], 0.95)
case("scrfd-boxes", "scrfd-boxes", [*scrfd_[0], *scrfd_[1]], 0.95, rows, image="input.1")

# Heads of objects, told by their outputs: boxes, and points x and y of those that have any.
cells_of = lambda s, each=1: np.array([[x, y] for y in range(H // s) for x in range(W // s) for _ in range(each)], float)


def scored(boxes, scores, ids, points, threshold):
    """Rows as `kept` has them, best points beside them. @param points [rows, points, 2]"""
    rows = kept(boxes, scores, ids, threshold)
    chosen = [r for r in np.nonzero(scores >= threshold)[0] if boxes[r, 0] < boxes[r, 2] and boxes[r, 1] < boxes[r, 3]]
    return rows, [[round(float(v), 5) for v in points[r].reshape(-1)] for r in chosen]


def objects(name, task, tensors, threshold, found, **options):
    rows, points = found if isinstance(found, tuple) else (found, None)
    case(f"{name}, {task}", name, tensors, threshold, rows, **options)
    cases[-1] |= dict(task=task) | (dict(points=points) if points else {})


def merged(parts):
    return [row for rows, _ in parts for row in rows], [row for _, points in parts for row in points]


SCORE, FIVE = [[1, 0, 1]], [[10, -1, 1]]
per = lambda kind, n, each, ranges, seed: [tensor(f"{kind}_{s}", [BATCH, each * (W // s) * (H // s), n], ranges, seed=seed + s) for s in S]

ts = [per("cls", 1, 1, SCORE, 300), per("obj", 1, 1, SCORE, 341), per("bbox", 4, 1, [[2, -1, 1], [2, -0.5, 1.5]], 382), per("kps", 10, 1, FIVE, 423)]
found = []
for s, c, o, b, k in zip(S, *ts):
    at, c, o, b, k = cells_of(s) * s, *(fill(t)[INDEX] for t in (c, o, b, k))
    box = corners(at[:, 0] + b[:, 0] * s, at[:, 1] + b[:, 1] * s, np.exp(b[:, 2]) * s, np.exp(b[:, 3]) * s)
    found.append(scored(box, np.sqrt(c * o)[:, 0], np.zeros(len(at), int), at[:, None] + k.reshape(-1, 5, 2) * s, 0.8))
objects("yunet", "pose", [t for kind in ts for t in kind], 0.8, merged(found), image="input")

ts = [per("score", 1, 2, SCORE, 464), per("bbox", 4, 2, [[4, 0, 3]], 505), per("kps", 10, 2, FIVE, 546)]
found = []
for s, c, b, k in zip(S, *ts):
    at, c, b, k = cells_of(s, 2) * s, *(fill(t)[INDEX] for t in (c, b, k))
    box = np.concatenate([at - b[:, :2] * s, at + b[:, 2:] * s], 1)
    found.append(scored(box, c[:, 0], np.zeros(len(at), int), at[:, None] + k.reshape(-1, 5, 2) * s, 0.9))
objects("scrfd", "pose", [t for kind in ts for t in kind], 0.9, merged(found), image="input.1")

for name, smallest, count in (("retinaface", 16, 5), ("retinaface-plates", 24, 4)):
    ts = [
        tensor("loc", [BATCH, 2 * A, 4], [[4, -2, 2]], seed=600 + count),
        tensor("conf", [BATCH, 2 * A, 2], [[2, 0, 1]], seed=610 + count),
        tensor("landms", [BATCH, 2 * A, 2 * count], [[2 * count, -3, 3]], seed=620 + count),
    ]
    b, c, k = (fill(t)[INDEX] for t in ts)
    at = np.concatenate([(cells_of(s, 2) + 0.5) * s for s in S])
    size = np.concatenate([np.tile([smallest * 4**n, 2 * smallest * 4**n], (W // s) * (H // s)) for n, s in enumerate(S)])[:, None]
    centre = at + b[:, :2] * 0.1 * size
    side = np.exp(b[:, 2:] * 0.2) * size
    points = at[:, None] + k.reshape(-1, count, 2) * 0.1 * size[:, None]
    objects(name, "pose", ts, 0.9, scored(corners(*centre.T, *side.T), c[:, 1], np.zeros(2 * A, int), points, 0.9))

ts = [tensor(f"{537 + n}", [BATCH, channels, H // 4, W // 4], ranges, axis=1, seed=640 + n)
      for n, (channels, ranges) in enumerate([(1, SCORE), (2, [[2, 0, 2]]), (2, [[2, 0, 1]]), (10, [[10, 0, 1]])])]
c, b, o, k = (fill(t)[INDEX].reshape(t["shape"][1], -1).T for t in ts)
at = cells_of(4)
h_, w_ = np.exp(b[:, 0]) * 4, np.exp(b[:, 1]) * 4
x1 = np.clip((at[:, 0] + o[:, 1] + 0.5) * 4 - w_ / 2, 0, W)
y1 = np.clip((at[:, 1] + o[:, 0] + 0.5) * 4 - h_ / 2, 0, H)
box = np.stack([x1, y1, np.minimum(x1 + w_, W), np.minimum(y1 + h_, H)], 1)
k = k.reshape(-1, 5, 2)
points = np.stack([x1[:, None] + k[:, :, 1] * w_[:, None], y1[:, None] + k[:, :, 0] * h_[:, None]], 2)
objects("centerface", "pose", ts, 0.93, scored(box, c[:, 0], np.zeros(len(at), int), points, 0.93), image="input.1")

ts = [tensor("dets", [BATCH, 30, 5], [*CORNERS, [1, 0, 1]], seed=660), tensor("keypoints", [BATCH, 30, 17, 3], [[3, 0, 60]], seed=661)]
d, k = (fill(t)[INDEX] for t in ts)
objects("rtmo", "pose", ts, 0.5, scored(d[:, :4], d[:, 4], np.zeros(30, int), k[..., :2], 0.5))

ts = [tensor("pred_boxes", [BATCH, A, 4], CORNERS, seed=670), tensor("pred_scores", [BATCH, A, 1], SCORE, seed=671),
      tensor("pose_xy", [BATCH, A, 17, 2], [[2, 0, 60]], seed=672), tensor("pose_scores", [BATCH, A, 17], [[17, 0, 1]], seed=673)]
b, c, k, _ = (fill(t)[INDEX] for t in ts)
objects("yolo-nas-pose-raw", "pose", ts, 0.9, scored(b, c[:, 0], np.zeros(A, int), k, 0.9))


for n, (name, rows_, ranges) in enumerate((
    ("yolo-transposed", A, [*PIXELS, [3, 0, 1], [32, -3, 3]]),
    ("yolo-objectness", 3 * A, [*PIXELS, [1, 0, 1], [3, 0, 1], [32, -3, 3]]),
)):
    first = 4 + n
    t = tensor("output0", [BATCH, rows_, first + 3 + 32], ranges, seed=690 + n)
    proto = tensor("output1", [BATCH, 32, H // 4, W // 4], [[32, -1, 1]], axis=1, seed=692)
    v = fill(t)[INDEX].T
    p = v[first : first + 3].T
    s = p.max(1) * (v[4] if n else 1)
    objects(name, "segment", [t, proto], 0.9, best(corners(*v[:4]), p, s, 0.9), labels=names(3), forced=True)

for n, (name, boxes_name, logits_name, masks_name, classes, count) in enumerate((
    ("rf-detr", "dets", "labels", "masks", 91, 20),
    ("hugging-face", "pred_boxes", "logits", "pred_masks", 80, 20),
    ("hugging-face-softmax", "pred_boxes", "logits", "pred_masks", 92, 100),
)):
    ts = [tensor(boxes_name, [BATCH, count, 4], [[2, 0.2, 0.8], [2, 0.05, 0.4]], seed=700 + n), tensor(logits_name, [BATCH, count, classes], [[classes, -9, 4]], seed=710 + n),
          tensor(masks_name, [BATCH, count, 8, 12], [[count, -1, 1]], axis=1, seed=720)]
    b, l = (fill(t)[INDEX] for t in ts[:2])
    box = corners(*(b * [W, H, W, H]).T)
    if name.endswith("softmax"):
        p = np.exp(l) / np.exp(l).sum(1, keepdims=True)
        rows = best(box, p[:, :-1], p[:, :-1].max(1), 0.16)
        threshold = 0.16
    else:
        threshold = 0.978
        p = sigmoid(l)
        rows = [row for q in range(count) for row in kept(np.repeat(box[q : q + 1], classes, 0), p[q], np.arange(classes), threshold)]
    objects(name, "segment", ts, threshold, rows, image="pixel_values" if n else "input", forced=True)

for name, shape, in (("mask-rcnn-mmdeploy", [BATCH, 30, 28, 28]),):
    ts = [tensor("dets", [BATCH, 30, 5], [*CORNERS, [1, 0, 1]], seed=730), tensor("labels", [BATCH, 30], [[30, 0, 80]], dtype="i64", seed=731),
          tensor("masks", shape, [[30, 0, 1]], axis=1, seed=732)]
    d, l = (fill(t)[INDEX] for t in ts[:2])
    objects(name, "segment", ts, 0.5, kept(d[:, :4], d[:, 4], l, 0.5))

ts = [tensor("boxes", [30, 4], CORNERS, seed=740), tensor("labels", [30], [[30, 1, 91]], axis=0, dtype="i64", seed=741),
      tensor("scores", [30], [[30, 0, 1]], axis=0, seed=742), tensor("masks", [30, 1, 28, 28], [[1, 0, 1]], axis=1, seed=743)]
b, l, c = (fill(t) for t in ts[:3])
objects("mask-rcnn", "segment", ts, 0.5, kept(b, c, l, 0.5), image=dict(name="image", dtype="f32", shape=[3, H, W]), batch=1)

lines = [json.dumps(c, separators=(",", ":")) + "\n" for c in cases]
pathlib.Path(__file__).with_name("golden.jsonl").write_text("".join(lines))
print(len(cases), "cases,", sum(len(c["expected"]) for c in cases), "rows")
