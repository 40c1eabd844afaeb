/** @module TrackedForms: results whose objects have ids as tables. */

import type { ResultForms, TaskResult } from "../tasks/task-result.ts";
import { objectsOf } from "./tracked-stream.ts";

/** The same with a column for ids, behind the name. What JSON and files say of an object has its id already. */
export function withIds<Result extends TaskResult>(forms: ResultForms<Result>): ResultForms<Result> {
  const inserted = (title: string, [name = "", ...others]: readonly string[]): string[] => [name, title, ...others];
  const rowsWith = (result: Result, rows: readonly string[][]): string[][] => {
    const objects = objectsOf(result);
    return rows.map((cells, at) => inserted(String(objects[at]?.trackId ?? ""), cells));
  };
  return {
    ...forms,
    columns: inserted("id", forms.columns),
    rows: (result) => rowsWith(result, forms.rows(result)),
    csvColumns: inserted("trackId", forms.csvColumns),
    csvRows: (result) => rowsWith(result, forms.csvRows(result)),
  };
}
