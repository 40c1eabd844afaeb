import { testSegmenter } from "../contract/segment-contract.ts";

testSegmenter("cpu");
