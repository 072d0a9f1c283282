// Numbers and times, for people.

export const percent = (share) => `${Math.round(100 * share)} %`;

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  const tenths = seconds < 60 ? `.${Math.floor((seconds - whole) * 10)}` : "";
  return `${minutes}:${String(whole % 60).padStart(2, "0")}${tenths}`;
}

/** "happiness 6 %, fear 2 %": what comes after the first, where it is worth a word. */
export function runnersUp(probabilities, label) {
  return Object.entries(probabilities)
    .filter(([other, share]) => other !== label && share >= 0.01)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 2)
    .map(([other, share]) => `${other} ${percent(share)}`)
    .join(", ");
}
