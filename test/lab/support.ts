// What the lab's tests share: running one of guest/*.ts in the guest, binding NICs, peers that are not ours.
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Lab, LabProcess } from "../beds/lab/lab.ts";

export type UserDriver = "vfio-pci" | "uio_pci_generic" | "igb_uio";

export function guestProgram(name: string): string {
  return fileURLToPath(new URL(`./guest/${name}.js`, import.meta.url));
}

/** The JSON object on the last line of a guest program's output. */
export function lastJson<T>(stdout: string): T {
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as T;
}

/** Runs guest/NAME.ts to its end and returns what it reports. */
export async function guestRun<T>(lab: Lab, name: string, settings: object, timeoutMs = 120_000): Promise<T> {
  const { code, stdout, stderr } = await lab.node(guestProgram(name), [JSON.stringify(settings)], {
    timeoutMs,
  });
  if (code === 0) return lastJson<T>(stdout);
  throw new Error(
    `${name} in the guest, exit code ${code}:\n${stderr}${stdout}\n${(await lab.dmesg()).slice(-1500)}`,
  );
}

/** Starts guest/NAME.ts and waits until it says that it is ready. */
export async function guestStart(lab: Lab, name: string, settings: object): Promise<LabProcess> {
  const program = await lab.start([process.execPath, guestProgram(name), JSON.stringify(settings)]);
  await program.waitFor(/@ready/, 60_000);
  return program;
}

/** Ends a program of guestStart by a signal and returns its report. */
export async function guestEnd<T>(program: LabProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<T> {
  program.signal(signal);
  await program.exited;
  return lastJson<T>(program.stdout);
}

/** Runs a shell command in the guest; throws with its output when it fails. */
export async function shell(lab: Lab, command: string, timeoutMs = 60_000): Promise<string> {
  const { code, stdout, stderr } = await lab.exec(command, { timeoutMs });
  if (code === 0) return stdout;
  throw new Error(`in the guest: ${command}: exit code ${code}\n${stderr}${stdout}`);
}

/** Gives a NIC to its kernel driver, in a network namespace of its own; returns the interface's name. */
export async function kernelPeer(lab: Lab, address: string, driver: string, ip: string): Promise<string> {
  await lab.bind(address, driver);
  const name = (await shell(lab, `ls /sys/bus/pci/devices/${address}/net`)).trim();
  const steps = [
    "ip netns add peer 2> /dev/null || true",
    `ip link set ${name} netns peer`,
    "ip netns exec peer sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
    `ip netns exec peer ip address add ${ip} dev ${name}`,
    `ip netns exec peer ip link set ${name} up`,
  ];
  await shell(lab, steps.join(" && "));
  for (let k = 0; k < 100; k++) {
    if ((await shell(lab, `ip netns exec peer cat /sys/class/net/${name}/carrier`)).trim() === "1")
      return name;
    await pause(100);
  }
  throw new Error(`${name} has no carrier`);
}

/** Takes the kernel's NIC out of its namespace again, so that it can be bound to another driver. */
export async function endKernelPeer(lab: Lab): Promise<void> {
  await shell(lab, "ip netns del peer; sleep 0.3");
}

export interface PingReport {
  readonly sent: number;
  readonly received: number;
}

/** `ping -f`: the kernel's own stack and driver send, and compare each payload that comes back. */
export async function floodPing(lab: Lab, to: string, count: number, bytes = 56): Promise<PingReport> {
  const command = `ip netns exec peer ping -q -f -c ${count} -s ${bytes} -W 2 ${to}`;
  const { stdout, stderr } = await lab.exec(command, { timeoutMs: 120_000 });
  const found = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
  if (!found) throw new Error(`ping: ${stderr}${stdout}`);
  return { sent: Number(found[1]), received: Number(found[2]) };
}

/** DPDK's testpmd in the guest, sending back whatever its one port receives. */
export async function reflector(lab: Lab, address: string, extra: string[] = []): Promise<LabProcess> {
  const eal = ["--lcores", "0@0,1@1", "-m", "256", "-a", address, "--in-memory"];
  const app = [
    "--nb-cores=1",
    "--total-num-mbufs=16384",
    "--no-mlockall",
    "--forward-mode=io",
    "--stats-period=5",
  ];
  const command = [
    "stdbuf",
    "-oL",
    "dpdk-testpmd",
    ...eal,
    "--",
    ...app,
    "--rxd=1024",
    "--txd=1024",
    ...extra,
  ];
  const testpmd = await lab.start(command);
  await testpmd.waitFor(/Port statistics =/, 60_000);
  return testpmd;
}
