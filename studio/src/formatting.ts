// Numbers and texts as Python's `str.format` writes them.

const FIELD = /\{\{|\}\}|\{(\w+)(!r)?(?::(,)?(?:\.(\d+))?([fg])?)?\}/g;

/** A number with so many decimals; of two that are as near, the one with an even last digit. separated: thousands by commas. */
export function fixed(value: number, decimals: number, separated = false): string {
  let text = value.toFixed(decimals);
  const rest = value.toFixed(Math.min(decimals + 60, 100)).slice(decimals ? text.length : text.length + 1);
  if (/^50*$/.test(rest)) {
    const lower = value.toFixed(Math.min(decimals + 60, 100)).slice(0, text.length); // its last digits are cut
    if (Number(lower.at(-1)) % 2 === 0) text = lower;
  }
  return separated ? thousands(text) : text;
}

/** A number in six significant digits, without zeros at its end. */
export function general(value: number): string {
  const [digits, exponent] = value.toExponential(5).split("e") as [string, string];
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(value.toPrecision(6)));
  return `${String(Number(digits))}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** A float, as Python's `repr` writes it. */
function float(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** A number with thousands separators: 1,234.5. */
export function thousands(value: number | string): string {
  const [whole, ...rest] = String(value).split(/(?=[.e])/);
  return whole!.replace(/\B(?=(\d{3})+$)/g, ",") + rest.join("");
}

/** The placeholders of a text replaced by their values, as Python's `str.format` does it. Errors: a placeholder without a value. */
export function format(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(FIELD, (field, name?: string, quote?: string, separated?: string, decimals?: string, type?: string) => {
    if (name === undefined) return field[0]!;
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) throw new RangeError(`no value of {${name}} in ${JSON.stringify(text)}`);
    if (quote) return typeof value === "number" ? float(value) : quoted(value);
    if (type === "f") return fixed(value as number, Number(decimals ?? 6), separated !== undefined);
    if (type === "g") return general(value as number);
    return separated ? thousands(value as number) : String(value);
  });
}

/** A text between quotes, as Python's `repr` writes it. */
export function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const signs: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", [quote]: `\\${quote}` };
  const written = Array.from(text, (character) => {
    if (signs[character]) return signs[character];
    if (character === " " || !/[\p{C}\p{Z}]/u.test(character)) return character;
    const code = character.codePointAt(0)!;
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(digits as number, "0")}`;
  });
  return quote + written.join("") + quote;
}
