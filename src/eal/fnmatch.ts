// Patterns as fnmatch(3) has them, of shells and of depmod's lists: * any text, ? any character, […] and [!…] one of a
// set or none of it.

export function fnmatch(pattern: string, text: string): boolean {
  const fixed = pattern.search(/[*?[]/);
  if (fixed < 0) return pattern === text;
  // Most of depmod's many patterns differ from a name before their first "*".
  if (!text.startsWith(pattern.slice(0, fixed))) return false;
  const source = pattern.replace(
    /\[(!?)([^[\]]+)\]|./gs,
    (token: string, not: string | undefined, set: string | undefined) => {
      if (set !== undefined) return `[${not ? "^" : ""}${set.replace(/[\\^]/g, "\\$&")}]`;
      if (token === "*") return ".*";
      return token === "?" ? "." : token.replace(/[.+^$(){}|\\[\]]/, "\\$&");
    },
  );
  try {
    return new RegExp(`^${source}$`).test(text);
  } catch {
    return false; // a range that runs backwards, [z-a], holds nothing
  }
}
