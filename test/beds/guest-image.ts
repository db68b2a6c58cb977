// Builds what the guest bed boots: Debian's kernel, and an initramfs of busybox, ping, ethtool, the virtio modules
// and guest-init.sh. Nothing of it is installed on the host but QEMU, ping, ethtool and xz.
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { aptInstall, commandPath, run, withLock } from "./command.ts";
import {
  downloadPackage,
  fetchBusybox,
  kernelPackage,
  packInitramfs,
  unpackDeb,
  unpackKernel,
  withScratch,
} from "./kernel-image.ts";
import { bedSource, bedState } from "./paths.ts";

/** Raise it when this file changes what the image holds. */
const imageVersion = 1;
const hostCommands = [
  ["qemu-system-x86_64", "qemu-system-x86"],
  ["xz", "xz-utils"],
  ["ping", "iputils-ping"],
  ["ethtool", "ethtool"],
] as const;
const wantedModules = ["virtio_pci", "virtio_net"];
/** Where a kernel package keeps the wanted modules and those they depend on. */
const modulePaths = [
  "drivers/virtio/*",
  "drivers/net/virtio_net.ko*",
  "drivers/net/net_failover.ko*",
  "net/core/failover.ko*",
];

const state = bedState("guest");
export const kernelFile = join(state, "vmlinux");
export const initramfsFile = join(state, "initramfs.cpio");
const stampFile = join(state, "ready");
const busyboxFile = join(state, "busybox");
const moduleFolder = join(state, "modules");

function wantedStamp(): string {
  const init = readFileSync(bedSource("guest-init.sh"));
  return createHash("sha256").update(`${imageVersion} ${wantedModules}`).update(init).digest("hex");
}

export function missingPackages(): string[] {
  return hostCommands.filter(([command]) => !commandPath(command)).map(([, name]) => name);
}

/** Whether the guest can be booted without further ado. */
export function imageReady(): boolean {
  const built = [stampFile, kernelFile, initramfsFile].every((file) => existsSync(file));
  return built && missingPackages().length === 0 && readFileSync(stampFile, "utf8") === wantedStamp();
}

/** Downloads and builds what is not there yet; only one process at a time. */
export async function buildImage(): Promise<void> {
  if (imageReady()) return;
  await withLock(join(state, "lock"), async () => {
    if (imageReady()) return; // another process has built it meanwhile
    await aptInstall(missingPackages());
    if (!existsSync(busyboxFile)) await fetchBusybox(state, busyboxFile);
    if (!existsSync(kernelFile)) await fetchKernel();
    await buildInitramfs();
    writeFileSync(stampFile, wantedStamp());
  });
}

/** Takes the kernel and a handful of its modules out of the package. */
async function fetchKernel(): Promise<void> {
  await withScratch(state, async (folder) => {
    const deb = await downloadPackage(await kernelPackage(), folder);
    await unpackDeb(deb, folder, ["./boot/vmlinuz-*", ...modulePaths.map((path) => `*/kernel/${path}`)]);
    await run("find", [folder, "-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"]);
    rmSync(moduleFolder, { recursive: true, force: true });
    mkdirSync(moduleFolder);
    for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
      if (file.endsWith(".ko")) copyFileSync(join(folder, file), join(moduleFolder, basename(file)));
    }
    await unpackKernel(folder, kernelFile);
  });
}

/** The wanted modules after all they depend on, as insmod needs them. A name without a file is built in. */
function moduleOrder(): string[] {
  const order: string[] = [];
  const visit = (name: string) => {
    const file = `${name}.ko`;
    if (order.includes(file) || !existsSync(join(moduleFolder, file))) return;
    const info = readFileSync(join(moduleFolder, file), "latin1");
    const depends = /\0depends=([^\0]*)\0/.exec(info)?.[1] ?? "";
    for (const dependency of depends.split(",").filter(Boolean)) visit(dependency);
    order.push(file);
  };
  for (const name of wantedModules) visit(name);
  return order;
}

async function buildInitramfs(): Promise<void> {
  await withScratch(state, async (folder) => {
    for (const sub of ["bin", "modules"]) mkdirSync(join(folder, sub));
    copyFileSync(busyboxFile, join(folder, "bin/busybox"));
    await addProgram(commandPath("ping")!, folder, "iputils-ping");
    await addProgram(commandPath("ethtool")!, folder, "ethtool");
    const order = moduleOrder();
    for (const file of order) copyFileSync(join(moduleFolder, file), join(folder, "modules", file));
    writeFileSync(join(folder, "modules/order"), order.join("\n"));
    copyFileSync(bedSource("guest-init.sh"), join(folder, "init"));
    chmodSync(join(folder, "init"), 0o755);
    await packInitramfs(folder, busyboxFile, initramfsFile);
  });
}

/** Copies a program of the host with the shared libraries that ldd names, at their own paths. */
async function addProgram(path: string, folder: string, name: string): Promise<void> {
  copyFileSync(path, join(folder, "bin", name));
  const libraries = (await run("ldd", [path])).matchAll(/(\/\S+) \(0x/g);
  for (const [, library] of libraries) {
    const target = join(folder, library!);
    mkdirSync(join(target, ".."), { recursive: true });
    copyFileSync(library!, target);
  }
}
