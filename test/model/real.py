"""Exports models of random weights and writes down what their packages' own post-processing finds, for real.test.ts.

    cd /tmp/exporters && bin/python /path/to/test/model/real.py FOLDER IMAGE [torchvision transformers effdet yolov5 yolox libreyolo]
    BUN_TENSORRT_REAL=FOLDER bun test test/model/real.test.ts

Each model gets a folder: model.onnx, image.png of the size of its input, so that nothing is resized, and
expected.json: package, options of `load`, and rows x1, y1, x2, y2, score, class in pixels of the image. What cannot be imported is
named on standard error.
"""

import functools
import json
import pathlib
import sys
from types import SimpleNamespace

FOLDER, PHOTOGRAPH = None, None

# As many are tried until one has weights whose scores stand apart.
SEEDS = 16


def spread(model, is_plain=False, seed=0):
    """Random weights that keep the differences between places, which the usual ones lose on their way through the layers."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d) and not is_plain:
                torch.nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def apart(model):
    """Weights of a transformer that keep its queries apart: of the usual ones all see the same."""
    import torch

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_normal_(module.weight)
            elif isinstance(module, torch.nn.Embedding):
                module.weight.normal_()
        for name, parameter in model.named_parameters():
            if name.endswith(("detection_tokens", "position_embeddings")):
                parameter.normal_()
    return model


def tuned(layers, size, find):
    """Scale the last layers until scores lie apart. @param size of the image @param find rows x1, y1, x2, y2, score, class of the model as it is"""
    import torch

    own = [layer.weight.detach().clone() for layer in layers]
    best = None
    for gain in (3.0**power for power in range(-14, 9)):
        with torch.no_grad():
            for layer, weight in zip(layers, own):
                layer.weight.copy_(weight * gain)
            threshold, rows = chosen(find(), size)
        scores = [row[4] for row in rows]
        # Saturated, or all alike, they are in no order.
        gap = scores[-1] - threshold if len(scores) >= 5 and scores[0] < 0.999 else 0
        if gap > 0.00002 and (best is None or gap > best[0]):
            best = (gap, gain, (threshold, rows))
    if best is None:
        raise ValueError("no scale of the last layers lets scores lie apart")
    with torch.no_grad():
        for layer, weight in zip(layers, own):
            layer.weight.copy_(weight * best[1])
    return best[2]


def cut(rows, size):
    """Rows cut to the image, best first. Boxes without extent are none here."""
    width, height = size
    rows = [[max(0, x1), max(0, y1), min(width, x2), min(height, y2), *rest] for x1, y1, x2, y2, *rest in rows]
    return sorted((row for row in rows if row[0] < row[2] and row[1] < row[3]), key=lambda row: -row[4])


def chosen(rows, size):
    """A threshold in the largest gap of the scores, and the rows above, cut to the image."""
    rows = cut(rows, size)
    ends = range(5, min(60, len(rows) - 1))
    if not ends:
        return 0, []
    last = max(ends, key=lambda at: rows[at][4] - rows[at + 1][4])
    return round((rows[last][4] + rows[last + 1][4]) / 2, 6), rows[: last + 1]


def rows_of(found):
    lists = [found[key].tolist() for key in ("boxes", "scores", "labels")]
    return [[*box, score, label] for box, score, label in zip(*lists)]


def photograph(width, height):
    import numpy as np
    from PIL import Image

    image = Image.open(PHOTOGRAPH).convert("RGB").resize((width, height))
    return image, np.asarray(image)


def write(package, name, image, options, rows, **more):
    """Write down what was found. @param more `points` of each row, or its `masks` as runs"""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    image.save(folder / "image.png")
    rows = [[round(float(value), 5) for value in row] for row in rows]
    said = {"package": package, "options": options, "rows": rows, **more}
    (folder / "expected.json").write_text(json.dumps(said))
    print(f"{name}: {len(rows)} rows")


def runs(mask):
    """A mask as COCO's runs: column by column, of 0 first."""
    import numpy as np

    flat = np.asarray(mask, dtype=np.int8).flatten("F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


def place(name):
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / "model.onnx")


def version(package):
    from importlib.metadata import version as of

    return f"{package} {of(package).split('+')[0]}"


def export(model, arguments, path, **options):
    import torch

    with torch.no_grad():
        torch.onnx.export(model, arguments, path, **{"opset_version": 17, "dynamo": False, **options})


def torchvision_models():
    import torch
    from torchvision.models import detection as d

    plain = {"weights": None, "weights_backbone": None}
    sized = {**plain, "min_size": 192, "max_size": 192, "num_classes": 91}
    low = {"score_thresh": 0.0001, "topk_candidates": 300}
    models = {
        "ssdlite": (320, lambda: d.ssdlite320_mobilenet_v3_large(**plain, num_classes=91, **low)),
        "ssd": (300, lambda: d.ssd300_vgg16(**plain, num_classes=91, **low)),
        "retinanet": (192, lambda: d.retinanet_resnet50_fpn(**sized, **low)),
        "fcos": (192, lambda: d.fcos_resnet50_fpn(**sized, **low)),
        "fasterrcnn": (192, lambda: d.fasterrcnn_mobilenet_v3_large_320_fpn(**sized, box_score_thresh=0.0001)),
        "maskrcnn": (192, lambda: d.maskrcnn_resnet50_fpn(**sized, box_score_thresh=0.0001)),
    }
    for name, (side, make) in models.items():
        # Residual networks keep them as they are.
        model = spread(make(), "ssd" not in name)
        ends = ("cls_logits", "cls_score") if "ssd" not in name else ()
        layers = [module for layer, module in model.named_modules() if ends and layer.endswith(ends)]
        if not ends:
            lists = [list(one.children()) for one in [model.head.classification_head.module_list]][0]
            layers = [[m for m in one.modules() if isinstance(m, torch.nn.Conv2d)][-1] for one in lists]
        image, array = photograph(side, side)
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255

        def find():
            found = model([tensor])[0]
            return rows_of(found)

        threshold, rows = tuned(layers, (side, side), find)
        with torch.no_grad():
            names = list(model([tensor])[0])
        export(model, ([tensor],), place(f"torchvision-{name}"), input_names=["image"], output_names=names)
        write(version("torchvision"), f"torchvision-{name}", image, {"threshold": threshold}, rows)


def stable(find, inputs, size):
    """Threshold and rows that stay as they are where the image differs a little: none is of near equals. `None` if there are none."""
    import torch

    threshold, rows = chosen(find(inputs), size)
    for seed in range(3):
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(seed)) * 1e-4
        left = [row for row in cut(find(inputs + noise), size) if row[4] >= threshold]
        for row in rows:
            same = (other for other in left if other[5] == row[5] and abs(other[4] - row[4]) < 0.002)
            near = next((other for other in same if all(abs(a - b) < 0.2 for a, b in zip(row[:4], other[:4]))), None)
            if near is None:
                return None
            left.remove(near)
        if left:
            return None
    return (threshold, rows) if len(rows) >= 5 else None


def transformers_models():
    import onnx
    import onnxruntime
    import onnxslim
    import torch
    import transformers as t

    resnet = dict(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic")
    detr = dict(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, d_model=32, encoder_layers=1,
                decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                backbone_config=t.ResNetConfig(**resnet, out_features=["stage4"]))
    small = dict(image_size=[128, 128], hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    # RT-DETR of 91 classes and Conditional DETR of 80: the names of their weights tell what is done to an image.
    models = {
        "detr": (128, "DetrImageProcessor", lambda: t.DetrForObjectDetection(t.DetrConfig(**detr, num_labels=91))),
        "yolos": (128, "YolosImageProcessor", lambda: t.YolosForObjectDetection(t.YolosConfig(**small, num_labels=91))),
        "conditional-detr": (128, "ConditionalDetrImageProcessor", lambda: t.ConditionalDetrForObjectDetection(t.ConditionalDetrConfig(**detr, num_labels=80))),
        "d-fine": (256, "RTDetrImageProcessor", lambda: t.DFineForObjectDetection(t.DFineConfig(num_labels=80))),
        "rt-detr": (256, "RTDetrImageProcessor", lambda: t.RTDetrForObjectDetection(t.RTDetrConfig(num_labels=91))),
        "rt-detr-v2": (256, "RTDetrImageProcessor", lambda: t.RTDetrV2ForObjectDetection(t.RTDetrV2Config(num_labels=80))),
    }
    words = ("class_labels_classifier", "class_embed", "enc_score_head")
    for name, (side, processor, make) in models.items():
        image, _ = photograph(side, side)
        process = getattr(t, processor)(do_resize=False, do_pad=False)
        inputs = process(images=image, return_tensors="pt")["pixel_values"]

        def rows_in(outputs):
            return rows_of(process.post_process_object_detection(outputs, threshold=0, target_sizes=[(side, side)])[0])

        def attempt(seed):
            torch.manual_seed(seed)
            model = spread(make(), seed=seed)
            # RT-DETR's queries are places of the image.
            if processor != "RTDetrImageProcessor":
                apart(model)
            layers = [m for layer, m in model.named_modules() if any(word in layer for word in words) and isinstance(m, torch.nn.Linear)]

            class Plain(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.model = model

                def forward(self, pixel_values):
                    out = self.model(pixel_values=pixel_values)
                    return out.logits, out.pred_boxes

            try:
                tuned(layers, (side, side), lambda: rows_in(model(pixel_values=inputs)))
            except ValueError:
                return None
            path = place(f"transformers-{name}")
            export(Plain(), (inputs,), path, input_names=["pixel_values"], output_names=["logits", "pred_boxes"])
            # Positions are computed in f64, which not every ONNX Runtime has on the CPU.
            onnx.save(onnxslim.slim(onnx.load(path)), path)
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

            def find(pixels):
                logits, boxes = (torch.from_numpy(value) for value in session.run(None, {"pixel_values": pixels.numpy()}))
                return rows_in(SimpleNamespace(logits=logits, pred_boxes=boxes))

            return stable(find, inputs, image.size)

        try:
            # Queries of random weights are chosen among near equals: the first seed of which none are.
            found = next((one for one in map(attempt, range(SEEDS)) if one is not None), None)
            if found is None:
                raise ValueError("of no seed do the scores stand apart")
            write(version("transformers"), f"transformers-{name}", image, {"threshold": found[0]}, found[1])
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)


def effdet_models():
    import torch
    from effdet import DetBenchPredict, EfficientDet, get_efficientdet_config
    from effdet.data.transforms import ResizePad

    # Not square: what lies beyond the image is padding.
    for side, width, height in ((128, 96, 128), (256, 256, 160)):
        config = get_efficientdet_config("efficientdet_d0")
        config.image_size = (side, side)
        config.max_detection_points = 1000
        model = spread(EfficientDet(config, pretrained_backbone=False))
        with torch.no_grad():
            model.box_net.predict.conv_pw.weight.normal_(0, 0.05)
            model.class_net.predict.conv_pw.bias.fill_(-4)
        image, _ = photograph(width, height)
        padded, said = ResizePad(side, fill_color=(124, 116, 104))(image.copy(), {})
        tensor = torch.from_numpy(__import__("numpy").asarray(padded).copy()).permute(2, 0, 1).float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        tensor = ((tensor - mean[:, None, None]) / std[:, None, None])[None]
        info = {"img_scale": torch.tensor([said["img_scale"]]), "img_size": torch.tensor([[float(width), float(height)]])}
        bench = DetBenchPredict(model).eval()

        def find():
            with torch.no_grad():
                return [[*row[:5], row[5] - 1] for row in bench(tensor, info)[0].tolist()]

        threshold, rows = tuned([model.class_net.predict.conv_pw], image.size, find)
        export(model, (tensor,), place(f"effdet-{side}"))
        write(version("effdet"), f"effdet-{side}", image, {"threshold": threshold, "maxDetections": 100}, rows)


def yolov5_models():
    import torch

    torch.load = functools.partial(torch.load, weights_only=False)
    import yolov5
    from yolov5.models.yolo import DetectionModel
    from yolov5.utils.general import non_max_suppression

    folder = pathlib.Path(yolov5.__file__).parent / "models"
    model = spread(DetectionModel(str(folder / "yolov5n.yaml"), nc=80))
    with torch.no_grad():
        for layer in model.model[-1].m:
            layer.bias.fill_(-1)
    model.model[-1].export, model.model[-1].inplace = True, False
    image, array = photograph(160, 160)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float()[None] / 255

    def find():
        with torch.no_grad():
            out = model(tensor)
            return non_max_suppression(out[0] if isinstance(out, (tuple, list)) else out, 0.01, 0.45, max_det=300)[0].tolist()

    threshold, rows = tuned(list(model.model[-1].m), image.size, find)
    export(model, (tensor,), place("yolov5"), input_names=["images"], output_names=["output0"])
    write(version("yolov5"), "yolov5", image, {"threshold": threshold, "iou": 0.45, "maxDetections": 300}, rows)


def yolox_models():
    """Of pixeltable-yolox, Megvii's code as a package; it feeds RGB, Megvii's weights want BGR."""
    import torch
    from yolox.config import YoloxConfig
    from yolox.utils import postprocess, replace_module
    from yolox.models.network_blocks import SiLU

    for name, (width, height) in {"yolox_nano": (256, 256), "yolox_tiny": (160, 256)}.items():
        config = YoloxConfig.get_named_config(name)
        side = 256
        model = replace_module(spread(config.get_model()), torch.nn.SiLU, SiLU).eval()
        head = model.head
        # Levels are 0-255, and sizes are exponentials.
        model.backbone.backbone.stem.conv.conv.weight.data /= 128
        for layer in head.reg_preds:
            layer.weight.data.normal_(0, 0.01)
        for layer in [*head.cls_preds, *head.obj_preds]:
            layer.bias.data.fill_(0)
        image, array = photograph(width, height)
        tensor = torch.full((1, 3, side, side), 114.0)
        tensor[0, :, :height, :width] = torch.from_numpy(array.copy()).permute(2, 0, 1)

        def find():
            with torch.no_grad():
                found = postprocess(model(tensor), 80, 0.0001, 0.45)[0]
                return [] if found is None else [[*row[:4], row[4] * row[5], row[6]] for row in found.tolist()]

        threshold, rows = tuned([*head.cls_preds, *head.obj_preds], image.size, find)
        for form, is_decoded in (("decoded", True), ("grid", False)):
            head.decode_in_inference = is_decoded
            export(model, (tensor,), place(f"{name}-{form}"), input_names=["images"], output_names=["output"])
            options = {"threshold": threshold, "iou": 0.45, "preprocessing": {"colour": "RGB"}, **({"head": "yolox-decoded"} if is_decoded else {})}
            write(version("pixeltable-yolox"), f"{name}-{form}", image, options, rows)
        head.decode_in_inference = True


def libreyolo_models():
    import torch
    from libreyolo.models.ppyoloe.model import LibrePPYOLOE
    from libreyolo.models.yolo9.model import LibreYOLO9
    from libreyolo.models.yolo9_e2e.model import LibreYOLO9E2E
    from libreyolo.models.yolonas.model import LibreYOLONAS

    side = 320
    makers = {"yolo9": (LibreYOLO9, "t"), "yolo9_e2e": (LibreYOLO9E2E, "t"), "yolonas": (LibreYOLONAS, "s"), "ppyoloe": (LibrePPYOLOE, "s")}
    for name, (make, size) in makers.items():
        try:
            torch.manual_seed(0)
            one = make(None, size=size, device="cpu")
            model = spread(one.model, is_plain=True)
            convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
            ends = [m for m in convolutions if m.out_channels == 80]
            # PP-YOLOE begins with zeros there.
            for layer in ends:
                if not layer.weight.any():
                    layer.weight.data.normal_(0, 0.05)
            # LibreYOLO cuts boxes to the image before its NMS: small ones, of near bins, are the same before and after.
            for layer in convolutions:
                if layer.out_channels in (64, 68) and (layer.kernel_size == (1, 1) or name == "ppyoloe") and layer.bias is not None:
                    layer.bias.data = -4.0 * (torch.arange(layer.out_channels) % (layer.out_channels // 4))
            image, _ = photograph(side, side)
            tensor, _, original, _ = one._preprocess(image, input_size=side)

            def find():
                with torch.no_grad():
                    found = one._postprocess(model(tensor), 0.0001, 0.45, original, max_det=300, input_size=side)
                lists = [torch.as_tensor(found[key]).tolist() for key in ("boxes", "scores", "classes")]
                # Of an anchor the best class counts.
                best = {}
                for box, score, label in zip(*lists):
                    best.setdefault(tuple(box), [*box, score, label])
                return list(best.values())

            threshold, rows = tuned(ends, image.size, find)
            pathlib.Path(place(f"libreyolo-{name}")).unlink(missing_ok=True)
            one.export(format="onnx", imgsz=side, output_path=place(f"libreyolo-{name}"))
            write(version("libreyolo"), f"libreyolo-{name}", image, {"threshold": threshold, "iou": 0.45, "maxDetections": 300}, rows)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)


def rfdetr_models():
    """Exported by `RFDETR.export()`; another image than the input's size, as it is resized without antialias."""
    import os
    import shutil
    import tempfile

    import numpy as np
    import onnxruntime
    import torch
    from rfdetr import RFDETRNano, RFDETRSegNano

    for name, make in {"nano": RFDETRNano, "seg-nano": RFDETRSegNano}.items():
        torch.manual_seed(0)
        one = make(pretrain_weights=None, device="cpu")
        net, side = one.model.model, one.model.resolution
        ends = [net.class_embed, *net.transformer.enc_out_class_embed]
        apart(net)
        image, _ = photograph(side, side)

        def rows_in(found):
            return [[*box, score, label] for box, score, label in zip(found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist())]

        threshold, rows = tuned(ends, image.size, lambda: rows_in(one.predict(image, threshold=0)))
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nothing:
            from contextlib import redirect_stdout

            with redirect_stdout(nothing):
                path = one.export(output_dir=folder)
            shutil.copy(path, place(f"rfdetr-{name}"))
        found = one.predict(image, threshold=threshold)
        more = {} if found.mask is None else {"masks": [runs(mask) for mask in found.mask]}
        write(version("rfdetr"), f"rfdetr-{name}", image, {"threshold": threshold, "maxDetections": 300}, rows_in(found), **more)


GROUPS = {name.removesuffix("_models"): make for name, make in list(globals().items()) if name.endswith("_models")}

if __name__ == "__main__":
    FOLDER, PHOTOGRAPH = pathlib.Path(sys.argv[1]), sys.argv[2]
    for group in sys.argv[3:] or GROUPS:
        try:
            GROUPS[group]()
        except Exception as error:
            print(f"{group}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
