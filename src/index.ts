/** @module bun-tensorrt: objects in images, from Bun, on the machine at hand. Importing it opens no library. */

export type { WarmUpOptions } from "./api/call-options.ts";
export { Classifier, type ClassifyStreamResult } from "./api/classifier.ts";
export type { ClassifierOptions, ClassifyOptions, ClassifyStreamOptions } from "./api/classifier-config.ts";
export { Detector } from "./api/detector.ts";
export type { DetectOptions, DetectorOptions, StreamOptions } from "./api/detector-config.ts";
export { type EvaluatedModel, evaluate } from "./api/evaluate.ts";
export type { EvaluateOptions } from "./api/evaluate-config.ts";
export {
  ImageModel,
  type TransformOptions,
  type TransformResult,
  type TransformStreamOptions,
  type TransformStreamResult,
} from "./api/image-model.ts";
export type { ImageModelOptions } from "./api/image-model-config.ts";
export type { BackendInfo } from "./api/loaded-model.ts";
export type {
  DepthEstimatorOptions,
  MapOptions,
  MapStreamOptions,
  SemanticSegmenterOptions,
} from "./api/map-config.ts";
export { DepthEstimator, SemanticSegmenter } from "./api/map-model.ts";
export { Model, type ModelOptions } from "./api/model.ts";
export { type ObjectModelOptions, OrientedDetector, PoseEstimator, Segmenter } from "./api/object-model.ts";
export type { StagedBatch } from "./api/staged-batch.ts";
export type { StreamResult, StreamSummary } from "./api/stream.ts";
export { TopDownPoseEstimator } from "./api/top-down.ts";
export type { TopDownPoseOptions } from "./api/top-down-config.ts";
export {
  ArgumentError,
  BunTensorRtError,
  CatalogueError,
  ClosedError,
  CudaError,
  DecodeStalledError,
  DecodeTimeoutError,
  ImageError,
  ImageSizeError,
  LibraryLoadError,
  ModelError,
  NativeError,
  OnnxRuntimeError,
  OptionError,
  OutOfMemoryError,
  PlanMismatchError,
  RedisError,
  RequestError,
  ShapeError,
  TensorRtError,
  TransferError,
  UnavailableError,
  VideoError,
} from "./core/errors.ts";
export { type LogLevel, type LogSink, setLogSink } from "./core/log.ts";
export type { Tensor, TensorInfo } from "./core/tensor.ts";
export type { ModelSpec } from "./heads/head.ts";
export { type DecodeOptions, decodeImage } from "./image/decode.ts";
export { encodeImage } from "./image/encode.ts";
export type { Rectangle, Region } from "./image/geometry.ts";
export { type Image, type ImageLayout, imageOf, type PackedFormat, type PixelFormat } from "./image/image.ts";
export type { ImageSource } from "./image/source.ts";
export type { YuvRange, YuvStandard } from "./image/yuv.ts";
export type { ModelInfo } from "./model/model-info.ts";
export type { LetterboxOptions, NmsChoice } from "./tasks/box-options.ts";
export {
  type BoxForm,
  type BoxNumbers,
  boxToSource,
  convertBox,
  crop,
  denormalizeBox,
  type Letterboxed,
  letterbox,
  nms,
  normalizeBox,
  type ScoredObject,
} from "./tasks/boxes.ts";
export type { ClassificationResult, ImageClass } from "./tasks/classify/classification.ts";
export type { ClassifierPreprocessingOptions } from "./tasks/classify/classifier-recipe.ts";
export type { ClassifierSpec } from "./tasks/classify/classifier-recognition.ts";
export { type DepthImageOptions, type DepthResult, depthImage } from "./tasks/depth/depth-map.ts";
export type { DepthKind } from "./tasks/depth/depth-task.ts";
export type { Box, Detection, DetectionResult } from "./tasks/detect/detection.ts";
export { drawDetections } from "./tasks/detect/draw.ts";
export { boxIou } from "./tasks/detect/nms.ts";
export type { DrawOptions } from "./tasks/draw-options.ts";
export type { ClassMetrics } from "./tasks/evaluate/average-precision.ts";
export type { ClassAccuracy, ClassEvaluation, Evaluation, ObjectEvaluation } from "./tasks/evaluate/evaluation.ts";
export type { BoxMetrics, KeypointMetrics, MetricsOfTask } from "./tasks/evaluate/measures.ts";
export type { ImageModelSpec } from "./tasks/image/image-recognition.ts";
export { probiou, rotatedCorners, rotatedIou } from "./tasks/obb/rotated.ts";
export type {
  ObjectResult,
  ObjectsOf,
  OrientedObject,
  Point,
  PoseObject,
  SegmentedObject,
} from "./tasks/objects/objects.ts";
export type { Keypoint } from "./tasks/pose/keypoints.ts";
export type { PersonBox } from "./tasks/pose/person-poses.ts";
export { Mask, type PolygonOptions } from "./tasks/segment/mask.ts";
export type { Polygon } from "./tasks/segment/outline.ts";
export type { Rle } from "./tasks/segment/rle.ts";
export { type ClassArea, maskOfClass, type SemanticResult } from "./tasks/semantic/class-map.ts";
export type { Drawable, DrawResultOptions, SaveResultOptions, Timing } from "./tasks/task-result.ts";
