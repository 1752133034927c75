// The time by the server's clock: that of whoever looks may be wrong, and ages and durations would be too.

const NEAR_MS = 1500; // the header Date has whole seconds
let ahead = 0;

export const now = () => Date.now() + ahead;

// Takes note of when an answer says that it was made. asked, answered: when it was, by the clock here.
export function heed(header, asked, answered) {
  const at = Date.parse(header || "") + 500;
  const shift = at - (asked + answered) / 2;
  if (answered - asked < NEAR_MS && !Number.isNaN(shift)) ahead = Math.abs(shift) < NEAR_MS ? 0 : shift;
}
