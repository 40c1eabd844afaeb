/** @module bun-tensorrt: objects in images, from Bun, on the machine at hand. Importing it opens no library. */

export type {
  FirstEngine,
  JpegDecoding,
  OnnxRuntimeOptions,
  StreamLayout,
  TensorRtOptions,
  ZeroCopy,
} from "./accelerators/accelerator-options.ts";
export type { SliceOptions, WarmUpOptions } from "./api/call-options.ts";
export { Detector } from "./api/detector.ts";
export type { DetectOptions, DetectorOptions, EvaluateOptions, StreamOptions } from "./api/detector-config.ts";
export { type EvaluatedModel, evaluate } from "./api/evaluate.ts";
export {
  ImageModel,
  type TransformOptions,
  type TransformResult,
  type TransformStreamOptions,
  type TransformStreamResult,
} from "./api/image-model.ts";
export type { ImageModelOptions } from "./api/image-model-config.ts";
export type { BackendName } from "./api/machine-options.ts";
export { Model, type ModelOptions } from "./api/model.ts";
export type { ModelSource } from "./api/model-source.ts";
export {
  type AnyDetector,
  type ObjectModelOptions,
  OrientedDetector,
  PoseEstimator,
  Segmenter,
  TopDownPoseEstimator,
  type TopDownResult,
} from "./api/object-model.ts";
export type { StagedBatch } from "./api/staged-batch.ts";
export type { StreamResult, StreamSummary } from "./api/stream.ts";
export type {
  ClassifierOptions,
  ClassifyOptions,
  ClassifyStreamOptions,
  DepthEstimatorOptions,
  MapOptions,
  MapStreamOptions,
  SemanticSegmenterOptions,
  TopDownPoseOptions,
} from "./api/whole-image-config.ts";
export {
  type Classification,
  Classifier,
  type ClassifyStreamResult,
  DepthEstimator,
  SemanticSegmenter,
} from "./api/whole-image-models.ts";
export {
  ArgumentError,
  BunTensorRtError,
  CatalogueError,
  ClosedError,
  CudaError,
  type CudaErrorOptions,
  DecodeStalledError,
  DecodeTimeoutError,
  ImageError,
  ImageSizeError,
  LibraryLoadError,
  ModelError,
  NativeError,
  type NativeErrorOptions,
  OnnxRuntimeError,
  OptionError,
  OutOfMemoryError,
  PlanMismatchError,
  RedisError,
  RequestError,
  ShapeError,
  TensorRtError,
  type TensorRtErrorOptions,
  TransferError,
  UnavailableError,
  UnsupportedVideoError,
  VideoError,
} from "./core/errors.ts";
export { type LogLevel, type LogSink, setLogSink } from "./core/log.ts";
export type { Tensor, TensorInfo } from "./core/tensor.ts";
export type { AnchorsTaken } from "./heads/anchors.ts";
export type { KeypointForm, ModelSpec, SizeInput } from "./heads/head.ts";
export type {
  AnchorOffsetsLevel,
  AnchorOffsetsPlan,
  ChosenPlan,
  FaceLevel,
  FacesPlan,
  HostPlan,
  MaskQueriesPlan,
  MaskRule,
  MaskSource,
  OwnPlan,
  PartsPlan,
  PlaneRule,
  PlanesPlan,
  PriorsPlan,
  PrototypeRule,
  RowColumns,
} from "./heads/host-plan.ts";
export type { ImageInput } from "./heads/image-input.ts";
export {
  defineHead,
  type FoundObjects,
  type HeadDefinition,
  type HeadMasks,
  type HeadModel,
  type HeadOutputs,
  type HeadPlanes,
  type HeadReading,
} from "./heads/own-head-options.ts";
export type {
  AnchorLevel,
  AnchorMapsPlan,
  ColumnsPlan,
  DecodePlan,
  DensePlan,
  DistanceBinsLevel,
  DistanceBinsPlan,
  DistanceLevel,
  DistanceMapsPlan,
  FastestDetPlan,
  GridPlan,
  MapPlan,
  OffsetLevel,
  OffsetMapsPlan,
  QueriesPlan,
  RawBoxForm,
  RowsPlan,
} from "./heads/plans.ts";
export type { ObjectTaskName } from "./heads/traits.ts";
export type { CropRounding, Edge, Fit, Rectangle, Region, Resized, Size } from "./image/geometry.ts";
export {
  type DevicePlanes,
  type Image,
  type ImageLayout,
  imageOf,
  type PackedFormat,
  type PackedImage,
  type PixelFormat,
  type SampleFormat,
  type YuvRange,
  type YuvStandard,
} from "./image/image.ts";
export type { DecodedImage } from "./image/image-decoder.ts";
export { type ByteDecodeOptions, type DecodeOptions, decodeImage, encodeImage } from "./image/image-file.ts";
export type { EncodedFormat, EncodeOptions } from "./image/image-options.ts";
export type { Preprocessing, PreprocessingOptions, Quadruple, Resize, Triple } from "./image/preprocessing.ts";
export type { ImageSource } from "./image/source.ts";
export type { ModelInfo } from "./model/model-info.ts";
export type { RowExtra, RowMap, RowMaps } from "./model/rows.ts";
export type { ProviderChoice } from "./onnxruntime/session-options.ts";
export { compare, convert } from "./precision/precision.ts";
export type {
  CalibrationMethod,
  ComparedModel,
  CompareOptions,
  Comparison,
  Conversion,
  ConversionReport,
  ConvertedLayer,
  ConvertedPrecision,
  ConvertOptions,
  ConvertProgress,
  Sensitivity,
  TensorDifference,
  UnmatchedTensor,
} from "./precision/precision-config.ts";
export type { BackendInfo, BuildProgress, StageTimings } from "./runtime/backend.ts";
export {
  type Box,
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
export type { ClassifierPreprocessing, ClassifierPreprocessingOptions } from "./tasks/classify/classifier-recipe.ts";
export type { Activation, ClassifierSpec, ScoreKind } from "./tasks/classify/classifier-recognition.ts";
export type { ClassificationResult, ImageClass } from "./tasks/classify/classify-task.ts";
export {
  type DepthImageOptions,
  type DepthKind,
  type DepthMap,
  type DepthResult,
  depthImage,
} from "./tasks/depth/depth-task.ts";
export type { Detection, DetectionResult } from "./tasks/detect/detection.ts";
export { drawDetections, type LabelledBox } from "./tasks/detect/draw.ts";
export { boxIou } from "./tasks/detect/nms.ts";
export type { DrawOptions, LetterboxOptions, NmsChoice } from "./tasks/draw-options.ts";
export type {
  BoxMetricName,
  BoxMetrics,
  ClassMetrics,
  KeypointMetricName,
  KeypointMetrics,
  MeasuredTask,
  Metrics,
  MetricsOfTask,
  PrecisionReport,
} from "./tasks/evaluate/average-precision.ts";
export type {
  ClassAccuracy,
  ClassAgreement,
  ClassEvaluation,
  Evaluation,
  ImageAgreement,
  ObjectAgreement,
  ObjectEvaluation,
} from "./tasks/evaluate/evaluation.ts";
export type {
  ImageModelSpec,
  PerChannel,
  PixelChannels,
  PixelRange,
  PixelTensor,
} from "./tasks/image/image-recognition.ts";
export type { MapPreprocessingOptions } from "./tasks/image/map-recognition.ts";
export type { Padding, SliceEdges, SliceMerge, SliceMetric, Tile, TileGrid } from "./tasks/image-grid.ts";
export { probiou, type RotatedSuppression, rotatedCorners, rotatedIou } from "./tasks/obb/rotated.ts";
export type {
  Keypoint,
  ObjectOfTask,
  ObjectResult,
  ObjectsOf,
  OrientedObject,
  Point,
  PoseObject,
  SegmentedObject,
} from "./tasks/objects/objects.ts";
export type { Refinement, SimccScore } from "./tasks/pose/person-image.ts";
export type { PersonBox } from "./tasks/pose/top-down.ts";
export { Mask, type MaskParts, type PolygonOptions } from "./tasks/segment/mask.ts";
export type { Polygon, Rle } from "./tasks/segment/mask-forms.ts";
export type { MaskSize } from "./tasks/segment/mask-plan.ts";
export { type ClassArea, type ClassMap, maskOfClass, type SemanticResult } from "./tasks/semantic/semantic-task.ts";
export type {
  Drawable,
  DrawResultOptions,
  SaveResultOptions,
  TaskResult,
  TensorTraits,
  Timing,
} from "./tasks/task-result.ts";
