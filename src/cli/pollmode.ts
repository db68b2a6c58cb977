#!/usr/bin/env node
// `pollmode COMMAND …`: finds the command's module, hands over the arguments, exits with what it returns.
import { nearest } from "../eal/nearest.ts";
import { describeError, PollmodeError } from "../errors.ts";
import { packageVersion } from "./version.ts";

interface Command {
  readonly meaning: string;
  /** Exports `main(argv): Promise<number>`. A path, not an import: a command loads only what it needs. */
  readonly module: string;
}

const commands: Readonly<Record<string, Command>> = {
  capture: {
    meaning: "Write packets of a running engine's port to a pcapng file or a pipe.",
    module: "./capture/main.js",
  },
  devbind: {
    meaning: "Bind devices to drivers and show who has them, as dpdk-devbind.py.",
    module: "./devbind/main.js",
  },
  doctor: {
    meaning: "Check whether packets could flow here, and say what mends what is missing.",
    module: "./doctor/main.js",
  },
  groups: { meaning: "Show the IOMMU's groups, and why devices share one.", module: "./groups/main.js" },
  hugepages: {
    meaning: "Show, reserve, mount and clear hugepages, as dpdk-hugepages.py.",
    module: "./hugepages/main.js",
  },
  mdev: { meaning: "List, create and remove mediated devices.", module: "./mdev/main.js" },
  observe: {
    meaning: "Show what runs now: who holds which device, its memory, its interrupts.",
    module: "./observe/main.js",
  },
  passthrough: {
    meaning: "Print what gives a device to a virtual machine of QEMU or libvirt.",
    module: "./passthrough/main.js",
  },
  permit: { meaning: "Let a user drive devices without being root.", module: "./permit/main.js" },
  "rx-pps": {
    meaning: "Receive packets and measure the rate, with a built-in generator or from any port.",
    module: "../../bench/rx-pps/main.js",
  },
  sriov: { meaning: "Make, set and remove virtual functions.", module: "./sriov/main.js" },
  testpmd: {
    meaning: "Forward packets between ports, as DPDK's testpmd: modes, console, statistics.",
    module: "./testpmd/main.js",
  },
};

function help(): string {
  const rows = Object.entries(commands).map(([name, { meaning }]) => `  ${name.padEnd(13)}${meaning}`);
  return [
    "usage: pollmode COMMAND [OPTIONS]",
    "",
    "commands:",
    ...rows,
    "",
    "  pollmode COMMAND --help   shows a command's options",
    "  pollmode --version        shows the version",
    "",
  ].join("\n");
}

function unknown(name: string): PollmodeError {
  const isOption = name.startsWith("-");
  const near = nearest(name, Object.keys(commands));
  const list = `commands: ${Object.keys(commands).join(", ")}`;
  const fix = isOption ? "give the command first: pollmode rx-pps …" : list;
  return new PollmodeError(
    isOption ? "OPTION_UNKNOWN" : "COMMAND_UNKNOWN",
    isOption ? `unknown option ${name}` : `there is no command "${name}"`,
    near ? `did you mean pollmode ${near}? ${list}` : fix,
  );
}

async function run([name, ...rest]: readonly string[]): Promise<number> {
  if (name === undefined) {
    process.stderr.write(help());
    return 2;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(help());
    return 0;
  }
  if (name === "--version" || name === "-v") {
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command) {
    process.stderr.write(`pollmode: ${describeError(unknown(name))}\n`);
    return 2;
  }
  const url = new URL(command.module, import.meta.url);
  const { main } = (await import(url.href)) as { main: (argv: readonly string[]) => Promise<number> };
  return main(rest);
}

process.exitCode = await run(process.argv.slice(2));
