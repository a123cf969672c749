// The pseudo-random number of one draw, as src/pellucid/engine/sampling.py and hashing.py define it: no generator, no state.

const MASK = (1n << 64n) - 1n;

/** A hash of integers to 64 bits, which count modulo 2**64: each is added, and the sum passed through splitmix64's finaliser. */
export function mix(...values: bigint[]): bigint {
  let state = 0n;
  for (const value of values) {
    state = (state + value + 0x9e3779b97f4a7c15n) & MASK;
    state = ((state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
    state = ((state ^ (state >> 27n)) * 0x94d049bb133111ebn) & MASK;
    state ^= state >> 31n;
  }
  return state;
}

/**
 * The number in [0, 1) of one draw: the top 53 bits of the hash.
 *
 * sample: index of the completion among those of its prompt. position: of the drawn token, from 0 at the prompt's first.
 */
export function uniform(seed: bigint, sample: number, position: number): number {
  return Number(mix(seed, BigInt(sample), BigInt(position)) >> 11n) * 2 ** -53;
}
