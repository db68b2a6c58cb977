// What devbind says: status in the form of dpdk-devbind.py, whose readers are scripts as well; then what became of each
// device.
import type { ChangeReport, Outcome } from "../../devices/rebind.ts";
import type { GroupStatus, ListedDevice } from "../../devices/status.ts";
import { describeError } from "../../errors.ts";
import { Exit } from "../tool/exit.ts";
import type { Output } from "../tool/output.ts";

export function printStatus(out: Output, groups: readonly GroupStatus[]): void {
  for (const group of groups) {
    const { title, userSpace, kernel, other } = group;
    if (userSpace.length + kernel.length + other.length === 0) {
      printHeading(out, `No '${title}' devices detected`);
      continue;
    }
    printSection(out, `${title} devices using DPDK-compatible driver`, userSpace, ({ driver, unused }) => [
      `drv=${driver}`,
      `unused=${unused.join(",")}`,
    ]);
    printSection(
      out,
      `${title} devices using kernel driver`,
      kernel,
      ({ driver, unused, interfaces, use }) => [
        ...(group.group === "net" ? [`if=${interfaces.join(",")}`] : []),
        `drv=${driver}`,
        `unused=${unused.join(",")}`,
        use.length > 0 ? "*Active*" : "", // and so a space at the end, as there
      ],
    );
    printSection(out, `Other ${title} devices`, other, ({ unused }) => [`unused=${unused.join(",")}`]);
  }
}

function printSection(
  out: Output,
  title: string,
  devices: readonly ListedDevice[],
  words: (device: ListedDevice) => string[],
): void {
  if (devices.length === 0) return;
  printHeading(out, title);
  for (const device of devices) {
    const { address, name, deviceId, numaNode, use } = device;
    const node = numaNode === undefined ? [] : [`numa_node=${numaNode}`];
    const id = deviceId.toString(16).padStart(4, "0");
    const line = [address, `'${name} ${id}'`, ...node, ...words(device)].join(" ");
    out.line(use.length > 0 ? out.paint("yellow", line) : line);
  }
}

function printHeading(out: Output, title: string): void {
  out.line();
  out.line(out.paint("bold", title));
  out.line("=".repeat(title.length));
}

/** Returns the exit code. `prefix`: of a dry run, so that a shell takes its lines for comments. */
export function printReport(out: Output, { outcomes, warnings }: ChangeReport, prefix: string): number {
  for (const text of warnings) out.warn(`pollmode devbind: ${text}`);
  for (const outcome of outcomes) {
    const text = textOf(outcome);
    if (text !== undefined) out.line(`${prefix}${outcome.address}: ${text}`);
  }
  for (const error of new Set(outcomes.flatMap(({ error }) => error ?? []))) {
    out.warn(`pollmode devbind: ${describeError(error)}`);
  }
  const count = (result: Outcome["result"]) => outcomes.filter((outcome) => outcome.result === result).length;
  const [failed, refused] = [count("failed"), count("refused")];
  if (outcomes.length > 1 && failed > 0)
    out.warn(`pollmode devbind: ${count("changed")} changed, ${failed} failed`);
  if (refused > 0) out.warn(`pollmode devbind: nothing was changed`);
  if (refused > 0) return Exit.REFUSED;
  return failed > 0 ? Exit.FAILED : Exit.DONE;
}

/** Undefined of what its error says. */
function textOf({ before = "no driver", after = "no driver", result, node }: Outcome): string | undefined {
  switch (result) {
    case "changed":
      return `${before} -> ${after}${node === undefined ? "" : ` (${node})`}`;
    case "unchanged":
      return `has ${after} already`;
    case "skipped":
      return `left as it is, with ${after}`;
    case "gone":
      return "is not there";
    default:
      return undefined;
  }
}

/** As --json has it. */
export function plainReport({ outcomes, warnings }: ChangeReport): object {
  const devices = outcomes.map(({ error, ...outcome }) => {
    const { before, after, node } = outcome;
    const plain = error && { code: error.code, message: error.message, fix: error.fix };
    const known = { before: before ?? null, after: after ?? null, node: node ?? null };
    return { ...outcome, ...known, ...(plain && { error: plain }) };
  });
  return { devices, warnings };
}

/** As --json has it: null is none. */
export function plainStatus(groups: readonly GroupStatus[]): object[] {
  const plain = (device: ListedDevice) => {
    const { driver, numaNode, iommuGroup } = device;
    return { ...device, driver: driver ?? null, numaNode: numaNode ?? null, iommuGroup: iommuGroup ?? null };
  };
  return groups.map(({ userSpace, kernel, other, ...group }) => {
    return { ...group, userSpace: userSpace.map(plain), kernel: kernel.map(plain), other: other.map(plain) };
  });
}
