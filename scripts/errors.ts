/**
 * @module Writes docs/errors.md from the sources: each error class, what it carries, and every message with its hint. What a
 * message is filled in with when it is thrown is an ellipsis. `bun scripts/errors.ts` after a message has changed.
 */

import { join } from "node:path";
import ts from "typescript-6";
import { explain } from "../src/cuda/check.ts";

const root = join(import.meta.dir, "..");
const CLASSES_FILE = "src/core/errors.ts";
const ELLIPSIS = "…";

/** An error class as it is declared. */
interface ErrorClass {
  readonly name: string;
  readonly base: string;
  readonly when: string;
  /** Name and docstring of what it carries. */
  readonly fields: readonly (readonly [name: string, text: string])[];
}

/** One message of a class. */
interface Entry {
  readonly text: string;
  readonly hint: string;
  /** What a service answers with: `413 too-many-files`. */
  readonly code?: string;
}

function docstringOf(node: ts.Node): string {
  const { jsDoc } = node as { readonly jsDoc?: readonly ts.JSDoc[] };
  return (ts.getTextOfJSDocComment(jsDoc?.[0]?.comment) ?? "").replaceAll(/\s*\n\s*/g, " ").trim();
}

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
}

function classesOf(file: ts.SourceFile): ErrorClass[] {
  return file.statements.filter(ts.isClassDeclaration).map((declaration) => ({
    name: declaration.name!.text,
    base: declaration.heritageClauses![0]!.types[0]!.expression.getText(),
    when: docstringOf(declaration),
    fields: declaration.members
      .filter(ts.isPropertyDeclaration)
      .filter(
        ({ name, modifiers }) =>
          name.getText() !== "name" && !modifiers?.some(({ kind }) => kind === ts.SyntaxKind.OverrideKeyword),
      )
      .map((field) => [field.name.getText(), docstringOf(field)]),
  }));
}

function enclosing(node: ts.Node): ts.Node {
  let at = node.parent;
  while (at.parent !== undefined && !(ts.isFunctionLike(at) && "body" in at && at.body !== undefined)) at = at.parent;
  return at;
}

/** The value that a name is declared with in the function around it, or in the file. */
function initialiser(name: ts.Identifier): ts.Expression | undefined {
  const look = (scope: ts.Node): ts.Expression | undefined => {
    let found: ts.Expression | undefined;
    const visit = (node: ts.Node): void => {
      const isIt = ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) && node.name.text === name.text;
      if (isIt) found ??= node.initializer;
      ts.forEachChild(node, visit);
    };
    visit(scope);
    return found;
  };
  return look(enclosing(name)) ?? look(name.getSourceFile());
}

/** The text of an expression, as far as it is there before the program runs. */
function textOf(node: ts.Expression | undefined, depth = 0): string {
  if (node === undefined) return "";
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isParenthesizedExpression(node)) return textOf(node.expression, depth);
  if (ts.isTemplateExpression(node)) {
    return (
      node.head.text +
      node.templateSpans.map(({ expression, literal }) => textOf(expression, depth) + literal.text).join("")
    );
  }
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    return textOf(node.left, depth) + textOf(node.right, depth);
  }
  if (ts.isConditionalExpression(node)) {
    const [then, otherwise] = [textOf(node.whenTrue, depth), textOf(node.whenFalse, depth)];
    return then === "" || then === ELLIPSIS ? otherwise : then;
  }
  if (ts.isIdentifier(node) && depth < 3) {
    const value = initialiser(node);
    if (value !== undefined) return textOf(value, depth + 1);
  }
  return ELLIPSIS;
}

/** Several values in a row are one, and what comes of them is one line. */
function tidy(text: string): string {
  return text
    .replaceAll(/\s+/g, " ")
    .replaceAll(/…(?:[, ]*…)+/g, ELLIPSIS)
    .trim();
}

/** Words that say something by themselves. */
function saysSomething(text: string): boolean {
  return (text.match(/[a-z]{3,}/gi) ?? []).length >= 3;
}

function collect(file: ts.SourceFile, names: ReadonlySet<string>, into: Map<string, Entry[]>): void {
  const note = (name: string, text: string, hint: string, code?: string): void => {
    const entry = {
      text: tidy(text),
      hint: tidy(hint) === ELLIPSIS ? "" : tidy(hint),
      ...(code === undefined ? {} : { code }),
    };
    const known = into.get(name)!;
    if (saysSomething(entry.text) && !known.some(({ text }) => text === entry.text)) known.push(entry);
  };
  const made = (node: ts.Node): string | undefined =>
    ts.isNewExpression(node) && ts.isIdentifier(node.expression) && names.has(node.expression.text)
      ? node.expression.text
      : undefined;
  /** The class that a message is for: of the `new` around it, or of the only one in its function. */
  const classOf = (node: ts.Node): string | undefined => {
    for (let at: ts.Node | undefined = node; at !== undefined && !ts.isFunctionLike(at); at = at.parent) {
      const name = made(at);
      if (name !== undefined) return name;
    }
    const found = new Set<string>();
    const visit = (inner: ts.Node): void => {
      const name = made(inner);
      if (name !== undefined) found.add(name);
      ts.forEachChild(inner, visit);
    };
    visit(enclosing(node));
    return found.size === 1 ? [...found][0] : undefined;
  };
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
      const args = node.arguments;
      if (node.expression.text === "message") {
        const name = classOf(node);
        if (name !== undefined) note(name, `Cannot ${textOf(args[0])}: ${textOf(args[1])}`, textOf(args[2]));
      } else if (node.expression.text === "refusal" && args.length >= 4) {
        const code = `${args[0]!.getText()} ${textOf(args[1])}`;
        const found = textOf(args[2]);
        note("RequestError", found.slice(0, 1).toUpperCase() + found.slice(1), textOf(args[3]), code);
      }
    }
    const name = made(node);
    const [first, second] = (node as ts.NewExpression).arguments ?? [];
    if (name === "ClosedError")
      note(name, `Cannot ${textOf(first)}: ${textOf(second)} is closed`, "create a new one, or close it later");
    else if (name !== undefined && first !== undefined && !ts.isCallExpression(first) && !ts.isIdentifier(first)) {
      const [text = "", hint = ""] = textOf(first).split(/\nHint: /);
      note(name, text, hint);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
}

/** Text between the signs of a table. */
function cell(text: string): string {
  return text
    .replaceAll("|", "\\|")
    .replaceAll("<", "&lt;")
    .replaceAll("*", "\\*")
    .replaceAll(/\{@linkcode ([^}]+)\}/g, "`$1`");
}

function table(entries: readonly Entry[]): string {
  const sorted = entries.toSorted((a, b) => (a.text < b.text ? -1 : 1));
  const hasCode = sorted.some(({ code }) => code !== undefined);
  const rows = sorted.map(({ text, hint, code = "" }) => {
    const cells = [...(hasCode ? [code === "" ? "" : `\`${code}\``] : []), cell(text), cell(hint)];
    return `| ${cells.join(" | ")} |`;
  });
  const head = hasCode
    ? "| answer | message | what to do |\n| --- | --- | --- |"
    : "| message | what to do |\n| --- | --- |";
  return `${head}\n${rows.join("\n")}\n`;
}

/** The page, made of the sources as they are. */
export async function errorPage(): Promise<string> {
  const classes = classesOf(parse(CLASSES_FILE, await Bun.file(join(root, CLASSES_FILE)).text()));
  const names = new Set(classes.map(({ name }) => name));
  const entries = new Map<string, Entry[]>(classes.map(({ name }) => [name, []]));
  for (const path of [...new Bun.Glob("src/**/*.ts").scanSync(root)].sort()) {
    if (path !== CLASSES_FILE) collect(parse(path, await Bun.file(join(root, path)).text()), names, entries);
  }
  const list = classes.map(
    ({ name, base, when }) => `| [\`${name}\`](#${name.toLowerCase()}) | \`${base}\` | ${cell(when)} |`,
  );
  const sections = classes.map(({ name, when, fields }) => {
    const carried = fields.map(([field, text]) => `- \`${field}\`${text === "" ? "" : `: ${cell(text)}`}\n`).join("");
    const own = entries.get(name)!;
    return [`## ${name}\n`, `${cell(when)}\n`, carried, own.length > 0 ? table(own) : ""]
      .filter((part) => part !== "")
      .join("\n");
  });
  const statuses = Array.from({ length: 1000 }, (_, status) => status).filter(
    (status) => explain(status) !== undefined,
  );
  return `# Errors

Generated by \`bun scripts/errors.ts\` from the sources, and checked by the tests.

Every error that this package throws on purpose is a \`BunTensorRtError\`. Its message says what cannot be done, a colon, and what was
found; a second line, \`Hint:\`, says what to do. Where you typed something wrong, the message begins with what you typed. An ellipsis
stands for what is filled in. Programs look at the class and its fields, not at the text.

| class | is a | when |
| --- | --- | --- |
${list.join("\n")}

${sections.join("\n")}
## Codes of CUDA

\`CudaError\` has CUDA's number in \`status\`, and its name for it in \`code\`. What to do about the usual ones:

| \`status\` | what to do |
| --- | --- |
${statuses.map((status) => `| ${status} | ${cell(explain(status)!)} |`).join("\n")}

## Exit codes

The command ends with 0; with 1 where something failed, also where a requested GPU is missing; with 2 where the command line is wrong;
with 130 and 143 where Ctrl-C or SIGTERM ended it.
`;
}

if (import.meta.main) await Bun.write(join(root, "docs/errors.md"), await errorPage());
