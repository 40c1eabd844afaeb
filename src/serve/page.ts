/** @module Page: the page to drop a picture on. */

import { createHash } from "node:crypto";
import page from "./page.html" with { type: "text" };

// Bun's types take every imported page for a bundle; as text it is a string.
const html: string = page as unknown as string;

/** `'sha256-…'` of the page's only element of that kind, for its Content-Security-Policy. */
function sourceHash(element: "style" | "script"): string {
  const text = new RegExp(`<${element}>([\\s\\S]*?)</${element}>`).exec(html)?.[1] ?? "";
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

let policy: string | undefined;

/** The page. It loads nothing from elsewhere, and is not let to. */
export function pageResponse(): Response {
  policy ??= [
    "default-src 'none'",
    `script-src ${sourceHash("script")}`,
    `style-src ${sourceHash("style")}`,
    "img-src blob: data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
  return new Response(html, {
    headers: { "content-type": "text/html; charset=utf-8", "content-security-policy": policy },
  });
}
