/** @module Types of imported files: with `{ type: "file" }` an import gives a path; `bun build --compile` embeds the file. */

declare module "*.ptx" {
  const path: string;
  export default path;
}

declare module "*.so" {
  const path: string;
  export default path;
}

declare module "*.dylib" {
  const path: string;
  export default path;
}

declare module "*.dll" {
  const path: string;
  export default path;
}
