"""PyTorch alone: GPU time of the forward pass of yolov8n in FP16, layers fused, by events; plain or as a CUDA graph."""

from peer_loop import python_version, serve


def prepare(settings):
    import torch
    from ultralytics import YOLO

    torch.backends.cudnn.benchmark = True
    network = YOLO("yolov8n.yaml", task="detect").model.fuse().eval().half().cuda()
    frame = torch.rand(1, 3, settings["size"], settings["size"], device="cuda").half()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.inference_mode():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(10):
                network(frame)
        side.synchronize()
        graph = torch.cuda.CUDAGraph() if settings["graph"] else None
        if graph is not None:
            with torch.cuda.graph(graph):
                network(frame)

    def run():
        with torch.inference_mode():
            start.record()
            if graph is None:
                network(frame)
            else:
                graph.replay()
            end.record()
        end.synchronize()
        return 0, start.elapsed_time(end)

    note = f"forward pass alone, FP16, random weights, {'CUDA graph' if settings['graph'] else 'eager'}; GPU time by events"
    return f"torch {torch.__version__}, {python_version()}", note, run


serve(prepare)
