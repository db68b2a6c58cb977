// A change as the line of shell that does it, for --dry-run.
import { dirname, relative } from "node:path";
import type { Change } from "../../devices/machine.ts";

/** Paths are those of the machine itself, wherever the copy of it is. */
export function shellLine(change: Change, root = "/"): string {
  const path = (at: string) => quoted(`/${relative(root, at)}`);
  switch (change.kind) {
    case "write":
      return `echo ${quoted(change.value.trimEnd())} > ${path(change.path)}`;
    case "file": {
      const text = change.text.endsWith("\n") ? change.text : `${change.text}\n`;
      return `mkdir -p ${path(dirname(change.path))} && cat > ${path(change.path)} <<'END'\n${text}END`;
    }
    case "remove":
      return `rm ${path(change.path)}`;
    case "run":
      return change.command.map(quoted).join(" ");
  }
}

/** As a POSIX shell reads it back; an empty text is what clears driver_override. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
