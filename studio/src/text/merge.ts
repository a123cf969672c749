// Byte-pair merging of one word: while two neighbours together are a token, the pair whose token has the lowest rank is joined.

const SHIFT = 2 ** 31; // a word has fewer bytes, a table fewer tokens than 2 ** 22: a rank and a place fit in a number

/** Numbers, of which the smallest is taken first. */
class Heap {
  private readonly items: number[] = [];

  push(item: number): void {
    const { items } = this;
    let at = items.push(item) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (items[above]! <= item) break;
      items[at] = items[above]!;
      at = above;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const { items } = this;
    const [first, last] = [items[0], items.pop()];
    if (!items.length || last === undefined) return first;
    let at = 0;
    for (let below = 1; below < items.length; below = 2 * at + 1) {
      if (below + 1 < items.length && items[below + 1]! < items[below]!) below++;
      if (items[below]! >= last) break;
      items[at] = items[below]!;
      at = below;
    }
    items[at] = last;
    return first;
  }
}

/**
 * The ranks of the tokens of a word, in O(n log n) steps for n bytes.
 *
 * word: its bytes as characters U+0000 to U+00FF. ranks: of every token, written in the same way; all single bytes are there.
 */
export function merge(word: string, ranks: ReadonlyMap<string, number>): number[] {
  const whole = ranks.get(word);
  if (whole !== undefined) return [whole];
  const length = word.length;
  const end = Int32Array.from({ length }, (_, i) => i + 1); // of the part that begins at a place; 0: none begins there any more
  const before = Int32Array.from({ length: length + 1 }, (_, i) => i - 1); // where the part before it begins
  const heap = new Heap();
  const rankAt = (start: number): number | undefined => {
    const middle = end[start]!;
    return middle < length ? ranks.get(word.slice(start, end[middle]!)) : undefined;
  };
  const offer = (start: number): void => {
    const rank = rankAt(start);
    if (rank !== undefined) heap.push(rank * SHIFT + start);
  };
  for (let start = 0; start + 1 < length; start++) offer(start);
  for (let least = heap.pop(); least !== undefined; least = heap.pop()) {
    const start = least % SHIFT;
    if (!end[start] || rankAt(start) !== (least - start) / SHIFT) continue; // a neighbour was joined to something else
    const middle = end[start]!;
    end[start] = end[middle]!;
    end[middle] = 0;
    before[end[start]!] = start;
    offer(start);
    if (start > 0) offer(before[start]!);
  }
  const found: number[] = [];
  for (let start = 0; start < length; start = end[start]!) found.push(ranks.get(word.slice(start, end[start]!))!);
  return found;
}
