// The colours of the article's visual grammar by name: src/pellucid/draw/film/palette.py.

export const [PAPER, PANEL, LINE, INK, QUIET] = ["#ffffff", "#f6f7f9", "#d5d9e0", "#1d2430", "#59616f"] as const;
export const [INPUT_FILL, INPUT] = ["#d9f2dc", "#1e7a3c"] as const;
export const [OUTPUT_FILL, OUTPUT] = ["#fcdcea", "#b3246b"] as const;
export const [FOLLOWED_FILL, FOLLOWED] = ["#e8def8", "#6b3fb5"] as const;
export const [UNTRAINED_FILL, UNTRAINED] = ["#e4e6ea", "#666d78"] as const;
export const TRAINED = ["#d9cdf6", "#f6cfe3", "#fde3c8"] as const;
export const LIKELY = "#cfc3ee"; // a probability that the model gives
