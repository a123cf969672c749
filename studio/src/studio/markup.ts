// The marks in a translated text: `code`, [word] and [word|as it is shown] for a word that is explained, {name} for a part.

export type Piece =
  | { kind: "text" | "code" | "part"; text: string }
  | { kind: "word"; word: string; shown: string | null; closing: string };

const MARK = /`([^`]*)`|\[([a-z-]+)(?:\|([^\]]*))?\]([，。；：、）]*)|\{(\w+)\}/g;

/** A text in pieces, in its order. closing: punctuation that no line may begin with stays with the word before it. */
export function piecesOf(text: string): Piece[] {
  const found: Piece[] = [];
  let from = 0;
  const upTo = (end: number) => end > from && found.push({ kind: "text", text: text.slice(from, end) });
  for (const match of text.matchAll(MARK)) {
    const [all, code, word, shown, closing, part] = match;
    upTo(match.index);
    from = match.index + all.length;
    if (code !== undefined) found.push({ kind: "code", text: code });
    else if (word !== undefined) found.push({ kind: "word", word, shown: shown ?? null, closing: closing! });
    else found.push({ kind: "part", text: part! });
  }
  upTo(text.length);
  return found;
}
