// Encodes a matrix as a Windows bitmap with a palette: a header, then the matrix itself. The bytes are always the same, unlike
// those read back from a canvas, which browsers with fingerprinting protection perturb.

import type { Matrix } from "./types.ts";

const HEADER = 14 + 40 + 4 * 256;

/** The bytes: BITMAPFILEHEADER, BITMAPINFOHEADER, 256 colours, rows from the top, each padded to four bytes. */
export function bitmap(matrix: Matrix, palette: Uint8Array): Uint8Array {
  const { rows, columns, data } = matrix;
  const stride = Math.ceil(columns / 4) * 4;
  const file = new Uint8Array(HEADER + rows * stride);
  const view = new DataView(file.buffer);
  file.set([0x42, 0x4d]); // "BM"
  view.setUint32(2, file.length, true);
  view.setUint32(10, HEADER, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, columns, true);
  view.setInt32(22, -rows, true); // negative: the first row is the upper one
  view.setUint16(26, 1, true);
  view.setUint16(28, 8, true);
  view.setUint32(46, 256, true);
  for (let i = 0; i < 256; i += 1) {
    const [red, green, blue] = palette.subarray(3 * i, 3 * i + 3);
    file.set([blue!, green!, red!], 54 + 4 * i);
  }
  for (let row = 0; row < rows; row += 1) file.set(data.subarray(row * columns, (row + 1) * columns), HEADER + row * stride);
  return file;
}

/** The same as a data URL. */
export function bitmapUrl(matrix: Matrix, palette: Uint8Array): string {
  const file = bitmap(matrix, palette);
  let text = "";
  for (let at = 0; at < file.length; at += 8192) text += String.fromCharCode(...file.subarray(at, at + 8192));
  return `data:image/bmp;base64,${btoa(text)}`;
}
