// The colours of the article's visual grammar by name: src/pellucid/draw/film/palette.py.

export const [PAPER, PANEL, LINE, INK, QUIET] = ["#ffffff", "#f6f7f9", "#d5d9e0", "#1d2430", "#59616f"] as const;
export const [INPUT_FILL, INPUT] = ["#d9f2dc", "#1e7a3c"] as const;
export const [OUTPUT_FILL, OUTPUT] = ["#fcdcea", "#b3246b"] as const;
export const [FOLLOWED_FILL, FOLLOWED] = ["#e8def8", "#6b3fb5"] as const;
export const [UNTRAINED_FILL, UNTRAINED] = ["#e4e6ea", "#666d78"] as const;
export const TRAINED = ["#d9cdf6", "#f6cfe3", "#fde3c8"] as const;
export const LIKELY = "#cfc3ee"; // a probability that the model gives

/** Relative luminance of a colour, 0 to 1 (WCAG 2.2, definitions). */
function luminance(colour: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const value = parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

/** `INK` or `PAPER`, whichever can be read better on a colour. */
export const inkOn = (colour: string): string => (contrast(INK, colour) >= contrast(PAPER, colour) ? INK : PAPER);

/** Bars of several kinds side by side, in this order. */
export const SERIES = ["#2b66ad", "#b35300"] as const;
