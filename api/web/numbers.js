// JSON with its numbers as they stand there. JavaScript has no whole numbers beyond 2^53 of its own: where a browser
// can, such a one keeps its digits, is shown with them, and is sent with them.

const LONG = /[0-9]{16}/; // fewer digits are exact

// Reads a JSON text. Raises SyntaxError.
export const exact = (text) => (JSON.rawJSON && LONG.test(text) ? JSON.parse(text, kept) : JSON.parse(text));

function kept(_name, value, context) {
  const source = context?.source;
  return typeof value === "number" && /^-?[0-9]+$/.test(source) && !Number.isSafeInteger(value) ? JSON.rawJSON(source) : value;
}

// The number that somebody has typed.
export const numberOf = (text) => (JSON.rawJSON && LONG.test(text) && /^-?[1-9][0-9]*$/.test(text) ? JSON.rawJSON(text) : Number(text));

// Whether something is such a number. `JSON.stringify` gives its digits.
export const isKept = (value) => JSON.isRawJSON?.(value) ?? false;
