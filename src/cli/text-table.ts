/** @module TextTable: rows of cells as aligned lines. Pure. */

/** Which side of its column a cell's text lies on. */
export type Alignment = "left" | "right";

/**
 * Align cells by the widest of each column, two blanks between columns, none at the end of a line. Colours do not count.
 *
 * @param rows       all of the same length
 * @param alignments one a column
 */
export function alignRows(rows: readonly (readonly string[])[], alignments: readonly Alignment[]): string[] {
  const widths = alignments.map((_, column) => Math.max(0, ...rows.map((row) => Bun.stringWidth(row[column] ?? ""))));
  return rows.map((row) =>
    alignments
      .map((alignment, column) => {
        const cell = row[column] ?? "";
        const blanks = " ".repeat(widths[column]! - Bun.stringWidth(cell));
        return alignment === "left" ? cell + blanks : blanks + cell;
      })
      .join("  ")
      .trimEnd(),
  );
}
