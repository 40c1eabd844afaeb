"""Writes golden.json: what the two models of ../shared/models make of a photograph, by ONNX Runtime and NumPy alone.

    python3 test/transform/golden.py        (numpy, opencv, onnx, onnxruntime; ../shared must be there)

The models' fixed sizes are made dynamic first, and the whole photograph is run at once: no tiles here. Chroma is carried
over the long way: Cb and Cr of BT.601 are enlarged by a bicubic in f64 and joined with the new luma. Kept are the means of
blocks of pixels and single pixels, and how near super-resolution and a bicubic come to a photograph that was made smaller.
"""

import json
import pathlib

import cv2
import numpy as np
import onnx
import onnxruntime

HERE = pathlib.Path(__file__).parent
SHARED = HERE.parents[2] / "shared"
BLOCK = 96
POINTS = 400


def session(name):
    model = onnx.load(SHARED / "models" / name)
    del model.graph.value_info[:]
    for value in [*model.graph.input, *model.graph.output]:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value > 3:
                dim.dim_param = f"{value.name}{axis}"
    return onnxruntime.InferenceSession(model.SerializeToString())


def run(model, tensor):
    return model.run(None, {model.get_inputs()[0].name: tensor.astype(np.float32)})[0]


def cubic_matrix(length, scale):
    """[length * scale, length]: Catmull-Rom, the edge repeated."""
    matrix = np.zeros((length * scale, length))
    for target in range(length * scale):
        position = (target + 0.5) / scale - 0.5
        first = int(np.floor(position)) - 1
        for tap in range(first, first + 4):
            x = abs(position - tap)
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            matrix[target, min(max(tap, 0), length - 1)] += weight
    return matrix


def enlarge(plane, scale):
    return cubic_matrix(plane.shape[0], scale) @ plane @ cubic_matrix(plane.shape[1], scale).T


def luma_of(rgb):
    return rgb @ np.array([0.299, 0.587, 0.114])


def levels(values):
    return np.clip(np.rint(values), 0, 255)


def super_resolution(model, rgb):
    rgb = rgb.astype(np.float64)
    luma = luma_of(rgb)
    large = np.clip(run(model, luma[None, None] / 255)[0, 0].astype(np.float64) * 255, 0, 255)
    cb = enlarge((rgb[..., 2] - luma) / 1.772, 3)
    cr = enlarge((rgb[..., 0] - luma) / 1.402, 3)
    green = large - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587
    return levels(np.stack([large + 1.402 * cr, green, large + 1.772 * cb], -1))


def low_light(model, rgb):
    return levels(run(model, rgb.transpose(2, 0, 1)[None] / 255)[0] * 255)


def summary(image):
    height, width = image.shape[:2]
    blocks = image.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3).mean((1, 3))
    chance = np.random.default_rng(1)
    points = [[int(x), int(y)] for x, y in zip(chance.integers(0, width, POINTS), chance.integers(0, height, POINTS))]
    return {
        "width": width,
        "height": height,
        "blocks": [round(float(value), 2) for value in blocks.ravel()],
        "points": [[x, y, *map(int, image[y, x])] for x, y in points],
    }


def psnr(a, b):
    border = 12
    error = (a - b)[border:-border, border:-border]
    return round(float(10 * np.log10(255**2 / np.mean(error**2))), 2)


def shrink_matrix(length, scale):
    """[length / scale, length]: the same curve, as wide as what is lost, so that nothing is aliased."""
    matrix = np.zeros((length // scale, length))
    for target in range(length // scale):
        centre = (target + 0.5) * scale - 0.5
        for tap in range(int(centre - 2 * scale), int(centre + 2 * scale) + 2):
            x = abs(tap - centre) / scale
            weight = 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0
            matrix[target, min(max(tap, 0), length - 1)] += weight
    return matrix / matrix.sum(1, keepdims=True)


def comparison(model):
    """How near a photograph comes back at a third of its size, in luma, as such models are measured."""
    found = {}
    for file in sorted((SHARED / "images" / "photos").glob("*.jpg")):
        photo = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        want = luma_of(photo[: photo.shape[0] // 3 * 3, : photo.shape[1] // 3 * 3].astype(np.float64))
        small = levels(shrink_matrix(want.shape[0], 3) @ want @ shrink_matrix(want.shape[1], 3).T)
        got = np.clip(run(model, small[None, None] / 255)[0, 0].astype(np.float64) * 255, 0, 255)
        found[file.name] = {"model": psnr(got, want), "bicubic": psnr(enlarge(small, 3), want)}
    return found


def main():
    photo = cv2.cvtColor(cv2.imread(str(SHARED / "images" / "photos" / "darknet_dog.jpg")), cv2.COLOR_BGR2RGB)
    resolution = session("i2i_super_resolution_3x_y.onnx")
    light = session("i2i_tbefn_lowlight_480x640.onnx")
    golden = {
        "block": BLOCK,
        "superResolution": summary(super_resolution(resolution, photo)),
        "lowLight": summary(low_light(light, photo >> 2)),
        "psnr": comparison(resolution),
    }
    (HERE / "golden.json").write_text(json.dumps(golden) + "\n")
    print(json.dumps(golden["psnr"], indent=2))


main()
