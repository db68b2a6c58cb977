// A change as the line of shell that does it, for --dry-run.
import { dirname } from "node:path";
import type { Change } from "../../devices/machine.ts";

export function shellLine(change: Change): string {
  switch (change.kind) {
    case "write":
      return `echo ${quoted(change.value.trimEnd())} > ${quoted(change.path)}`;
    case "file": {
      const text = change.text.endsWith("\n") ? change.text : `${change.text}\n`;
      return `mkdir -p ${quoted(dirname(change.path))} && cat > ${quoted(change.path)} <<'END'\n${text}END`;
    }
    case "remove":
      return `rm ${quoted(change.path)}`;
    case "run":
      return change.command.map(quoted).join(" ");
  }
}

/** As a POSIX shell reads it back; an empty text is what clears driver_override. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
