/** @module Types of imported files: with `{ type: "file" }` an import gives a path; `bun build --compile` embeds the file. */

declare module "*.ptx" {
  const path: string;
  export default path;
}

declare module "*.so" {
  const path: string;
  export default path;
}

declare module "*.so.1" {
  const path: string;
  export default path;
}

declare module "*.dylib" {
  const path: string;
  export default path;
}

declare module "*/koffi.node" {
  const path: string;
  export default path;
}

declare module "@img/sharp-libvips-*" {
  const path: string;
  export default path;
}
