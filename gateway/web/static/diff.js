// Which lines of two texts the other does not have, in order: the longest common subsequence is what stayed.

/** @param {string[]} before @param {string[]} after @returns {[boolean[], boolean[]]} true: changed */
export function changes(before, after) {
  const rest = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      rest[i][j] = before[i] === after[j] ? rest[i + 1][j + 1] + 1 : Math.max(rest[i + 1][j], rest[i][j + 1]);
    }
  }
  /** @type {[boolean[], boolean[]]} */
  const marks = [before.map(() => true), after.map(() => true)];
  for (let i = 0, j = 0; i < before.length && j < after.length; ) {
    if (before[i] === after[j]) marks[0][i++] = marks[1][j++] = false;
    else if (rest[i + 1][j] >= rest[i][j + 1]) i++;
    else j++;
  }
  return marks;
}
