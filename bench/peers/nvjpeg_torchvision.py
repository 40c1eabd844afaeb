"""nvJPEG through torchvision: batches of one JPEG over and over, decoded to device memory, with nothing else to do."""

from peer_loop import python_version, serve


def prepare(settings):
    import torch
    import torchvision
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    files = [read_file(settings["image"]) for _ in range(settings["batch"])]

    def run():
        images = decode_jpeg(files, mode=ImageReadMode.RGB, device="cuda")
        torch.cuda.synchronize()
        return len(images)

    versions = f"torchvision {torchvision.__version__}, torch {torch.__version__}, {python_version()}"
    return versions, f"decode_jpeg() of {settings['batch']} files at a time", run


serve(prepare)
