/**
 * Round to a whole number, halves to the even one, as Python and NumPy do: windows then begin at
 * the same samples there and here.
 *
 * @param {number} x
 */
export function round(x) {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}
