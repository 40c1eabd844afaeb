/** @module ClassColour: a colour for a class that depends on its name alone, so that it is the same everywhere. */

/** Levels 0–255. */
export interface Colour {
  readonly red: number;
  readonly green: number;
  readonly blue: number;
}

/** Lightness of neighbouring hues, so that names whose hues fall close together still differ. */
const LIGHTNESS = [0.42, 0.53, 0.64] as const;
const SATURATION = 0.85;

/** FNV-1a over the UTF-16 units, with a final mix: short names must not end up side by side. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x45d9f3b);
  value = Math.imul(value ^ (value >>> 16), 0x45d9f3b);
  return (value ^ (value >>> 16)) >>> 0;
}

/**
 * The colour of a class: stable between runs and machines, and distinct from most others.
 *
 * @param label name of the class
 */
export function classColour(label: string): Colour {
  const value = hash(label);
  const hue = value % 360;
  const lightness = LIGHTNESS[Math.floor(value / 360) % LIGHTNESS.length]!;
  const spread = SATURATION * Math.min(lightness, 1 - lightness);
  const channel = (offset: number): number => {
    const step = (offset + hue / 30) % 12;
    return Math.round(255 * (lightness - spread * Math.max(-1, Math.min(step - 3, 9 - step, 1))));
  };
  return { red: channel(0), green: channel(8), blue: channel(4) };
}

/** The colour of `#ff8800`. */
export function colourOfHex(hex: string): Colour {
  const value = Number.parseInt(hex.slice(1), 16);
  return { red: value >> 16, green: (value >> 8) & 255, blue: value & 255 };
}

/** Black or white, whichever is easier to read on the colour. @see WCAG 2, relative luminance */
export function readableOn({ red, green, blue }: Colour): Colour {
  const linear = (level: number): number =>
    level / 255 <= 0.04045 ? level / 255 / 12.92 : ((level / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  // Where black and white have the same contrast.
  return luminance > 0.179 ? { red: 0, green: 0, blue: 0 } : { red: 255, green: 255, blue: 255 };
}
