"""SAHI over Ultralytics on the same plan: slices and the whole of a decoded image to merged boxes."""

from peer_loop import python_version, serve
from tensorrt_module import provide


class Square:
    """A model of Ultralytics whose input is always the whole square: engines with an open batch would get a rectangle."""

    def __init__(self, model):
        self._model = model

    def __call__(self, images, **options):
        return self._model(images, rect=False, **options)

    def __getattr__(self, name):
        return getattr(self._model, name)


def prepare(settings):
    tensorrt = provide()
    import cv2
    import sahi
    import ultralytics
    from sahi import AutoDetectionModel
    from sahi.predict import get_sliced_prediction

    image = cv2.cvtColor(cv2.imread(settings["image"]), cv2.COLOR_BGR2RGB)
    model = AutoDetectionModel.from_pretrained(
        model_type="ultralytics",
        model_path=settings["ultralytics_plan"],
        confidence_threshold=settings["threshold"],
        device="cuda:0",
        image_size=settings["size"],
    )
    model.model = Square(model.model)
    how = {
        "slice_height": settings["size"],
        "slice_width": settings["size"],
        "overlap_height_ratio": settings["overlap"],
        "overlap_width_ratio": settings["overlap"],
        "verbose": 0,
    }

    def run(stage=None):
        found = get_sliced_prediction(image, model, batch_size=settings["batch"] if stage is None else int(stage), **how)
        return len(found.object_prediction_list), {name: seconds * 1e3 for name, seconds in found.durations_in_seconds.items()}

    versions = f"sahi {sahi.__version__}, ultralytics {ultralytics.__version__}, TensorRT {tensorrt}, {python_version()}"
    return versions, "get_sliced_prediction() of a decoded image, slices in batches", run


serve(prepare)
