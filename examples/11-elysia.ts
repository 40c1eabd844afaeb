/** @module Two models in an Elysia app, each at its own path: `bun examples/11-elysia.ts street.jpg` */

import { Detector } from "bun-tensorrt";
import { createHandler, type ResultJson } from "bun-tensorrt/serve";
import { Elysia } from "elysia";

const [path = "street.jpg"] = process.argv.slice(2);
await using persons = await Detector.load("yolo11n", { classes: ["person"] });
await using things = await Detector.load("yolo11n", { classes: ["chair", "wine glass"] });
const handlers = {
  persons: createHandler(persons, { basePath: "/persons" }),
  things: createHandler(things, { basePath: "/things" }),
};

const app = new Elysia().get("/", "my app");
for (const [name, { fetch: answer }] of Object.entries(handlers)) {
  app.all(`/${name}/*`, ({ request, server }) => answer(request, server), { parse: "none" }); // the handler reads the body
}
app.listen(0);

for (const name of Object.keys(handlers)) {
  const address = `http://localhost:${app.server?.port}/${name}/detect`;
  const answer = await fetch(address, { method: "POST", body: Bun.file(path) });
  const { detections } = (await answer.json()) as ResultJson;
  console.log(`/${name}/detect ${detections.map(({ label }) => label).join(", ")}`);
}

for (const handler of Object.values(handlers)) await handler.close(); // the handlers first, then the server
await app.stop();
