/** @module StrokeFont: letters as lines, so that labels are readable on machines without any font. */

/**
 * Strokes of the printable ASCII characters on a grid: each pair of digits is a point, x to the right and y down, each
 * word one polyline. Capitals stand on y = 6 and reach 0, small letters reach 2, descenders end at 8. Drawn for this
 * package.
 */
const STROKES: Readonly<Record<string, string>> = {
  " ": "",
  "!": "0004 0606",
  '"': "0002 2022",
  "#": "1016 3036 0242 0444",
  $: "413010010213334445361605 2026",
  "%": "4006 0010110100 3545463635",
  "&": "4612112031320405162644",
  "'": "0002",
  "(": "10010516",
  ")": "00111506",
  "*": "2125 0244 0442",
  "+": "0444 2226",
  ",": "1607",
  "-": "0434",
  ".": "0606",
  "/": "0640",
  "0": "103041453616050110",
  "1": "022026 0646",
  "2": "01103041420646",
  "3": "01103041423313 334445361605",
  "4": "36300444",
  "5": "400002324345361605",
  "6": "4130100105163645443303",
  "7": "004016",
  "8": "103041423313020110 1304051636454433",
  "9": "0516364541301001021343",
  ":": "0303 0606",
  ";": "1313 1607",
  "<": "320436",
  "=": "0343 0545",
  ">": "023406",
  "?": "01103041422324 2626",
  "@": "45361605011030414434 342413223234",
  A: "062046 1434",
  B: "003041423303 334445360600",
  C: "4130100105163645",
  D: "00204244260600",
  E: "40000646 0333",
  F: "400006 0333",
  G: "41301001051636454323",
  H: "0006 4046 0343",
  I: "0020 1016 0626",
  J: "4045361605",
  K: "0006 4004 1346",
  L: "000646",
  M: "0600234046",
  N: "06004640",
  O: "103041453616050110",
  P: "06003041423303",
  Q: "103041453616050110 2446",
  R: "06003041423303 2346",
  S: "413010010213334445361605",
  T: "0040 2026",
  U: "000516364540",
  V: "002640",
  W: "0016233640",
  X: "0046 4006",
  Y: "002340 2326",
  Z: "00400646",
  "[": "10000616",
  "\\": "0046",
  "]": "00101606",
  "^": "022042",
  _: "0747",
  "`": "0011",
  a: "3236 3322120305162635",
  b: "0006 0312223335261605",
  c: "3322120305162635",
  d: "3036 3322120305162635",
  e: "04343322120305162635",
  f: "30201116 0222",
  g: "3237281807 3322120305162635",
  h: "0006 0312223336",
  i: "0206 0000",
  j: "121708 1010",
  k: "0006 3205 1436",
  l: "000516",
  m: "0206 03122326 23324346",
  n: "0206 0312223336",
  o: "122233352616050312",
  p: "0208 0312223335261605",
  q: "3238 3322120305162635",
  r: "0206 031222",
  s: "33221203142435261605",
  t: "10152636 0232",
  u: "0205162635 3236",
  v: "022642",
  w: "0216243642",
  x: "0236 3206",
  y: "0205162635 3237281807",
  z: "02320636",
  "{": "20111203141526",
  "|": "0008",
  "}": "00111223141506",
  "~": "04132433",
};

/** Height of a line, from the top of the capitals to the end of the descenders, in grid units. */
export const LINE_UNITS = 8;
/** Width of a stroke in grid units. */
const STROKE_UNITS = 0.9;

const GAP_UNITS = 1.8;
const SPACE_UNITS = 2;

/** Letters and signs that have no accent to take off, spelt with those that have strokes. */
const SPELLING: Readonly<Record<string, string>> = {
  ß: "ss",
  Æ: "AE",
  æ: "ae",
  Œ: "OE",
  œ: "oe",
  Ø: "O",
  ø: "o",
  Ł: "L",
  ł: "l",
  Đ: "D",
  đ: "d",
  ı: "i",
  "–": "-",
  "—": "-",
  "‘": "'",
  "’": "'",
  "“": '"',
  "”": '"',
};

/** Text the font can draw: accents are taken off their letters. `undefined` if a character has no strokes. */
export function drawableText(text: string): string | undefined {
  const base = text.normalize("NFKD").replace(/\p{Mark}/gu, "");
  const plain = base.replace(/[^\x20-\x7e]/gu, (character) => SPELLING[character] ?? character);
  return [...plain].every((character) => character in STROKES) ? plain : undefined;
}

/** The polylines of a character: x and y in turn, in grid units. */
function strokesOf(character: string): number[][] {
  const strokes = STROKES[character]!;
  return strokes === "" ? [] : strokes.split(" ").map((stroke) => [...stroke].map(Number));
}

/** Distance from the start of a character to the start of the next, in grid units. */
function advanceUnits(strokes: readonly (readonly number[])[]): number {
  if (strokes.length === 0) return SPACE_UNITS + GAP_UNITS;
  return Math.max(...strokes.flatMap((points) => points.filter((_, at) => at % 2 === 0))) + GAP_UNITS;
}

/** A character in one size. */
export interface GlyphMask {
  /** Of the mask in pixels. */
  readonly width: number;
  readonly height: number;
  /** Pixels from its left edge to the left edge of the next one. */
  readonly advance: number;
  /** u8 [height, width]: how much of a pixel is ink. */
  readonly coverage: Uint8Array;
}

function distanceToSegment(x: number, y: number, ax: number, ay: number, bx: number, by: number): number {
  const [dx, dy] = [bx - ax, by - ay];
  const square = dx * dx + dy * dy;
  const share = square === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / square));
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}

function maskOf(character: string, unit: number): GlyphMask {
  const strokes = strokesOf(character);
  const advance = Math.max(1, Math.round(advanceUnits(strokes) * unit));
  const radius = (STROKE_UNITS * unit) / 2;
  // Half a stroke stands out on each side.
  const margin = Math.ceil(radius + 0.5);
  const width = advance + 2 * margin;
  const height = Math.ceil(LINE_UNITS * unit) + 2 * margin;
  const coverage = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [px, py] = [x + 0.5 - margin, y + 0.5 - margin];
      let nearest = Number.POSITIVE_INFINITY;
      for (const points of strokes) {
        for (let at = 0; at + 1 < points.length; at += 2) {
          const end = Math.min(at + 2, points.length - 2);
          const segment = [
            points[at]! * unit,
            points[at + 1]! * unit,
            points[end]! * unit,
            points[end + 1]! * unit,
          ] as const;
          nearest = Math.min(nearest, distanceToSegment(px, py, ...segment));
        }
      }
      coverage[y * width + x] = Math.round(255 * Math.min(1, Math.max(0, radius + 0.5 - nearest)));
    }
  }
  return { width, height, advance, coverage };
}

/** Masks of one size, made as they are needed. */
export class GlyphMasks {
  readonly #unit: number;
  readonly #masks = new Map<string, GlyphMask>();
  /** Pixels by which a mask reaches out to the left of and above its character. */
  readonly margin: number;

  /** @param unit pixels of one grid unit of the stroke font */
  constructor(unit: number) {
    this.#unit = unit;
    this.margin = Math.ceil((STROKE_UNITS * unit) / 2 + 0.5);
  }

  /** @param character one that has strokes */
  of(character: string): GlyphMask {
    let mask = this.#masks.get(character);
    if (mask === undefined) {
      mask = maskOf(character, this.#unit);
      this.#masks.set(character, mask);
    }
    return mask;
  }
}
