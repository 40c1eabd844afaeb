"""Score a COCO result file with pycocotools; prints one line of JSON. Usage: coco_eval.py instances.json results.json"""

import contextlib
import io
import json
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO(sys.argv[1])
    evaluation = COCOeval(truth, truth.loadRes(sys.argv[2]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
print(json.dumps({"map": evaluation.stats[0], "map50": evaluation.stats[1], "images": len(truth.getImgIds())}))
