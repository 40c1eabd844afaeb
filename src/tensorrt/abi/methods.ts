/** @module SlotTable: which vtable slot a method has in one major version, and its resolution for one release. */

import { METHOD_NAMES, type MethodName } from "../../ffi/shim.ts";

/** A slot, or a slot and the minor version that brought the method. */
export type Slot = number | readonly [slot: number, sinceMinor: number];

/** The slots of one major version. A method without an entry does not exist in it. */
export interface SlotTable {
  /** Object layout of ILogger and IProfiler: unversioned in 10, versioned since 11. */
  readonly layout: 10 | 11;
  /** True where making a builder without a CUDA device ends the process. */
  readonly needsDevice: boolean;
  readonly slots: Readonly<Partial<Record<MethodName, Slot>>>;
  /** Releases, as `major.minor.patch`, that differ from the rest of their major version. */
  readonly exceptions?: Readonly<Record<string, Readonly<Partial<Record<MethodName, number>>>>>;
}

/** Stands for a missing method in {@linkcode resolveSlots}. */
export const NO_SLOT = -1;

/**
 * The slots of one release, in the shim's order.
 *
 * @param release `10.6.0`
 * @returns one entry a method, {@linkcode NO_SLOT} where the release has not (or not yet) got it
 */
export function resolveSlots(table: SlotTable, release: string): Int16Array<ArrayBuffer> {
  const minor = Number(release.split(".")[1]);
  const exceptions = table.exceptions?.[release];
  const resolved = new Int16Array(new ArrayBuffer(METHOD_NAMES.length * Int16Array.BYTES_PER_ELEMENT));
  METHOD_NAMES.forEach((method, id) => {
    const entry = exceptions?.[method] ?? table.slots[method];
    const [slot, since] = typeof entry === "number" ? [entry, 0] : (entry ?? [NO_SLOT, 0]);
    resolved[id] = minor >= since ? slot : NO_SLOT;
  });
  return resolved;
}

/** The minor version that brought a method, 0 for the first; `undefined` where no release of the table has it. */
export function sinceMinor(table: SlotTable, method: MethodName): number | undefined {
  const entry = table.slots[method];
  if (entry === undefined) return undefined;
  return typeof entry === "number" ? 0 : entry[1];
}

/** Slots of TensorRT 10, each with the minor version it appeared in. @see {@linkcode SlotTable} */
export const TENSORRT_10: SlotTable = {
  layout: 10,
  needsDevice: true,
  slots: {
    "Runtime.deserializeCudaEngine": 3,
    "Runtime.setErrorRecorder": 9,
    "Runtime.setDLACore": 5,
    "Runtime.setMaxThreads": 12,
    "Runtime.setEngineHostCodeAllowed": 21,

    "CudaEngine.getNbIOTensors": 30,
    "CudaEngine.getIOTensorName": 31,
    "CudaEngine.getTensorShape": 19,
    "CudaEngine.getTensorDataType": 20,
    "CudaEngine.getTensorIOMode": 23,
    "CudaEngine.getTensorFormat": 26,
    "CudaEngine.getTensorFormatDesc": 27,
    "CudaEngine.getTensorLocation": 21,
    "CudaEngine.isShapeInferenceIO": 22,
    "CudaEngine.getProfileShape": 29,
    "CudaEngine.getNbOptimizationProfiles": 10,
    "CudaEngine.getNbLayers": 3,
    "CudaEngine.getDeviceMemorySize": 7,
    "CudaEngine.getDeviceMemorySizeV2": [52, 1],
    "CudaEngine.getDeviceMemorySizeForProfileV2": [53, 1],
    "CudaEngine.createExecutionContext": 5,
    "CudaEngine.createEngineInspector": 18,
    "CudaEngine.getName": 9,
    "CudaEngine.getHardwareCompatibilityLevel": 32,
    "CudaEngine.getNbAuxStreams": 33,
    "CudaEngine.serialize": 4,
    "CudaEngine.isRefittable": 8,

    "ExecutionContext.setTensorAddress": 24,
    "ExecutionContext.setInputShape": 21,
    "ExecutionContext.getTensorShape": 22,
    "ExecutionContext.getTensorStrides": 23,
    "ExecutionContext.setOptimizationProfileAsync": 17,
    "ExecutionContext.getOptimizationProfile": 11,
    "ExecutionContext.enqueueV3": 37,
    "ExecutionContext.setProfiler": 5,
    "ExecutionContext.setEnqueueEmitsProfile": 18,
    "ExecutionContext.reportToProfiler": 20,
    "ExecutionContext.inferShapes": 28,
    "ExecutionContext.setDeviceMemory": 10,
    "ExecutionContext.setDeviceMemoryV2": [49, 1],
    "ExecutionContext.updateDeviceMemorySizeForShapes": 48,
    "ExecutionContext.setAuxStreams": 42,
    "ExecutionContext.setOutputAllocator": 32,
    "ExecutionContext.getMaxOutputSize": 34,
    "ExecutionContext.setPersistentCacheLimit": 38,

    "Builder.createNetworkV2": 8,
    "Builder.createBuilderConfig": 7,
    "Builder.createOptimizationProfile": 9,
    "Builder.buildSerializedNetwork": 14,
    "Builder.platformHasFastFp16": 2,
    "Builder.setMaxThreads": 17,
    "Builder.getNbDLACores": 5,
    "Builder.setErrorRecorder": 10,

    "BuilderConfig.setFlag": 11,
    "BuilderConfig.clearFlag": 10,
    "BuilderConfig.getFlag": 12,
    "BuilderConfig.setMemoryPoolLimit": 43,
    "BuilderConfig.getMemoryPoolLimit": 44,
    "BuilderConfig.setBuilderOptimizationLevel": 47,
    "BuilderConfig.getBuilderOptimizationLevel": 48,
    "BuilderConfig.setTimingCache": 41,
    "BuilderConfig.getTimingCache": 42,
    "BuilderConfig.createTimingCache": 40,
    "BuilderConfig.addOptimizationProfile": 25,
    "BuilderConfig.getNbOptimizationProfiles": 26,
    "BuilderConfig.setProfilingVerbosity": 27,
    "BuilderConfig.getProfilingVerbosity": 28,
    "BuilderConfig.setProgressMonitor": 56,
    "BuilderConfig.setHardwareCompatibilityLevel": 49,
    "BuilderConfig.getHardwareCompatibilityLevel": 50,
    "BuilderConfig.setDefaultDeviceType": 20,
    "BuilderConfig.setDLACore": 18,
    "BuilderConfig.setMaxAuxStreams": 54,

    "NetworkDefinition.getNbInputs": 14,
    "NetworkDefinition.getInput": 15,
    "NetworkDefinition.getNbOutputs": 16,
    "NetworkDefinition.getOutput": 17,
    "NetworkDefinition.getNbLayers": 12,
    "NetworkDefinition.getLayer": 13,
    "NetworkDefinition.setName": 30,
    "NetworkDefinition.getName": 31,
    "NetworkDefinition.getFlags": 64,

    "Tensor.getName": 3,
    "Tensor.getDimensions": 5,
    "Tensor.getType": 7,
    "Tensor.isShapeTensor": 21,

    "Layer.getType": 2,
    "Layer.getName": 4,
    "Layer.getNbInputs": 5,
    "Layer.getNbOutputs": 7,

    "OptimizationProfile.setDimensions": 2,
    "OptimizationProfile.getDimensions": 3,
    "OptimizationProfile.setShapeValues": 4,
    "OptimizationProfile.setShapeValuesV2": [10, 11],
    "OptimizationProfile.isValid": 9,

    "HostMemory.data": 2,
    "HostMemory.size": 3,

    "TimingCache.serialize": 2,
    "TimingCache.combine": 3,

    "EngineInspector.setExecutionContext": 3,
    "EngineInspector.getLayerInformation": 5,
    "EngineInspector.getEngineInformation": 6,

    "Parser.parse": 0,
    "Parser.getNbErrors": 5,
    "Parser.getError": 6,
    "Parser.destroy": 9,

    "ParserError.code": 0,
    "ParserError.desc": 1,
    "ParserError.nodeName": 6,
    "ParserError.nodeOperator": 7,
  },
  // A layer that was inserted in the middle of INetworkDefinition, and moved to the end in 10.9.
  exceptions: { "10.8.0": { "NetworkDefinition.getFlags": 65 } },
};

/** Slots of TensorRT 11, each with the minor version it appeared in. @see {@linkcode SlotTable} */
export const TENSORRT_11: SlotTable = {
  layout: 11,
  needsDevice: true,
  slots: {
    "Runtime.deserializeCudaEngine": 3,
    "Runtime.setErrorRecorder": 8,
    "Runtime.setDLACore": 4,
    "Runtime.setMaxThreads": 11,
    "Runtime.setEngineHostCodeAllowed": 20,

    "CudaEngine.getNbIOTensors": 26,
    "CudaEngine.getIOTensorName": 27,
    "CudaEngine.getTensorShape": 15,
    "CudaEngine.getTensorDataType": 16,
    "CudaEngine.getTensorIOMode": 19,
    "CudaEngine.getTensorFormat": 22,
    "CudaEngine.getTensorFormatDesc": 23,
    "CudaEngine.getTensorLocation": 17,
    "CudaEngine.isShapeInferenceIO": 18,
    "CudaEngine.getProfileShape": 25,
    "CudaEngine.getNbOptimizationProfiles": 8,
    "CudaEngine.getNbLayers": 3,
    "CudaEngine.getDeviceMemorySizeV2": 44,
    "CudaEngine.getDeviceMemorySizeForProfileV2": 45,
    "CudaEngine.createExecutionContext": 5,
    "CudaEngine.createEngineInspector": 14,
    "CudaEngine.getName": 7,
    "CudaEngine.getHardwareCompatibilityLevel": 28,
    "CudaEngine.getNbAuxStreams": 29,
    "CudaEngine.serialize": 4,
    "CudaEngine.isRefittable": 6,

    "ExecutionContext.setTensorAddress": 23,
    "ExecutionContext.setInputShape": 20,
    "ExecutionContext.getTensorShape": 21,
    "ExecutionContext.getTensorStrides": 22,
    "ExecutionContext.setOptimizationProfileAsync": 16,
    "ExecutionContext.getOptimizationProfile": 11,
    "ExecutionContext.enqueueV3": 36,
    "ExecutionContext.setProfiler": 5,
    "ExecutionContext.setEnqueueEmitsProfile": 17,
    "ExecutionContext.reportToProfiler": 19,
    "ExecutionContext.inferShapes": 27,
    "ExecutionContext.setDeviceMemory": 10,
    "ExecutionContext.setDeviceMemoryV2": 48,
    "ExecutionContext.updateDeviceMemorySizeForShapes": 47,
    "ExecutionContext.setAuxStreams": 41,
    "ExecutionContext.setOutputAllocator": 31,
    "ExecutionContext.getMaxOutputSize": 33,
    "ExecutionContext.setPersistentCacheLimit": 37,

    "Builder.createNetworkV2": 6,
    "Builder.createBuilderConfig": 5,
    "Builder.createOptimizationProfile": 7,
    "Builder.buildSerializedNetwork": 11,
    "Builder.setMaxThreads": 14,
    "Builder.getNbDLACores": 3,
    "Builder.setErrorRecorder": 8,

    "BuilderConfig.setFlag": 9,
    "BuilderConfig.clearFlag": 8,
    "BuilderConfig.getFlag": 10,
    "BuilderConfig.setMemoryPoolLimit": 32,
    "BuilderConfig.getMemoryPoolLimit": 33,
    "BuilderConfig.setBuilderOptimizationLevel": 36,
    "BuilderConfig.getBuilderOptimizationLevel": 37,
    "BuilderConfig.setTimingCache": 30,
    "BuilderConfig.getTimingCache": 31,
    "BuilderConfig.createTimingCache": 29,
    "BuilderConfig.addOptimizationProfile": 23,
    "BuilderConfig.getNbOptimizationProfiles": 24,
    "BuilderConfig.setProfilingVerbosity": 25,
    "BuilderConfig.getProfilingVerbosity": 26,
    "BuilderConfig.setProgressMonitor": 45,
    "BuilderConfig.setHardwareCompatibilityLevel": 38,
    "BuilderConfig.getHardwareCompatibilityLevel": 39,
    "BuilderConfig.setDefaultDeviceType": 18,
    "BuilderConfig.setDLACore": 16,
    "BuilderConfig.setMaxAuxStreams": 43,

    "NetworkDefinition.getNbInputs": 14,
    "NetworkDefinition.getInput": 15,
    "NetworkDefinition.getNbOutputs": 16,
    "NetworkDefinition.getOutput": 17,
    "NetworkDefinition.getNbLayers": 12,
    "NetworkDefinition.getLayer": 13,
    "NetworkDefinition.setName": 30,
    "NetworkDefinition.getName": 31,
    "NetworkDefinition.getFlags": 61,

    "Tensor.getName": 3,
    "Tensor.getDimensions": 5,
    "Tensor.getType": 6,
    "Tensor.isShapeTensor": 15,

    "Layer.getType": 2,
    "Layer.getName": 4,
    "Layer.getNbInputs": 5,
    "Layer.getNbOutputs": 7,

    "OptimizationProfile.setDimensions": 2,
    "OptimizationProfile.getDimensions": 3,
    "OptimizationProfile.setShapeValuesV2": 8,
    "OptimizationProfile.isValid": 7,

    "HostMemory.data": 2,
    "HostMemory.size": 3,

    "TimingCache.serialize": 2,
    "TimingCache.combine": 3,

    "EngineInspector.setExecutionContext": 3,
    "EngineInspector.getLayerInformation": 5,
    "EngineInspector.getEngineInformation": 6,

    "Parser.parse": 0,
    "Parser.getNbErrors": 3,
    "Parser.getError": 4,
    "Parser.destroy": 7,

    "ParserError.code": 0,
    "ParserError.desc": 1,
    "ParserError.nodeName": 6,
    "ParserError.nodeOperator": 7,
  },
};

/** Slots of TensorRT-RTX from 1.5 on, where they differ from TensorRT 11. @see {@linkcode SlotTable} */
export const TENSORRT_RTX: SlotTable = {
  layout: 11,
  // Engines are built for a named compute capability, on any machine.
  needsDevice: false,
  slots: {
    ...TENSORRT_11.slots,
    "BuilderConfig.setNbComputeCapabilities": 55,
    "BuilderConfig.setComputeCapability": 57,
    // The plugin methods before them are missing.
    "NetworkDefinition.setName": 28,
    "NetworkDefinition.getName": 29,
    "NetworkDefinition.getFlags": 59,
    // setLocation, getLocation and the broadcast methods before it are missing.
    "Tensor.isShapeTensor": 11,
  },
};
