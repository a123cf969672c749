// float16 numbers (IEEE 754 binary16): rounding to them, and their bits.

const view = new DataView(new ArrayBuffer(4));

/** The exponent of a positive normal float32 number. */
function exponentOf(value: number): number {
  view.setFloat32(0, value);
  return ((view.getUint32(0) >>> 23) & 0xff) - 127;
}

/** To the nearest whole number, of two equally near to the even one. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 ? below + 1 : below;
}

/** The distance of float16 numbers around a value from 0 on. */
export function float16Spacing(value: number): number {
  return 2 ** (Math.max(value > 0 ? exponentOf(value) : -14, -14) - 10);
}

/** A number from 0 to 65504 rounded to float16. */
export function roundFloat16(value: number): number {
  const unit = float16Spacing(value);
  return roundHalfEven(value / unit) * unit; // exact but for the rounding: a unit is a power of two
}

/** The bits of a float16 number from 0 on. */
export function float16Bits(value: number): number {
  if (value < 2 ** -14) return value / 2 ** -24;
  const exponent = exponentOf(value);
  return ((exponent + 15) << 10) | (value / 2 ** (exponent - 10) - 1024);
}
