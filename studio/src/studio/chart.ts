// Loss charts: round numbers for the axes, and bucket means where there are more points than pixels.

export interface Point {
  step: number;
  value: number;
}

/** Round numbers across a range, at most about `room` of them, all different. */
export function ticks(low: number, high: number, room: number): number[] {
  if (!(high > low) || room < 1) return [low];
  const rough = (high - low) / room;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((one) => one >= rough)!;
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.max(0, Math.floor(high / step + 1e-9) - first + 1);
  return [...new Set(Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12))))];
}

/** At most `count` points, each the mean of `of` neighbours; `of` is 1 where nothing was averaged. */
export function bucketMeans(points: Point[], count: number): { points: Point[]; of: number } {
  const of = Math.max(1, Math.ceil(points.length / count));
  if (of === 1) return { points, of };
  const found: Point[] = [];
  for (let at = 0; at < points.length; at += of) {
    const group = points.slice(at, at + of);
    const mean = (pick: (point: Point) => number) => group.reduce((sum, point) => sum + pick(point), 0) / group.length;
    found.push({ step: mean((point) => point.step), value: mean((point) => point.value) });
  }
  return { points: found, of };
}
