import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failureOf, RawConnection, ToyServer, WHITE_JPEG } from "../support/serving.ts";

setDefaultTimeout(120_000);

test("a token is asked for everywhere but at probes and the page", async () => {
  await using toy = await ToyServer.open({ token: "open-sesame" });
  expect((await toy.get("/v2/models/other")).status).toBe(401);
  const wrong = ["", "Bearer", "Bearer open", "Bearer open-sesame-street", "Basic open-sesame", "open-sesame"];
  for (const path of ["/detect", "/model", "/metrics", "/v2", "/v2/models/toy", "/v2/models/toy/infer"]) {
    const isPost = path.endsWith("/detect") || path.endsWith("/infer");
    const method = isPost ? "POST" : "GET";
    const headers = { "Inference-Header-Content-Length": "0" };
    const ask = (authorization: string): Promise<Response> =>
      toy.get(path, { method, headers: { ...headers, authorization }, ...(isPost ? { body: WHITE_JPEG } : {}) });
    for (const authorization of wrong) {
      const response = await ask(authorization);
      expect([path, authorization, response.status]).toEqual([path, authorization, 401]);
      expect(response.headers.get("www-authenticate")).toStartWith("Bearer");
    }
    expect((await ask("Bearer open-sesame")).status).toBe(200);
    expect((await ask("bearer open-sesame")).status).toBe(200);
  }
  for (const path of ["/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"]) {
    expect((await toy.get(path)).status).toBe(200);
  }
});

test("pages of other origins read nothing unless they are named", async () => {
  const from = (origin: string): RequestInit => ({ headers: { origin } });
  const allowed = async (toy: ToyServer, origin: string): Promise<string | null> =>
    (await toy.get("/model", from(origin))).headers.get("access-control-allow-origin");
  {
    await using toy = await ToyServer.open();
    expect(await allowed(toy, "https://example.org")).toBe(null);
    const asked = await toy.get("/detect", {
      method: "OPTIONS",
      headers: { origin: "https://example.org", "access-control-request-method": "POST" },
    });
    expect(await failureOf(asked)).toBe("405 wrong-method");
  }
  {
    await using toy = await ToyServer.open({ cors: ["https://example.org", "http://localhost:3000"], token: "x" });
    const headers = { origin: "http://localhost:3000", "access-control-request-method": "POST" };
    const asked = await toy.get("/detect", { method: "OPTIONS", headers });
    expect(asked.status).toBe(204);
    expect(asked.headers.get("access-control-allow-origin")).toBe("http://localhost:3000");
    expect(asked.headers.get("access-control-allow-methods")).toBe("POST");
    expect(asked.headers.get("access-control-allow-headers")).toContain("Authorization");
    const refused = await toy.get("/model", from("https://example.org"));
    // A page must be able to read why it was refused.
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, "https://example.org"]);
    expect(refused.headers.get("vary")).toBe("Origin");
    expect(await allowed(toy, "https://example.com")).toBe(null);
  }
  await using toy = await ToyServer.open({ cors: "*" });
  expect(await allowed(toy, "https://example.com")).toBe("*");
});

test("a server on a Unix socket answers there, and takes it away", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-unix-"));
  const unix = join(folder, "detector.sock");
  try {
    await using toy = await ToyServer.open({ unix });
    await expect(ToyServer.open({ unix })).rejects.toThrow(
      `${unix} (the file exists)\nHint: stop the server that listens there`,
    );
    expect(toy.server.url.href).toBe(`unix://${unix}`);
    const response = await fetch("http://localhost/detect", { method: "POST", body: WHITE_JPEG, unix });
    expect(((await response.json()) as { width: number }).width).toBe(64);
    await toy.server.close();
    await expect(fetch("http://localhost/", { unix })).rejects.toThrow();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a socket file that a killed server left behind is taken over, another file is not", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-unix-"));
  const unix = join(folder, "detector.sock");
  try {
    const program = `Bun.serve({ unix: ${JSON.stringify(unix)}, fetch: () => new Response() }); process.kill(process.pid, 9)`;
    Bun.spawnSync([process.execPath, "-e", program]);
    expect(existsSync(unix)).toBe(true);
    await using toy = await ToyServer.open({ unix });
    expect((await fetch("http://localhost/healthz", { unix })).status).toBe(200);
    await toy.server.close();
    writeFileSync(unix, "precious");
    await expect(ToyServer.open({ unix })).rejects.toThrow("the file exists");
    expect(readFileSync(unix, "utf8")).toBe("precious");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("on loopback only this machine's names are answered, and those that were named", async () => {
  const status = async (toy: ToyServer, host: string, path = "/model"): Promise<number> => {
    const connection = await RawConnection.open(toy.server.url);
    connection.send(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    const found = await connection.status();
    connection.cut();
    return found;
  };
  await using toy = await ToyServer.open({ host: "127.0.0.1" });
  for (const host of [
    "localhost",
    "localhost:8080",
    "LOCALHOST.",
    "a.localhost",
    "127.0.0.1:1",
    "127.9.9.9",
    "[::1]:80",
  ]) {
    expect([host, await status(toy, host)]).toEqual([host, 200]);
  }
  const foreign = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1@evil",
    "192.168.0.7",
    "a b",
  ];
  for (const host of foreign) {
    for (const path of ["/model", "/healthz", "/nothing"]) {
      expect([host, await status(toy, host, path)]).toEqual([host, 421]);
    }
  }
  await using named = await ToyServer.open({ host: "127.0.0.1", allowHost: ["detector.example", "192.168.0.7"] });
  expect(await status(named, "Detector.Example:443")).toBe(200);
  expect(await status(named, "192.168.0.7")).toBe(200);
  expect(await status(named, "evil.example")).toBe(421);
  await using any = await ToyServer.open({ host: "127.0.0.1", allowHost: "*" });
  expect(await status(any, "evil.example")).toBe(200);
  await using everywhere = await ToyServer.open({ host: "0.0.0.0" });
  expect(await status(everywhere, "evil.example")).toBe(200);
  await using strict = await ToyServer.open({ host: "0.0.0.0", allowHost: "detector.example" });
  expect([await status(strict, "evil.example"), await status(strict, "detector.example")]).toEqual([421, 200]);
});

test("a page of another origin sends no image unless it is named", async () => {
  const post = (toy: ToyServer, headers: Readonly<Record<string, string>>): Promise<Response> =>
    toy.post("/detect", WHITE_JPEG, headers);
  await using toy = await ToyServer.open();
  const { host, origin } = toy.server.url;
  for (const foreign of [
    "https://evil.example",
    "null",
    `http://${host}.evil.example`,
    "http://localhost:1",
    "http://127.0.0.1:1",
    "x",
  ]) {
    expect(await failureOf(post(toy, { origin: foreign }))).toBe("403 cross-site");
    const infer = toy.post("/v2/models/toy/infer", WHITE_JPEG, {
      origin: foreign,
      "inference-header-content-length": "0",
    });
    expect((await infer).status).toBe(403);
  }
  expect((await post(toy, { origin: "https://evil.example", "sec-fetch-site": "cross-site" })).status).toBe(403);
  expect((await post(toy, {})).status).toBe(200);
  expect((await post(toy, { origin })).status).toBe(200);
  // Behind a proxy that writes its own Host the browser's word counts.
  expect((await post(toy, { origin: "https://detector.example", "sec-fetch-site": "same-origin" })).status).toBe(200);
  for (const cors of ["https://friend.example", "*"]) {
    await using open = await ToyServer.open({ cors });
    expect((await post(open, { origin: "https://friend.example" })).status).toBe(200);
  }
  await using named = await ToyServer.open({ allowHost: "detector.example" });
  expect((await post(named, { origin: "https://detector.example" })).status).toBe(200);
  expect((await post(named, { origin: "https://evil.example" })).status).toBe(403);
});
