/** Importing a .ptx file with `{ type: "file" }` gives its path; `bun build --compile` embeds the file. */
declare module "*.ptx" {
  const path: string;
  export default path;
}
