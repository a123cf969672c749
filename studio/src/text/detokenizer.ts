// Text from tokens, with characters and stop strings that span several tokens, as src/pellucid/engine/detokenizer.py has it.

import type { Tokenizer } from "./tokenizer.ts";

/** Passes text on until a stop string appears; holds back whatever may be the beginning of one. */
class StopScanner {
  stopped = false;
  private readonly stops: string[];
  private pending = "";

  constructor(stops: readonly string[]) {
    this.stops = [...stops].sort((a, b) => [...b].length - [...a].length);
  }

  push(text: string): string {
    if (!this.stops.length) return text;
    let passed = "";
    for (const character of text) {
      if (this.stopped) break;
      this.pending += character;
      const ending = this.stops.find((stop) => this.pending.endsWith(stop));
      if (ending !== undefined) {
        this.stopped = true;
        passed += this.pending.slice(0, -ending.length);
        this.pending = "";
      } else {
        const held = this.mayStart();
        passed += this.pending.slice(0, this.pending.length - held);
        this.pending = held ? this.pending.slice(-held) : "";
      }
    }
    return passed;
  }

  /** Length of the longest end of the held text with which a stop string begins. */
  private mayStart(): number {
    const most = Math.max(...this.stops.map((stop) => stop.length)) - 1;
    for (let n = Math.min(this.pending.length, most); n > 0; n--) {
      const end = this.pending.slice(-n);
      if (this.stops.some((stop) => stop.startsWith(end))) return n;
    }
    return 0;
  }

  finish(): string {
    const rest = this.pending;
    this.pending = "";
    return rest;
  }
}

/** The text of one completion, token by token. */
export class TextAssembler {
  private readonly characters = new TextDecoder("utf-8", { ignoreBOM: true });
  private held = new Uint8Array(0); // the beginning of a surrogate, which Python's decoder keeps until a third byte comes
  private readonly scanner: StopScanner;

  constructor(
    private readonly tokenizer: Tokenizer,
    stops: readonly string[],
  ) {
    this.scanner = new StopScanner(stops);
  }

  get stopped(): boolean {
    return this.scanner.stopped;
  }

  /** What a token makes certain. */
  push(token: number): string {
    const bytes = Uint8Array.from([...this.held, ...this.tokenizer.tokenBytes(token)]);
    const cut = bytes.length - surrogateStart(bytes);
    this.held = bytes.slice(cut);
    return this.scanner.push(this.characters.decode(bytes.subarray(0, cut), { stream: true }));
  }

  /** The rest: U+FFFD for a character that never ended, and text that looked like a stop string's beginning. */
  finish(): string {
    return this.scanner.push(this.characters.decode(this.held)) + this.scanner.finish();
  }
}

/** How many of the last bytes may begin a surrogate: 0xED, perhaps with its second byte. */
function surrogateStart(bytes: Uint8Array): number {
  const [first = 0, second = 0] = bytes.subarray(-2);
  if (bytes.length > 1 && first === 0xed && second >= 0xa0 && second <= 0xbf) return 2;
  return bytes.at(-1) === 0xed ? 1 : 0;
}
