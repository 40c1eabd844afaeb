"""Exports models of random weights as their packages do by default, and writes down what the files tell of themselves.

    python3 -m venv /tmp/exporters && /tmp/exporters/bin/pip install ultralytics transformers onnx
    cd /tmp/exporters && /tmp/exporters/bin/python /path/to/test/model/exports.py > /path/to/test/model/exports.jsonl

A line is one export: inputs, outputs and metadata, no weights. `-coco-` stands for COCO's 80 names. What fails is told on standard error.
"""

import json
import os
import pathlib
import sys
import tempfile

import onnx

TYPES = {1: "f32", 10: "f16", 2: "u8", 6: "i32", 7: "i64", 9: "bool", 3: "i8"}
# Small, and of more anchors than an end-to-end model has rows: with fewer, the exporter leaves the NMS out.
SIDE, SIDE_P6 = 160, 192
UNREAD = ("date", "version", "docs", "author", "license", "description")
COCO: dict = {}


def tensors(values):
    for value in values:
        tensor = value.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        yield {"name": value.name, "dtype": TYPES[tensor.elem_type], "shape": shape}


def write(package, version, model, arguments, path):
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
        metadata.pop("names")
    line = {
        "package": package,
        "version": version,
        "model": model,
        "arguments": arguments,
        "inputs": list(tensors(v for v in proto.graph.input if v.name not in weights)),
        "outputs": list(tensors(proto.graph.output)),
        "metadata": metadata,
    }
    print(json.dumps(line, separators=(",", ":")), flush=True)


def ultralytics_exports():
    import ultralytics
    from ultralytics import RTDETR, YOLO
    from ultralytics.utils import LOGGER

    LOGGER.setLevel("ERROR")
    folder = pathlib.Path(ultralytics.__file__).parent / "cfg" / "models"
    COCO.update(YOLO("yolov8n.yaml").names)
    for path in sorted(folder.glob("*/*.yaml"), key=lambda one: (len(one.stem), one)):
        name = path.name
        # They fetch weights or an encoder of texts; twins of others.
        if "yoloe" in name or "world" in name or "resnet" in name or name in ("rtdetr-x.yaml", "yolov8-rtdetr.yaml"):
            continue
        # The files of v10 have a scale in their names already.
        has_scales = "\nscales:" in path.read_text() and path.parent.name != "v10"
        scaled = name
        if has_scales:
            stem, *rest = name.removesuffix(".yaml").split("-", 1)
            scaled = f"{stem}n{'-' + rest[0] if rest else ''}.yaml" if path.parent.name != "rt-detr" else name
        size = SIDE_P6 if "p6" in name else SIDE
        variants = [{}]
        if not any(word in name for word in ("-cls", "-sem", "-depth", "rtdetr")):
            variants.append({"nms": True})
        # End to end, which is no longer what they are by default.
        if path.parent.name in ("v10", "26"):
            variants.append({"nms": False})
        for arguments in variants:
            try:
                model = (RTDETR if "rtdetr" in name else YOLO)(scaled)
                file = model.export(format="onnx", imgsz=size, simplify=False, verbose=False, **arguments)
                write("ultralytics", ultralytics.__version__, scaled.removesuffix(".yaml"), {"imgsz": size, **arguments}, file)
                os.remove(file)
            except Exception as error:  # one that cannot be exported is no reason to have none
                print(f"{scaled} {arguments}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)


def transformers_exports():
    import torch
    import transformers as t

    resnet = dict(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic")
    models = {
        "detr": lambda: t.DetrForObjectDetection(
            t.DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
                         backbone_config=t.ResNetConfig(**resnet, out_features=["stage4"]),
                         d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
                         decoder_attention_heads=2, num_labels=91)),
        "yolos": lambda: t.YolosForObjectDetection(
            t.YolosConfig(image_size=[64, 64], hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                          intermediate_size=64, num_labels=91)),
        "rt-detr": lambda: t.RTDetrForObjectDetection(t.RTDetrConfig(num_labels=80)),
        "rt-detr-v2": lambda: t.RTDetrV2ForObjectDetection(t.RTDetrV2Config(num_labels=80)),
        "d-fine": lambda: t.DFineForObjectDetection(t.DFineConfig(num_labels=80)),
        "vit": lambda: t.ViTForImageClassification(
            t.ViTConfig(image_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=64, num_labels=10)),
        "segformer": lambda: t.SegformerForSemanticSegmentation(
            t.SegformerConfig(depths=[1] * 4, hidden_sizes=[8, 16, 32, 64], num_labels=19)),
    }
    for name, make in models.items():
        side = 64 if name in ("detr", "yolos", "vit", "segformer") else 256
        try:
            model = make().eval()
            keys = ["logits", "pred_boxes"] if name not in ("vit", "segformer") else ["logits"]

            class Plain(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.model = model

                def forward(self, pixel_values):
                    out = self.model(pixel_values=pixel_values)
                    return tuple(getattr(out, key) for key in keys)

            with tempfile.TemporaryDirectory() as folder:
                file = os.path.join(folder, "model.onnx")
                torch.onnx.export(Plain(), (torch.rand(1, 3, side, side),), file, input_names=["pixel_values"],
                                  output_names=keys, opset_version=17, dynamo=False)
                write("transformers", t.__version__, name, {"side": side}, file)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)


if __name__ == "__main__":
    for exports in (ultralytics_exports, transformers_exports):
        try:
            exports()
        except ImportError as error:
            print(f"{exports.__name__}: {error}", file=sys.stderr)
