/** @module Types of imported .ptx files: with `{ type: "file" }` an import gives a path; `bun build --compile` embeds the file. */

declare module "*.ptx" {
  const path: string;
  export default path;
}
