// Builds what the guest bed boots: Debian's kernel, and an initramfs of busybox, ping, ethtool, the virtio modules
// and guest-init.sh. Nothing of it is installed on the host but QEMU, ping, ethtool and xz.
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { PollmodeError } from "../../src/errors.ts";
import { aptDownload, aptInstall, commandPath, run, withLock } from "./command.ts";
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
    if (!existsSync(busyboxFile)) await fetchBusybox();
    if (!existsSync(kernelFile)) await fetchKernel();
    await packInitramfs();
    writeFileSync(stampFile, wantedStamp());
  });
}

async function withScratch(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(state, "scratch-"));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Downloads one package into `folder` and returns the .deb's path. */
async function download(name: string, folder: string): Promise<string> {
  await aptDownload([name], folder);
  const deb = readdirSync(folder).find((file) => file.startsWith(`${name}_`));
  if (!deb) throw new PollmodeError("BED_SETUP", `apt-get download ${name} left no .deb`, "apt-get update");
  return join(folder, deb);
}

async function fetchBusybox(): Promise<void> {
  await withScratch(async (folder) => {
    const deb = await download("busybox-static", folder);
    await run("dpkg-deb", ["-x", deb, folder]);
    const found = ["bin/busybox", "usr/bin/busybox"]
      .map((path) => join(folder, path))
      .find((path) => existsSync(path));
    renameSync(found!, busyboxFile);
  });
}

/** Takes the kernel and a handful of its modules out of the package: unpacking all of it would be 400 MB. */
async function fetchKernel(): Promise<void> {
  await withScratch(async (folder) => {
    const depends = await run("apt-cache", ["depends", "linux-image-amd64"]);
    const image = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
    if (!image) throw new PollmodeError("BED_SETUP", "apt knows no linux-image-amd64", "apt-get update");
    const deb = await download(image, folder);
    const patterns = ["./boot/vmlinuz-*", ...modulePaths.map((path) => `*/kernel/${path}`)];
    const quoted = patterns.map((pattern) => `'${pattern}'`).join(" ");
    const script = `dpkg-deb --fsys-tarfile "$0" | tar -C "$1" -x --wildcards ${quoted}`;
    await run("sh", ["-c", script, deb, folder]);
    await run("find", [folder, "-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"]);
    rmSync(moduleFolder, { recursive: true, force: true });
    mkdirSync(moduleFolder);
    for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
      if (file.endsWith(".ko")) copyFileSync(join(folder, file), join(moduleFolder, basename(file)));
    }
    const vmlinuz = readdirSync(join(folder, "boot")).find((file) => file.startsWith("vmlinuz-"));
    await unpackKernel(join(folder, "boot", vmlinuz!), folder);
  });
}

/**
 * The ELF file within a bzImage (Documentation/x86/boot.rst). QEMU enters it directly, by its PVH note: a guest that
 * unpacks its own kernel under TCG takes 4 s to boot instead of 1.5.
 */
async function unpackKernel(bzImage: string, folder: string): Promise<void> {
  const image = readFileSync(bzImage);
  const setupSectors = image[0x1f1]!;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  const packed = image.subarray(start, start + image.readUInt32LE(0x24c) - 4); // 4: the length, unpacked
  const unpack = packed.readUInt32LE(0) === 0xfd2fb528 ? "zstd -dcq" : "xz -dcq";
  writeFileSync(join(folder, "packed"), packed);
  await run("sh", ["-c", `${unpack} < packed > vmlinux`], { cwd: folder });
  renameSync(join(folder, "vmlinux"), kernelFile);
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

async function packInitramfs(): Promise<void> {
  await withScratch(async (folder) => {
    for (const sub of ["bin", "modules"]) mkdirSync(join(folder, sub));
    copyFileSync(busyboxFile, join(folder, "bin/busybox"));
    await addProgram(commandPath("ping")!, folder, "iputils-ping");
    await addProgram(commandPath("ethtool")!, folder, "ethtool");
    const order = moduleOrder();
    for (const file of order) copyFileSync(join(moduleFolder, file), join(folder, "modules", file));
    writeFileSync(join(folder, "modules/order"), order.join("\n"));
    copyFileSync(bedSource("guest-init.sh"), join(folder, "init"));
    chmodSync(join(folder, "init"), 0o755);
    // Not compressed: under TCG, unpacking would take longer than reading.
    const fresh = `${initramfsFile}.new`;
    await run("sh", ["-c", 'cd "$0" && find . | "$1" cpio -o -H newc > "$2"', folder, busyboxFile, fresh]);
    renameSync(fresh, initramfsFile);
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
