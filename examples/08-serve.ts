/** @module A detector behind HTTP, asked once: `bun examples/08-serve.ts street.jpg` */

import { Detector } from "bun-tensorrt";
import { type ResultJson, serve } from "bun-tensorrt/serve";

const [path = "street.jpg"] = process.argv.slice(2);
await using detector = await Detector.load("yolo11n");
await using server = await serve(detector, { port: 0, name: "yolo11n" }); // port: 8080 to keep it where it is
console.log(`serving at ${server.url.protocol}//${server.url.hostname}`);

const answer = await fetch(new URL("/detect?threshold=0.5", server.url), { method: "POST", body: Bun.file(path) });
const { detections, timing } = (await answer.json()) as ResultJson;
console.log(`${path}: ${detections.length} objects in ${timing.total} ms`);

const refused = await fetch(new URL("/detect", server.url), { method: "POST", body: "not an image" });
console.log(refused.status, ((await refused.json()) as { error: { code: string } }).error.code);
