// Two texts, line by line: what was taken away and what has come. By the longest common subsequence, after what both
// begin and end with.

const CELLS_MAX = 4_000_000; // of the table; beyond it all between is told as changed

// Returns [[kind, line, number]]: kind " ", "-" or "+"; number: of the line in its own text.
export function diff(before, after) {
  const [old, fresh] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < old.length && start < fresh.length && old[start] === fresh[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < fresh.length - start && old[old.length - 1 - end] === fresh[fresh.length - 1 - end]) end += 1;
  const found = fresh.slice(0, start).map((line, at) => [" ", line, at + 1]);
  found.push(...middle(old.slice(start, old.length - end), fresh.slice(start, fresh.length - end), start));
  found.push(...fresh.slice(fresh.length - end).map((line, at) => [" ", line, fresh.length - end + at + 1]));
  return found;
}

function middle(old, fresh, start) {
  if (old.length * fresh.length > CELLS_MAX) {
    return [...old.map((line, at) => ["-", line, start + at + 1]), ...fresh.map((line, at) => ["+", line, start + at + 1])];
  }
  const width = fresh.length + 1;
  const common = new Uint32Array((old.length + 1) * width); // of what is behind each place
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = fresh.length - 1; j >= 0; j -= 1) {
      common[i * width + j] = old[i] === fresh[j] ? common[(i + 1) * width + j + 1] + 1 : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < fresh.length) {
    if (i < old.length && j < fresh.length && old[i] === fresh[j]) [found.push([" ", fresh[j], start + j + 1]), (i += 1), (j += 1)];
    else if (i < old.length && (j === fresh.length || common[(i + 1) * width + j] >= common[i * width + j + 1])) [found.push(["-", old[i], start + i + 1]), (i += 1)];
    else [found.push(["+", fresh[j], start + j + 1]), (j += 1)];
  }
  return found;
}

// Only what is near a change: [[kind, line, number]] with null where lines were left out.
export function near(lines, around = 3) {
  const keep = new Set();
  lines.forEach(([kind], at) => {
    if (kind !== " ") for (let one = at - around; one <= at + around; one += 1) keep.add(one);
  });
  const found = [];
  lines.forEach((line, at) => {
    if (keep.has(at)) found.push(line);
    else if (found.length && found[found.length - 1] !== null) found.push(null);
  });
  return found;
}
