/** @module Detection as a part of a Hono app, asked three times: `bun examples/10-hono.ts street.jpg` */

import { Detector } from "bun-tensorrt";
import { createHandler, type ResultJson } from "bun-tensorrt/serve";
import { Hono } from "hono";

const [path = "street.jpg"] = process.argv.slice(2);
await using detector = await Detector.load("yolo11n");
await using vision = createHandler(detector, { basePath: "/vision", token: "secret" });

const app = new Hono();
app.get("/", (context) => context.text("my app"));
app.all("/vision/*", (context) => vision.fetch(context.req.raw, context.env));
// A route of one's own beside it, with the same model.
app.post("/persons", async (context) => {
  const { detections } = await detector.detect(await context.req.blob(), { classes: ["person"] });
  return context.json({ persons: detections.length });
});

const server = Bun.serve({ port: 0, fetch: app.fetch });
const ask = (address: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(new URL(address, server.url), { method: "POST", body: Bun.file(path), headers });

console.log("/persons", await (await ask("/persons")).text());
const { detections } = (await (await ask("/vision/detect", { authorization: "Bearer secret" })).json()) as ResultJson;
console.log(`/vision/detect ${detections.length} objects, best: ${detections[0]?.label}`);
console.log("/vision/detect without the token", (await ask("/vision/detect")).status);

await vision.close(); // the handler first, then the server
await server.stop();
