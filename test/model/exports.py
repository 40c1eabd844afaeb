"""Exports models of random weights as their packages do, and writes down what the files tell of themselves, and what they are.

    python3 -m venv /tmp/exporters && /tmp/exporters/bin/pip install ultralytics yolov5 transformers timm torchvision onnx onnxslim
    cd /tmp/exporters && bin/python /path/to/test/model/exports.py ultralytics yolov5 torchvision timm > rows.jsonl

Groups: ultralytics, yolov5, transformers, optimum, timm, torchvision; what effdet, rfdetr, libreyolo and yolox export, real.py runs. Of an older version put it before
the others: `pip install --no-deps --target old ultralytics==8.0.150`, `PYTHONPATH=old`; optimum-onnx 0.1.0 wants transformers 4.57.3.
What cannot be imported or exported is named on standard error. exports.jsonl is made of all of them by `--merge FILES`.

A line is one export: inputs, outputs and metadata, no weights, and under `wanted` what its family is, which the exporter's graph and
documentation tell. Merged, it is all exports that tell the same. `-coco-` stands for COCO's 80 names.
"""

import functools
import json
import os
import pathlib
import sys
import tempfile

TYPES = {1: "f32", 10: "f16", 2: "u8", 6: "i32", 7: "i64", 9: "bool", 3: "i8"}
# Small, and of more anchors than an end-to-end model has rows: with fewer, the exporter leaves the NMS out.
SIDE, SIDE_P6 = 160, 192
UNREAD = ("date", "version", "docs", "author", "license", "description", "git")
COCO: dict = {}
# Packages print what they do.
ROWS, sys.stdout = sys.stdout, sys.stderr
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
# Of Ultralytics and YOLOv5: a letterbox, levels in 0-1.
LETTERBOX = {"fit": "letterbox"}
STRETCH = {"fit": "stretch"}


def tensors(values):
    for value in values:
        tensor = value.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        yield {"name": value.name, "dtype": TYPES[tensor.elem_type], "shape": shape}


def operators(graph):
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g)


def write(package, version, model, arguments, path, wanted):
    """`wanted` is a dict, or makes one of the graph's operators and outputs."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    weights = {tensor.name for tensor in proto.graph.initializer}
    metadata = {p.key: p.value for p in proto.metadata_props}
    described = metadata.get("description", "")
    metadata = {key: value for key, value in metadata.items() if key not in UNREAD}
    # "Ultralytics rtdetr-l model": the family is told by it.
    if described:
        metadata["description"] = described.split(" trained on ")[0]
    if metadata.get("names") == str(COCO):
        metadata["names"] = "-coco-"
    # Those of a classifier are numbers.
    if metadata.get("task") == "classify":
        metadata.pop("names", None)
    outputs = list(tensors(proto.graph.output))
    # What loading finds where a shape is open: by a run on zeros, of the size that was exported for.
    found = {}
    if any(-1 in output["shape"] for output in outputs):
        import numpy as np
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        side = arguments.get("imgsz") or arguments.get("side") or SIDE
        height, width = side if isinstance(side, list) else (side, side)
        feeds = {}
        for put in session.get_inputs():
            sizes = [size if isinstance(size, int) else None for size in put.shape]
            usual = [1, 3, height, width] if len(sizes) == 4 else [3, height, width] if len(sizes) == 3 else [1] * len(sizes)
            dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16}.get(put.type, np.int64)
            feeds[put.name] = np.zeros([own or other for own, other in zip(sizes, usual)], dtype)
        values = session.run(None, feeds)
        found = {"at": [width, height], "found": {put.name: list(value.shape) for put, value in zip(session.get_outputs(), values)}}
    if callable(wanted):
        wanted = wanted(set(operators(proto.graph)), [*found.get("found", {}).values()] or [output["shape"] for output in outputs])
    line = {
        "package": package,
        "version": version.split("+")[0],
        "model": model,
        "arguments": arguments,
        "wanted": wanted,
        "inputs": list(tensors(v for v in proto.graph.input if v.name not in weights)),
        "outputs": outputs,
        **found,
        "metadata": metadata,
    }
    print(json.dumps(line, separators=(",", ":")), file=ROWS, flush=True)


def told(name, error):
    print(f"{name}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr, flush=True)


def by_tracing():
    """The exporter that packages were written for: since PyTorch 2.9 another is the default."""
    import torch

    if not getattr(torch.onnx.export, "is_traced", False):
        torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
        torch.onnx.export.is_traced = True
    return torch


TASKS = {"cls": "classify", "obb": "obb", "pose": "pose", "seg": "segment", "sem": "semantic", "depth": "depth"}


def wanted_of_ultralytics(name, classes):
    def wanted(ops, shapes):
        if "rtdetr" in name:
            # Every class of every query, or since 8.4 the best of all.
            head = "rtdetr-ultralytics" if shapes[0][-1] == 4 + classes else "rtdetr-ultralytics-rows"
            return {"task": "detect", "head": head, "classes": classes, "nms": False, **STRETCH}
        word = next((TASKS[word] for word in name.removesuffix(".yaml").split("-")[1:] if word in TASKS), "detect")
        if word in ("classify", "semantic", "depth"):
            return {"task": word, **({} if word == "depth" else {"classes": classes})}
        # NMS, or the choice of an end-to-end head, is in the graph: else rows are those of anchors.
        is_final = bool(ops & {"NonMaxSuppression", "TopK"})
        head = "yolo-end-to-end" if is_final else "yolo"
        return {"task": word, "head": head, "classes": classes, "nms": not is_final, **LETTERBOX}

    return wanted


def yaml_of_classes(path, name, classes, folder):
    """A copy of an architecture for another number of classes, under the name that tells its scale."""
    import yaml

    data = yaml.safe_load(path.read_text())
    data["nc"] = classes
    copy = pathlib.Path(folder) / name
    copy.write_text(yaml.safe_dump(data, sort_keys=False))
    return copy


def ultralytics_exports():
    by_tracing()
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp()
    import ultralytics
    from ultralytics import YOLO

    try:
        from ultralytics.utils import LOGGER
    except ImportError:
        from ultralytics.yolo.utils import LOGGER
    try:
        from ultralytics import RTDETR
    except ImportError:
        RTDETR = None
    LOGGER.setLevel("ERROR")
    version = ultralytics.__version__
    at = tuple(int(part) for part in version.split("."))
    is_newest = at >= (8, 4, 190)
    root = pathlib.Path(ultralytics.__file__).parent
    folder = root / "cfg" / "models" if (root / "cfg" / "models").exists() else root / "models"
    COCO.clear()
    COCO.update(YOLO("yolov8n.yaml").model.names if at < (8, 0, 100) else YOLO("yolov8n.yaml").names)

    def export(path, scaled, size, arguments, classes=None):
        name = path.name
        try:
            with tempfile.TemporaryDirectory() as temporary:
                source = scaled
                if classes is not None:
                    source = str(yaml_of_classes(path, scaled, classes, temporary))
                model = (RTDETR if "rtdetr" in name else YOLO)(source)
                count = classes or len(model.model.names)
                # Old ones take a PyTorch that they do not know for one of long ago.
                usual = {"simplify": False, **({} if is_newest else {"opset": 17})}
                file = model.export(format="onnx", imgsz=size, verbose=False, **{**usual, **arguments})
                file = file or str(pathlib.Path(source).with_suffix(".onnx"))
                said = {"imgsz": size, **arguments, **({} if classes is None else {"classes": classes})}
                write("ultralytics", version, scaled.removesuffix(".yaml"), said, file, wanted_of_ultralytics(name, count))
                os.remove(file)
        except Exception as error:  # one that cannot be exported is no reason to have none
            told(f"{version} {scaled} {arguments}", error)

    def scaled_name(path):
        # The files of v10 have a scale in their names already.
        if "\nscales:" not in path.read_text() or path.parent.name in ("v10", "rt-detr"):
            return path.name
        stem, *rest = path.stem.split("-", 1)
        return f"{stem}n{'-' + rest[0] if rest else ''}.yaml"

    def is_objects(name):
        return not any(word in name for word in ("-cls", "-sem", "-depth", "rtdetr"))

    # The NMS inside came with 8.3.62.
    has_nms = at >= (8, 3, 62)
    paths = sorted(folder.glob("*/*.yaml"), key=lambda one: (len(one.stem), one))
    for path in paths:
        name = path.name
        # They want weights or an encoder of texts; twins of others.
        if "yoloe" in name or "resnet" in name or name in ("rtdetr-x.yaml", "yolov8-rtdetr.yaml") or "ghost" in name:
            continue
        if not is_newest and (name in ("yolov3.yaml", "yolov3-spp.yaml") or "p6" in name or "p2" in name or "world" in name):
            continue
        if not is_newest and path.parent.name in ("v9", "v10") and name not in ("yolov9t.yaml", "yolov9c.yaml", "yolov10n.yaml"):
            continue
        scaled = scaled_name(path)
        size = SIDE_P6 if "p6" in name else SIDE
        variants = [{}]
        if has_nms and is_objects(name) and (is_newest or name in ("yolov8.yaml", "yolo11-seg.yaml", "yolo11-pose.yaml", "yolo11-obb.yaml")):
            variants.append({"nms": True})
        # End to end, which is no longer what they are by default.
        if is_newest and path.parent.name in ("v10", "26"):
            variants.append({"nms": False})
        for arguments in variants:
            export(path, scaled, size, arguments)

    chosen = [path for path in paths if path.name in ("yolov8.yaml", "yolo11.yaml", "yolo26.yaml", "yolov5.yaml")]
    chosen += [path for path in paths if path.name in (f"yolo11-{task}.yaml" for task in ("seg", "pose", "obb", "cls"))]
    chosen += [path for path in paths if path.name in (f"yolo26-{task}.yaml" for task in ("seg", "pose", "obb"))]
    chosen += [path for path in paths if path.name == "yolov8-seg.yaml" and not any(p.name == "yolo11-seg.yaml" for p in paths)]
    chosen += [path for path in paths if path.name == "rtdetr-l.yaml" and is_newest]
    for path in chosen:
        scaled = scaled_name(path)
        options = [{"dynamic": True}]
        if is_newest:
            options += [{"opset": 13}, {"simplify": True}, {"batch": 4}]
            options += [{"dynamic": True, "nms": True}, {"nms": True, "agnostic_nms": True, "max_det": 100}] if is_objects(path.name) else []
        for arguments in options:
            export(path, scaled, SIDE, arguments)
        if is_newest and "rtdetr" not in path.name:
            if "cls" not in path.name:
                export(path, scaled, [128, 192], {})
            for classes in (1, 3):
                export(path, scaled, SIDE, {}, classes)
                if is_objects(path.name):
                    export(path, scaled, SIDE, {"nms": True}, classes)


def yolov5_exports():
    torch = by_tracing()
    torch.load = functools.partial(torch.load, weights_only=False)
    import yolov5
    from yolov5.export import export_onnx
    from yolov5.models.yolo import ClassificationModel, Detect, DetectionModel, SegmentationModel

    folder = pathlib.Path(yolov5.__file__).parent / "models"
    kept = ("yolov5n.yaml", "yolov5s.yaml", "yolov5n6.yaml", "yolov5s-seg.yaml", "yolov3-tiny.yaml", "yolov5n-seg.yaml",
            "yolov5s-ghost.yaml", "yolov5-p2.yaml", "yolov5-p34.yaml", "yolov5-bifpn.yaml")
    coco = None
    for path in sorted(folder.glob("**/*.yaml")):
        name = path.stem
        if path.name not in kept:
            continue
        size = SIDE_P6 if name.endswith("6") else SIDE
        for arguments in ({}, {"dynamic": True}, {"opset": 17}, {"simplify": True}, {"half": True}, {"classes": 2}, {"imgsz": [128, 192]}):
            try:
                classes = arguments.get("classes", 80)
                make = SegmentationModel if "seg" in name else DetectionModel
                model = make(str(path), nc=classes).eval()
                # Strides lead to their anchors, as loading does; half is what --half --device 0 does.
                for module in model.modules():
                    if isinstance(module, Detect):
                        module.inplace, module.export = False, True
                        module.dynamic = arguments.get("dynamic", False)
                if classes == 80:
                    if coco is None:
                        import yaml
                        data = next(p for p in (folder.parent / "data").glob("coco.yaml"))
                        coco = yaml.safe_load(data.read_text())["names"]
                        COCO.clear()
                        COCO.update(coco)
                    model.names = coco
                height, width = arguments.get("imgsz", [size, size])
                image = torch.zeros(1, 3, height, width)
                if arguments.get("half"):
                    model, image = model.half(), image.half()
                with torch.no_grad():
                    for _ in range(2):
                        model(image)
                with tempfile.TemporaryDirectory() as temporary:
                    file = pathlib.Path(temporary) / "model.pt"
                    out, _ = export_onnx(model, image, file, arguments.get("opset", 12), arguments.get("dynamic", False), arguments.get("simplify", False))
                    task = "segment" if "seg" in name else "detect"
                    head = "yolo-objectness"
                    wanted = {"task": task, "head": head, "classes": classes, "nms": True, **LETTERBOX}
                    write("yolov5", yolov5.__version__, name, arguments, str(out), wanted)
            except Exception as error:
                told(f"yolov5 {name} {arguments}", error)
    for classes in (3, 1000):
        try:
            base = DetectionModel(str(folder / "yolov5n.yaml"), nc=80)
            model = ClassificationModel(model=base, nc=classes, cutoff=10).eval()
            model.names = {at: f"c{at}" for at in range(classes)}
            model.stride = torch.tensor([8.0, 16.0, 32.0])
            with tempfile.TemporaryDirectory() as temporary:
                out, _ = export_onnx(model, torch.zeros(1, 3, 64, 64), pathlib.Path(temporary) / "model.pt", 12, False, False)
                write("yolov5", yolov5.__version__, "yolov5n-cls", {"classes": classes}, str(out), {"task": "classify", "classes": classes})
        except Exception as error:
            told(f"yolov5 cls {classes}", error)


def transformers_models(t):
    """Small ones of random weights, by what they are called; each with its task, and the side of its image."""
    resnet = dict(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic")
    small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    detr = dict(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, d_model=32, encoder_layers=1,
                decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32)
    back = lambda *stages: t.ResNetConfig(**resnet, out_features=list(stages))  # noqa: E731
    three = ("stage2", "stage3", "stage4")
    detectors = {
        "detr": (64, lambda n: t.DetrForObjectDetection(t.DetrConfig(**detr, backbone_config=back("stage4"), num_labels=n))),
        "conditional-detr": (64, lambda n: t.ConditionalDetrForObjectDetection(
            t.ConditionalDetrConfig(**detr, backbone_config=back("stage4"), num_labels=n))),
        "deformable-detr": (128, lambda n: t.DeformableDetrForObjectDetection(
            t.DeformableDetrConfig(**detr, backbone_config=back(*three), num_labels=n, disable_custom_kernels=True, num_feature_levels=4))),
        "table-transformer": (64, lambda n: t.TableTransformerForObjectDetection(
            t.TableTransformerConfig(**detr, backbone_config=back("stage4"), num_labels=n))),
        "yolos": (64, lambda n: t.YolosForObjectDetection(t.YolosConfig(image_size=[64, 64], **small, num_labels=n))),
        "rt-detr": (256, lambda n: t.RTDetrForObjectDetection(t.RTDetrConfig(num_labels=n))),
        "rt-detr-v2": (256, lambda n: t.RTDetrV2ForObjectDetection(t.RTDetrV2Config(num_labels=n))),
        "d-fine": (256, lambda n: t.DFineForObjectDetection(t.DFineConfig(num_labels=n))),
    }
    vision = dict(image_size=64, **small)
    classifiers = {
        "vit": lambda n: t.ViTForImageClassification(t.ViTConfig(**vision, num_labels=n)),
        "deit": lambda n: t.DeiTForImageClassification(t.DeiTConfig(**vision, num_labels=n)),
        "beit": lambda n: t.BeitForImageClassification(t.BeitConfig(**{**vision, "num_hidden_layers": 4}, out_indices=[0, 1, 2, 3], num_labels=n)),
        "dinov2": lambda n: t.Dinov2ForImageClassification(t.Dinov2Config(image_size=56, patch_size=14, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_labels=n)),
        "swin": lambda n: t.SwinForImageClassification(t.SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=n)),
        "swinv2": lambda n: t.Swinv2ForImageClassification(t.Swinv2Config(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=n)),
        "convnext": lambda n: t.ConvNextForImageClassification(t.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=n)),
        "convnextv2": lambda n: t.ConvNextV2ForImageClassification(t.ConvNextV2Config(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=n)),
        "resnet": lambda n: t.ResNetForImageClassification(t.ResNetConfig(**resnet, num_labels=n)),
        "mobilenet-v1": lambda n: t.MobileNetV1ForImageClassification(t.MobileNetV1Config(depth_multiplier=0.25, num_labels=n)),
        "mobilenet-v2": lambda n: t.MobileNetV2ForImageClassification(t.MobileNetV2Config(depth_multiplier=0.35, num_labels=n)),
        "mobilevit": lambda n: t.MobileViTForImageClassification(t.MobileViTConfig(image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], num_attention_heads=2, num_labels=n)),
        "efficientnet": lambda n: t.EfficientNetForImageClassification(t.EfficientNetConfig(image_size=64, width_coefficient=0.25, depth_coefficient=0.2, hidden_dim=320, num_labels=n)),
        "regnet": lambda n: t.RegNetForImageClassification(t.RegNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], groups_width=8, num_labels=n)),
        "poolformer": lambda n: t.PoolFormerForImageClassification(t.PoolFormerConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=n)),
        "levit": lambda n: t.LevitForImageClassification(t.LevitConfig(image_size=64, hidden_sizes=[16, 32, 48], num_attention_heads=[1, 2, 3], depths=[1, 1, 1], key_dim=[8, 8, 8], num_labels=n)),
        "cvt": lambda n: t.CvtForImageClassification(t.CvtConfig(embed_dim=[8, 16, 16], num_heads=[1, 1, 2], depth=[1, 1, 1], num_labels=n)),
        "bit": lambda n: t.BitForImageClassification(t.BitConfig(embedding_size=32, hidden_sizes=[32, 32, 64, 64], depths=[1, 1, 1, 1], num_labels=n)),
        "pvt": lambda n: t.PvtForImageClassification(t.PvtConfig(image_size=64, hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], num_labels=n)),
    }
    maps = {
        "segformer": ("semantic", 64, lambda n: t.SegformerForSemanticSegmentation(t.SegformerConfig(depths=[1] * 4, hidden_sizes=[8, 16, 40, 64], num_labels=n))),
        "mobilevit-seg": ("semantic", 64, lambda n: t.MobileViTForSemanticSegmentation(t.MobileViTConfig(image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], num_attention_heads=2, num_labels=n))),
        "dpt": ("depth", 64, lambda _: t.DPTForDepthEstimation(t.DPTConfig(**{**vision, "num_hidden_layers": 4}, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8))),
        "glpn": ("depth", 64, lambda _: t.GLPNForDepthEstimation(t.GLPNConfig(depths=[1] * 4, hidden_sizes=[8, 16, 40, 64], decoder_hidden_size=8))),
        "depth-anything": ("depth", 56, lambda _: t.DepthAnythingForDepthEstimation(t.DepthAnythingConfig(
            backbone_config=t.Dinov2Config(image_size=56, patch_size=14, hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
                                           out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False),
            reassemble_hidden_size=32, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8))),
    }
    masks = {
        "mask2former": (64, lambda n: t.Mask2FormerForUniversalSegmentation(t.Mask2FormerConfig(
            backbone_config=t.SwinConfig(image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, out_features=["stage1", "stage2", "stage3", "stage4"]),
            feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=32, encoder_feedforward_dim=32, num_queries=20, num_labels=n))),
        "detr-panoptic": (64, lambda n: t.DetrForSegmentation(t.DetrConfig(**{**detr, "encoder_attention_heads": 8, "decoder_attention_heads": 8}, backbone_config=back("stage1", *three), num_labels=n))),
    }
    return detectors, classifiers, maps, masks


SOFTMAX = ("detr", "conditional-detr-no", "table-transformer", "yolos", "detr-panoptic")


def wanted_of_transformers(name, task, classes):
    if task == "detect":
        is_softmax = name in SOFTMAX
        # "No object" is a class of the softmax; the others have none. Their processors stretch RT-DETR's images; DETR's keep the ratio.
        head = "hugging-face-softmax" if is_softmax else "hugging-face"
        return {"task": "detect", "head": head, "classes": classes, "nms": False}
    if task == "segment":
        return {"task": "segment", "head": "mask2former" if name == "mask2former" else "hugging-face-softmax", "classes": classes, "nms": False}
    return {"task": task, **({} if task == "depth" else {"classes": classes})}


def transformers_exports():
    """By torch.onnx with the names that optimum gives."""
    torch = by_tracing()
    import transformers as t

    detectors, classifiers, maps, masks = transformers_models(t)
    rows = [(name, "detect", side, make, classes) for name, (side, make) in detectors.items() for classes in (91, 80, 3)]
    rows += [(name, task, side, make, 19) for name, (task, side, make) in maps.items()]
    rows += [(name, "segment", side, make, 80) for name, (side, make) in masks.items()]
    rows += [(name, "classify", 56 if name == "dinov2" else 64, make, 10) for name, make in classifiers.items() if name in ("vit", "resnet")]
    for name, task, side, make, classes in rows:
        try:
            model = make(classes).eval()
            keys = {"detect": ["logits", "pred_boxes"], "depth": ["predicted_depth"]}.get(task, ["logits"])
            if task == "segment":
                keys = ["class_queries_logits", "masks_queries_logits"] if name == "mask2former" else ["logits", "pred_boxes", "pred_masks"]

            class Plain(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.model = model

                def forward(self, pixel_values):
                    out = self.model(pixel_values=pixel_values)
                    return tuple(getattr(out, key) for key in keys)

            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                file = os.path.join(folder, "model.onnx")
                torch.onnx.export(Plain(), (torch.rand(1, 3, side, side),), file, input_names=["pixel_values"],
                                  output_names=keys, opset_version=17)
                write("transformers", t.__version__, name, {"side": side, "classes": classes}, file, wanted_of_transformers(name, task, classes))
        except Exception as error:
            told(f"transformers {name}", error)


OPTIMUM_TASKS = {"detect": "object-detection", "classify": "image-classification", "semantic": "semantic-segmentation",
                 "depth": "depth-estimation", "segment": "image-segmentation"}


def optimum_exports():
    """As `optimum-cli export onnx` does, from a model of random weights."""
    by_tracing()
    import transformers as t
    from importlib.metadata import version
    from optimum.exporters.onnx import onnx_export_from_model

    detectors, classifiers, maps, masks = transformers_models(t)
    rows = [(name, "detect", side, make, classes) for name, (side, make) in detectors.items() for classes in (91, 80)]
    rows += [(name, task, side, make, 19) for name, (task, side, make) in maps.items()]
    # DETR's masks have no boxes there.
    rows += [(name, "segment", side, make, 80) for name, (side, make) in masks.items() if name != "detr-panoptic"]
    rows += [(name, "classify", 56 if name == "dinov2" else 64, make, 10) for name, make in classifiers.items()]
    for name, task, side, make, classes in rows:
        try:
            model = make(classes).eval()
            with tempfile.TemporaryDirectory() as folder:
                onnx_export_from_model(model, pathlib.Path(folder), task=OPTIMUM_TASKS[task], do_validation=False,
                                       height=side, width=side, no_dynamic_axes=False)
                file = os.path.join(folder, "model.onnx")
                said = {"task": OPTIMUM_TASKS[task], "side": side, "classes": classes}
                write("optimum-onnx", version("optimum-onnx"), name, said, file, wanted_of_transformers(name, task, classes))
        except Exception as error:
            told(f"optimum {name}", error)


def timm_exports():
    torch = by_tracing()
    import timm

    names = ["resnet18", "mobilenetv3_small_050", "efficientnet_lite0", "efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224",
             "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "regnetx_002", "ghostnet_050", "mnasnet_050", "lcnet_035",
             "tinynet_e", "mobileone_s0", "repvgg_a0", "xcit_nano_12_p16_224"]
    for name in names:
        for dynamic in (False, True):
            try:
                model = timm.create_model(name, pretrained=False, num_classes=10).eval()
                side = 224 if name.endswith("224") else 64
                with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                    file = os.path.join(folder, "model.onnx")
                    axes = {"input0": {0: "batch_size"}, "output0": {0: "batch_size"}} if dynamic else None
                    # timm's onnx_export.py calls them so.
                    torch.onnx.export(model, (torch.rand(1, 3, side, side),), file, input_names=["input0"],
                                      output_names=["output0"], opset_version=17, dynamic_axes=axes)
                    write("timm", timm.__version__, name, {"dynamic": dynamic}, file, {"task": "classify", "classes": 10})
            except Exception as error:
                told(f"timm {name}", error)


def torchvision_exports():
    """As torchvision's documentation exports detectors: a list of one image in, boxes, labels and scores out."""
    torch = by_tracing()
    import torchvision
    from torchvision.models import detection as d

    plain = {"weights": None, "weights_backbone": None}
    sized = {**plain, "min_size": SIDE, "max_size": SIDE}
    models = {
        "fasterrcnn_mobilenet_v3_large_320_fpn": lambda n: d.fasterrcnn_mobilenet_v3_large_320_fpn(**sized, num_classes=n, box_score_thresh=0.001),
        "retinanet_resnet50_fpn": lambda n: d.retinanet_resnet50_fpn(**sized, num_classes=n, score_thresh=0.001, topk_candidates=50),
        "fcos_resnet50_fpn": lambda n: d.fcos_resnet50_fpn(**sized, num_classes=n, score_thresh=0.001, topk_candidates=50),
        "ssd300_vgg16": lambda n: d.ssd300_vgg16(**plain, num_classes=n, score_thresh=0.001, topk_candidates=50),
        "ssdlite320_mobilenet_v3_large": lambda n: d.ssdlite320_mobilenet_v3_large(**plain, num_classes=n, score_thresh=0.001, topk_candidates=50),
        "maskrcnn_resnet50_fpn": lambda n: d.maskrcnn_resnet50_fpn(**sized, num_classes=n, box_score_thresh=0.001),
        "keypointrcnn_resnet50_fpn": lambda n: d.keypointrcnn_resnet50_fpn(**sized, num_classes=2, box_score_thresh=0.001),
    }
    for name, make in models.items():
        for arguments in ({"opset": 11}, {"opset": 17}, {"opset": 17, "dynamic": True}):
            try:
                model = make(91).eval()
                names = ["boxes", "labels", "scores"]
                head, task = "torchvision", "detect"
                if name.startswith("maskrcnn"):
                    names, head, task = [*names, "masks"], "mask-rcnn", "segment"
                if name.startswith("keypoint"):
                    names, head, task = [*names, "keypoints", "keypoints_scores"], "keypoint-rcnn", "pose"
                # SSD and RetinaNet have the scores before the labels: outputs are called by their own order.
                with torch.no_grad():
                    names = list(model([torch.rand(3, SIDE, SIDE)])[0].keys())
                    axes = {"image": {1: "height", 2: "width"}} if arguments.get("dynamic") else None
                    with tempfile.TemporaryDirectory() as folder:
                        file = os.path.join(folder, "model.onnx")
                        torch.onnx.export(model, ([torch.rand(3, SIDE, SIDE)],), file, input_names=["image"], output_names=names,
                                          opset_version=arguments["opset"], dynamic_axes=axes)
                        classes = 2 if task == "pose" else 91
                        wanted = {"task": task, "head": head, "classes": classes, "nms": False, "scale": 1 / 255}
                        write("torchvision", torchvision.__version__, name, arguments, file, wanted)
            except Exception as error:
                told(f"torchvision {name} {arguments}", error)


GROUPS = {name.removesuffix("_exports"): make for name, make in list(globals().items()) if name.endswith("_exports")}


def merge(files):
    """One line for all exports that tell the same of themselves: which they are is a list of version, model and arguments."""
    rows = {}
    for text in (line for file in files for line in pathlib.Path(file).read_text().splitlines()):
        if not text.startswith('{"'):
            continue
        row = json.loads(text)
        exports = row.pop("exports", None) or [[row.pop(key) for key in ("version", "model", "arguments")]]
        known = rows.setdefault(json.dumps(row), [])
        known += [one for one in exports if one not in known]
    keyed = sorted((json.loads(row)["package"], json.dumps(sorted(exports, key=json.dumps)), row) for row, exports in rows.items())
    for package, exports, row in keyed:
        line = {"package": package, "exports": json.loads(exports), **json.loads(row)}
        print(json.dumps(line, separators=(",", ":")), file=ROWS)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--merge"]:
        merge(sys.argv[2:])
        sys.exit()
    for group in sys.argv[1:] or GROUPS:
        try:
            GROUPS[group]()
        except ImportError as error:
            told(group, error)
