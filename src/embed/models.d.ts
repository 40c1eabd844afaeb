/** @module Types of models that a program imports with `{ type: "file" }`: the import gives a path. */

declare module "*.onnx" {
  const path: string;
  export default path;
}

declare module "*.plan" {
  const path: string;
  export default path;
}

declare module "*.engine" {
  const path: string;
  export default path;
}
