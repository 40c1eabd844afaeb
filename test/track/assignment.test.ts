import { expect, test } from "bun:test";
import { Assignment } from "../../src/track/assignment.ts";

/** The lowest total there is, by trying everything: a row takes a free column or stays alone. */
function lowest(costs: readonly (readonly number[])[], columns: number, limit: number): number {
  const visit = (row: number, taken: number, pairs: number): number => {
    if (row === costs.length) return ((costs.length + columns - 2 * pairs) * limit) / 2;
    let best = visit(row + 1, taken, pairs);
    for (let column = 0; column < columns; column++) {
      if (taken & (1 << column)) continue;
      best = Math.min(best, costs[row]![column]! + visit(row + 1, taken | (1 << column), pairs + 1));
    }
    return best;
  };
  return visit(0, 0, 0);
}

function solved(costs: readonly (readonly number[])[], columns: number, limit: number): Assignment {
  const assignment = new Assignment();
  assignment.start(columns, limit);
  for (const row of costs) {
    assignment.addRow();
    for (const [column, cost] of row.entries()) assignment.add(column, cost);
  }
  assignment.solve();
  return assignment;
}

test("pairs cost the least there is, with what stays alone", () => {
  let seed = 5;
  const random = (): number => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647;
  };
  for (let round = 0; round < 400; round++) {
    const [rows, columns] = [1 + Math.floor(random() * 6), 1 + Math.floor(random() * 6)];
    const limit = 0.3 + random() * 0.7;
    // Tenths, so that there are ties, too.
    const digits = round % 2 === 0 ? 1 : 6;
    const costs = Array.from({ length: rows }, () =>
      Array.from({ length: columns }, () => Number(random().toFixed(digits))),
    );
    const { columnOf, rowOf } = solved(costs, columns, limit);
    let total = ((rows + columns) * limit) / 2;
    for (let row = 0; row < rows; row++) {
      const column = columnOf[row]!;
      if (column < 0) continue;
      expect(rowOf[column]).toBe(row);
      expect(costs[row]![column]!).toBeLessThanOrEqual(limit);
      total += costs[row]![column]! - limit;
    }
    const pairs = (of: Int32Array, length: number): number => of.subarray(0, length).filter((one) => one >= 0).length;
    expect(pairs(rowOf, columns)).toBe(pairs(columnOf, rows));
    expect(total).toBeCloseTo(lowest(costs, columns, limit), 9);
  }
});

test("a pair that would be the cheapest is left where both go better with others", () => {
  // Filtering the pairs of the lowest sum by the limit would give one pair less.
  const { columnOf } = solved(
    [
      [0.1, 0.2],
      [0.2, 0.9],
    ],
    2,
    0.5,
  );
  expect([...columnOf.subarray(0, 2)]).toEqual([1, 0]);
});

test("memory of a large frame does for a small one", () => {
  const assignment = new Assignment();
  for (const side of [3, 120, 2]) {
    assignment.start(side, 0.8);
    for (let row = 0; row < side; row++) {
      assignment.addRow();
      for (let column = 0; column < side; column++) assignment.add(column, column === side - 1 - row ? 0.1 : 0.7);
    }
    assignment.solve();
    expect([...assignment.columnOf.subarray(0, side)]).toEqual(
      Array.from({ length: side }, (_, row) => side - 1 - row),
    );
  }
});
