// Tokens that hold parts of characters, grouped by the characters that they are parts of.

/** Consecutive tokens, from `from` up to `to`, which is not included. */
export interface Group {
  from: number;
  to: number;
  /** What they say together; null for a token that stands by itself. */
  bytes: Uint8Array | null;
}

const MOST = 16; // tokens of a group: a character has four bytes at most, but one token may end one and begin the next
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Whether bytes are whole characters of UTF-8. */
export function isWhole(bytes: Uint8Array): boolean {
  try {
    strict.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/**
 * The tokens of a text in groups: the fewest consecutive ones that are whole characters together.
 *
 * parts: the bytes of each token that is not whole characters, null for the others. Where parts give no whole characters, as at
 * the end of a text that is still being written, each stands by itself.
 */
export function groupsOf(parts: readonly (Uint8Array | null)[]): Group[] {
  const groups: Group[] = [];
  for (let from = 0; from < parts.length; ) {
    const group = groupAt(parts, from);
    groups.push(group);
    from = group.to;
  }
  return groups;
}

function groupAt(parts: readonly (Uint8Array | null)[], from: number): Group {
  let bytes = new Uint8Array();
  for (let at = from; at < Math.min(parts.length, from + MOST); at++) {
    const part = parts[at];
    if (!part) break;
    const longer = new Uint8Array(bytes.length + part.length);
    longer.set(bytes);
    longer.set(part, bytes.length);
    bytes = longer;
    if (isWhole(bytes)) return { from, to: at + 1, bytes };
  }
  return { from, to: from + 1, bytes: null };
}

/** The bytes of hexadecimal digits, as messages hold a token's; null where there are none. */
export function hexBytes(digits: string | undefined): Uint8Array | null {
  return digits === undefined ? null : Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
