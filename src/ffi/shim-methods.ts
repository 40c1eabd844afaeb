/**
 * @module The methods of TensorRT that the shim can call, in the order of BT_METHODS in native/shim.h, each with the
 * shape it is called by. A method's place in this list is its number.
 */

/** `Class.method` → shape: the function `bt_<shape>`, or one of its own for `special`. */
export const SHIM_METHODS = {
  "Runtime.deserializeCudaEngine": "special",
  "Runtime.setErrorRecorder": "void_pointer",
  "Runtime.setDLACore": "void_i32",
  "Runtime.setMaxThreads": "bool_i32",
  "Runtime.setEngineHostCodeAllowed": "void_bool",
  "CudaEngine.getNbIOTensors": "i32",
  "CudaEngine.getIOTensorName": "text_at",
  "CudaEngine.getTensorShape": "special",
  "CudaEngine.getTensorDataType": "i32_of",
  "CudaEngine.getTensorIOMode": "i32_of",
  "CudaEngine.getTensorFormat": "i32_of",
  "CudaEngine.getTensorFormatDesc": "text_of",
  "CudaEngine.getTensorLocation": "i32_of",
  "CudaEngine.isShapeInferenceIO": "bool_of",
  "CudaEngine.getProfileShape": "special",
  "CudaEngine.getNbOptimizationProfiles": "i32",
  "CudaEngine.getNbLayers": "i32",
  "CudaEngine.getDeviceMemorySize": "i64",
  "CudaEngine.getDeviceMemorySizeV2": "i64",
  "CudaEngine.getDeviceMemorySizeForProfileV2": "i64_at",
  "CudaEngine.createExecutionContext": "special",
  "CudaEngine.createEngineInspector": "pointer",
  "CudaEngine.getName": "text",
  "CudaEngine.getHardwareCompatibilityLevel": "i32",
  "CudaEngine.getNbAuxStreams": "i32",
  "CudaEngine.serialize": "pointer",
  "CudaEngine.isRefittable": "bool",
  "ExecutionContext.setTensorAddress": "special",
  "ExecutionContext.setInputShape": "special",
  "ExecutionContext.getTensorShape": "special",
  "ExecutionContext.getTensorStrides": "special",
  "ExecutionContext.setOptimizationProfileAsync": "special",
  "ExecutionContext.getOptimizationProfile": "i32",
  "ExecutionContext.enqueueV3": "special",
  "ExecutionContext.setProfiler": "void_pointer",
  "ExecutionContext.setEnqueueEmitsProfile": "void_bool",
  "ExecutionContext.reportToProfiler": "bool",
  "ExecutionContext.inferShapes": "special",
  "ExecutionContext.setDeviceMemory": "void_pointer",
  "ExecutionContext.setDeviceMemoryV2": "special",
  "ExecutionContext.updateDeviceMemorySizeForShapes": "i64",
  "ExecutionContext.setAuxStreams": "special",
  "ExecutionContext.setOutputAllocator": "special",
  "ExecutionContext.getMaxOutputSize": "i64_of",
  "ExecutionContext.setPersistentCacheLimit": "void_i64",
  "Builder.createNetworkV2": "pointer_at",
  "Builder.createBuilderConfig": "pointer",
  "Builder.createOptimizationProfile": "pointer",
  "Builder.buildSerializedNetwork": "special",
  "Builder.platformHasFastFp16": "bool",
  "Builder.setMaxThreads": "bool_i32",
  "Builder.getNbDLACores": "i32",
  "Builder.setErrorRecorder": "void_pointer",
  "BuilderConfig.setFlag": "void_i32",
  "BuilderConfig.clearFlag": "void_i32",
  "BuilderConfig.getFlag": "bool_i32",
  "BuilderConfig.setMemoryPoolLimit": "special",
  "BuilderConfig.getMemoryPoolLimit": "i64_at",
  "BuilderConfig.setBuilderOptimizationLevel": "void_i32",
  "BuilderConfig.getBuilderOptimizationLevel": "i32",
  "BuilderConfig.setTimingCache": "special",
  "BuilderConfig.getTimingCache": "pointer",
  "BuilderConfig.createTimingCache": "special",
  "BuilderConfig.addOptimizationProfile": "i32_pointer",
  "BuilderConfig.getNbOptimizationProfiles": "i32",
  "BuilderConfig.setProfilingVerbosity": "void_i32",
  "BuilderConfig.getProfilingVerbosity": "i32",
  "BuilderConfig.setProgressMonitor": "void_pointer",
  "BuilderConfig.setHardwareCompatibilityLevel": "void_i32",
  "BuilderConfig.getHardwareCompatibilityLevel": "i32",
  "BuilderConfig.setDefaultDeviceType": "void_i32",
  "BuilderConfig.setDLACore": "void_i32",
  "BuilderConfig.setMaxAuxStreams": "void_i32",
  "BuilderConfig.setNbComputeCapabilities": "bool_i32",
  "BuilderConfig.setComputeCapability": "special",
  "NetworkDefinition.getNbInputs": "i32",
  "NetworkDefinition.getInput": "pointer_at",
  "NetworkDefinition.getNbOutputs": "i32",
  "NetworkDefinition.getOutput": "pointer_at",
  "NetworkDefinition.getNbLayers": "i32",
  "NetworkDefinition.getLayer": "pointer_at",
  "NetworkDefinition.setName": "void_text",
  "NetworkDefinition.getName": "text",
  "NetworkDefinition.getFlags": "i32",
  "Tensor.getName": "text",
  "Tensor.getDimensions": "special",
  "Tensor.getType": "i32",
  "Tensor.isShapeTensor": "bool",
  "Layer.getType": "i32",
  "Layer.getName": "text",
  "Layer.getNbInputs": "i32",
  "Layer.getNbOutputs": "i32",
  "OptimizationProfile.setDimensions": "special",
  "OptimizationProfile.getDimensions": "special",
  "OptimizationProfile.setShapeValues": "special",
  "OptimizationProfile.setShapeValuesV2": "special",
  "OptimizationProfile.isValid": "bool",
  "HostMemory.data": "pointer",
  "HostMemory.size": "i64",
  "TimingCache.serialize": "pointer",
  "TimingCache.combine": "special",
  "EngineInspector.setExecutionContext": "bool_pointer",
  "EngineInspector.getLayerInformation": "special",
  "EngineInspector.getEngineInformation": "text_at",
  "Parser.parse": "special",
  "Parser.getNbErrors": "i32",
  "Parser.getError": "pointer_at",
  "Parser.destroy": "special",
  "ParserError.code": "i32",
  "ParserError.desc": "text",
  "ParserError.nodeName": "text",
  "ParserError.nodeOperator": "text",
} as const;

/** A method the shim knows: `CudaEngine.getNbIOTensors`, for nvinfer1::ICudaEngine::getNbIOTensors. */
export type MethodName = keyof typeof SHIM_METHODS;

/** Shape of a method. */
export type MethodShape = (typeof SHIM_METHODS)[MethodName];

/** The methods of one shape. */
export type MethodOf<Shape extends MethodShape> = {
  [Name in MethodName]: (typeof SHIM_METHODS)[Name] extends Shape ? Name : never;
}[MethodName];

/** Every method in the shim's order. */
export const METHOD_NAMES: readonly MethodName[] = Object.keys(SHIM_METHODS) as MethodName[];

const IDS = new Map(METHOD_NAMES.map((name, id) => [name, id]));

/** A method's number in the shim. */
export function methodId(name: MethodName): number {
  return IDS.get(name)!;
}

/** `IBuilderConfig::setFlag`, as NVIDIA's documentation spells `BuilderConfig.setFlag`. */
export function nativeMethodName(name: MethodName): string {
  return `I${name.replace(".", "::")}`;
}
