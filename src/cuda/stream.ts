/**
 * @module Stream: a queue of GPU work that runs in order; and a graph: work captured from a stream, with its executable form that is
 * launched as one.
 */

import { ArgumentError, CudaError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import type { Handle } from "../core/units.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/memory.ts";
import { check, checkWait, NOT_READY, noteLaunch } from "./check.ts";
import type { Device } from "./device.ts";

/** Does not wait for the default stream, nor makes it wait. */
const NON_BLOCKING = 1;

const out = new OutCells(1);
let created = 0;

/** What {@linkcode Stream.create} takes. */
export interface StreamOptions {
  /** Lower is more urgent, within `device.priorityRange()`; default 0, the least urgent. */
  readonly priority?: number | undefined;
}

/** An event as a stream sees it: what {@linkcode Stream.waitFor} takes. */
export interface RecordedEvent {
  readonly handle: Handle<"cudaEvent_t">;
  /** Refuse to go on with a closed event. @throws {ClosedError} If it is closed */
  assertOpen(action: string): void;
}

/** The stream that orders a call. Make the object once and reuse it where a call is made per frame. */
export interface OnStream {
  readonly stream: Stream;
}

/** A stream of one device. What is enqueued on it runs in order; different streams run side by side. */
export class Stream extends Resource {
  readonly device: Device;
  /** What was launched last, for the report of a fault. Written by {@linkcode Kernel} and {@linkcode GraphExec}. */
  lastLaunch = "none";
  readonly #handle: Handle<"cudaStream_t">;

  private constructor(device: Device, handle: Handle<"cudaStream_t">, label: string) {
    super(label, device);
    this.device = device;
    this.#handle = handle;
  }

  /**
   * Make a stream that neither waits for the default stream nor makes it wait.
   *
   * @throws {ArgumentError} If the device has no such priority
   * @throws {CudaError} If the stream cannot be made
   */
  static create(device: Device, options: StreamOptions = {}): Stream {
    const label = `Stream ${created}`;
    device.assertOpen(`create ${label}`);
    const priority = options.priority ?? 0;
    const [least, greatest] = device.priorityRange();
    if (!Number.isInteger(priority) || priority > least || priority < greatest) {
      throw new ArgumentError(
        message(`create ${label}`, `its priority must be an integer from ${greatest} to ${least}, got ${priority}`),
      );
    }
    check(
      cudaRuntime().cudaStreamCreateWithPriority(out.cells, NON_BLOCKING, priority),
      "cudaStreamCreateWithPriority",
    );
    created += 1;
    return new Stream(device, out.pointer() as Handle<"cudaStream_t">, label);
  }

  /**
   * The `cudaStream_t` (the driver's `CUstream` as well). Borrowed: valid while the stream is open.
   *
   * @throws {ClosedError} If it is closed: CUDA would follow the handle all the same
   */
  get handle(): Handle<"cudaStream_t"> {
    this.assertOpen("use a stream");
    return this.#handle;
  }

  /** True once everything enqueued so far has finished. @throws {CudaError} If some of it failed */
  get isDone(): boolean {
    this.assertOpen("query a stream");
    const status = cudaRuntime().cudaStreamQuery(this.#handle);
    if (status === NOT_READY) return false;
    checkWait(status, "cudaStreamQuery", this.lastLaunch);
    return true;
  }

  /** True while a graph is captured from the stream. */
  get isCapturing(): boolean {
    this.assertOpen("query a stream");
    check(cudaRuntime().cudaStreamIsCapturing(this.#handle, out.cells), "cudaStreamIsCapturing");
    return out.i32() !== 0;
  }

  /**
   * Block this thread until everything enqueued so far has finished. `Event.wait` waits without blocking.
   *
   * @throws {CudaError} If some of it failed; it names the last launch
   */
  synchronize(): void {
    this.assertOpen("synchronize a stream");
    checkWait(cudaRuntime().cudaStreamSynchronize(this.#handle), "cudaStreamSynchronize", this.lastLaunch);
  }

  /** Enqueue a wait: later work of this stream runs after what the event recorded. Blocks nobody. */
  waitFor(event: RecordedEvent): void {
    this.assertOpen("enqueue a wait");
    event.assertOpen("wait for an event");
    check(cudaRuntime().cudaStreamWaitEvent(this.#handle, event.handle, 0), "cudaStreamWaitEvent");
  }

  /** Waits for the work, then frees the stream. */
  protected override release(): void {
    try {
      checkWait(cudaRuntime().cudaStreamSynchronize(this.#handle), "cudaStreamSynchronize", this.lastLaunch);
    } finally {
      check(cudaRuntime().cudaStreamDestroy(this.#handle), "cudaStreamDestroy");
    }
  }
}

/** `cudaStreamCaptureModeThreadLocal`: other threads may allocate meanwhile. */
const THREAD_LOCAL = 1;
/** `cudaErrorGraphExecUpdateFailure` */
const UPDATE_FAILURE = 910;

/** Names of `enum cudaGraphExecUpdateResult`, by number. */
const UPDATE_RESULTS: readonly string[] = [
  "success",
  "error",
  "its topology changed",
  "the type of a node changed",
  "the function of a kernel node changed",
  "parameters of a node changed that cannot be updated",
  "something about a node is not supported",
  "the function of a kernel node changed in a way that cannot be updated",
  "attributes of a node changed",
];

/** `cudaGraphExecUpdateResultInfo`: the result, the node, and the node an edge comes from. */
const updateInfo = new OutCells(3);

/**
 * Work as captured: a template, from which executable graphs are made and updated.
 *
 * @example
 * ```ts
 * import { Device, DeviceBuffer, fill, Graph, Stream } from "bun-tensorrt/cuda";
 *
 * using device = Device.open();
 * using stream = Stream.create(device);
 * using buffer = DeviceBuffer.create("u8", [1024], { device });
 * using graph = Graph.capture("clear", () => fill(buffer, 0, { stream }), { stream });
 * using replay = graph.instantiate();
 * for (let frame = 0; frame < 10; frame++) replay.launch({ stream });
 * stream.synchronize();
 * ```
 */
export class Graph extends Resource {
  readonly device: Device;
  readonly name: string;
  /** Borrowed: valid while the graph is open. */
  readonly handle: Handle<"cudaGraph_t">;

  private constructor(device: Device, name: string, handle: Handle<"cudaGraph_t">) {
    super(`Graph ${JSON.stringify(name)}`, device);
    this.device = device;
    this.name = name;
    this.handle = handle;
  }

  /**
   * Record what `enqueue` puts on a stream, and run none of it. Addresses and launch shapes are frozen; the memory's
   * contents are not. Inside, nothing may be synchronised, allocated with `{ device }`, or copied from ordinary arrays.
   *
   * @param name    for messages
   * @param enqueue called once, at once; must not be async
   * @throws whatever `enqueue` throws; the capture is ended and dropped then
   * @throws {CudaError} If something inside cannot be captured
   */
  static capture(name: string, enqueue: () => void, options: OnStream): Graph {
    const { stream } = options;
    stream.assertOpen(`capture the graph ${JSON.stringify(name)}`);
    const runtime = cudaRuntime();
    check(runtime.cudaStreamBeginCapture(stream.handle, THREAD_LOCAL), "cudaStreamBeginCapture");
    try {
      enqueue();
    } catch (error) {
      abandon(stream);
      throw error;
    }
    check(runtime.cudaStreamEndCapture(stream.handle, out.cells), "cudaStreamEndCapture");
    return new Graph(stream.device, name, out.pointer() as Handle<"cudaGraph_t">);
  }

  /** Number of nodes: kernels, copies and fills. */
  nodeCount(): number {
    this.assertOpen("count the nodes of a graph");
    check(cudaRuntime().cudaGraphGetNodes(this.handle, null, out.cells), "cudaGraphGetNodes");
    return out.pointer();
  }

  /** Make the executable form. Slow (a millisecond or so): once per graph, not per frame. */
  instantiate(): GraphExec {
    return GraphExec.of(this);
  }

  protected override release(): void {
    check(cudaRuntime().cudaGraphDestroy(this.handle), "cudaGraphDestroy");
  }
}

/** End a capture whose body threw. Its own error is the one to report, so the status of a broken capture is passed over. */
function abandon(stream: Stream): void {
  const runtime = cudaRuntime();
  const status = runtime.cudaStreamEndCapture(stream.handle, out.cells);
  if (status === 0) runtime.cudaGraphDestroy(out.pointer());
  else runtime.cudaGetLastError();
}

/** Work ready to be launched as one. It does not need its {@linkcode Graph} any more. */
export class GraphExec extends Resource {
  readonly name: string;
  /** Borrowed: valid while this is open. */
  readonly handle: Handle<"cudaGraphExec_t">;
  readonly #launchLabel: string;

  private constructor(graph: Graph, handle: Handle<"cudaGraphExec_t">) {
    super(`GraphExec ${JSON.stringify(graph.name)}`, graph.device);
    this.name = graph.name;
    this.handle = handle;
    this.#launchLabel = `graph ${JSON.stringify(graph.name)}`;
  }

  /** Made by `Graph.instantiate`. */
  static of(graph: Graph): GraphExec {
    graph.assertOpen("instantiate a graph");
    graph.device.makeCurrent();
    check(cudaRuntime().cudaGraphInstantiateWithFlags(out.cells, graph.handle, 0), "cudaGraphInstantiateWithFlags");
    return new GraphExec(graph, out.pointer() as Handle<"cudaGraphExec_t">);
  }

  /** Enqueue all of it. One launch of the same executable graph waits for the one before. */
  launch(options: OnStream): void {
    this.assertOpen("launch a graph");
    const { stream } = options;
    check(cudaRuntime().cudaGraphLaunch(this.handle, stream.handle), "cudaGraphLaunch");
    stream.lastLaunch = this.#launchLabel;
    noteLaunch(this.#launchLabel);
  }

  /** Enqueue the preparation that the first launch would do otherwise. */
  upload(options: OnStream): void {
    this.assertOpen("upload a graph");
    check(cudaRuntime().cudaGraphUpload(this.handle, options.stream.handle), "cudaGraphUpload");
  }

  /**
   * Take over addresses, sizes and launch shapes of another capture of the same work; launches enqueued before keep theirs.
   *
   * @throws {CudaError} If the work has another shape; this stays as it was, and the other graph has to be instantiated
   */
  update(graph: Graph): void {
    this.assertOpen("update a graph");
    graph.assertOpen("update from a graph");
    const status = cudaRuntime().cudaGraphExecUpdate(this.handle, graph.handle, updateInfo.cells);
    if (status !== UPDATE_FAILURE) {
      check(status, "cudaGraphExecUpdate");
      return;
    }
    cudaRuntime().cudaGetLastError();
    const reason = UPDATE_RESULTS[updateInfo.i32()] ?? `result ${updateInfo.i32()}`;
    throw new CudaError(
      message(
        `update ${this.label}`,
        `cudaGraphExecUpdate returned cudaErrorGraphExecUpdateFailure (${status}), ${reason}`,
        "instantiate the new graph instead",
      ),
      { status, code: "cudaErrorGraphExecUpdateFailure", call: "cudaGraphExecUpdate" },
    );
  }

  protected override release(): void {
    check(cudaRuntime().cudaGraphExecDestroy(this.handle), "cudaGraphExecDestroy");
  }
}
