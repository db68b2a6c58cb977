// Builds what the lab boots: a QEMU that knows igb, Debian's kernel and modules, three modules that Debian does not
// ship, and an initramfs that mounts the host's root over 9p. On the host it installs QEMU, kernel headers and tools.
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { PollmodeError } from "../../../src/errors.ts";
import { aptInstall, aptMissing, type Bed, commandPath, run, withLock } from "../command.ts";
import {
  downloadPackage,
  fetchBusybox,
  kernelPackage,
  packInitramfs,
  unpackDeb,
  unpackKernel,
  withScratch,
} from "../kernel-image.ts";
import { bedSource, bedState } from "../paths.ts";
import { installFromBackports } from "./backports.ts";

/** Raise it when this file changes what the lab holds. */
const labVersion = 1;
const qemuCommand = "qemu-system-x86_64";
/** Command and package: what the setup needs, and what tests run in the guest, which sees the host's files. */
const tools = [
  ["make", "make"],
  ["gcc", "gcc"],
  ["xz", "xz-utils"],
  ["depmod", "kmod"],
  ["ip", "iproute2"],
  ["lspci", "pciutils"],
  ["ethtool", "ethtool"],
  ["ping", "iputils-ping"],
  ["iperf3", "iperf3"],
  ["script", "bsdutils"],
  ["udevadm", "udev"],
] as const;
/** What mounts the root file system, and the port the agent speaks through. */
const bootModules = ["virtio_pci", "9p", "9pnet_virtio", "overlay"];
/** Folders of modules that no test wants and that are most of the 400 MB. */
const unwanted = [
  "drivers/gpu",
  "drivers/media",
  "drivers/net/wireless",
  "drivers/scsi",
  "drivers/staging",
  "sound",
];
const buildTimeoutMs = 600_000;

const state = bedState("lab");
export const kernelFile = join(state, "vmlinux");
export const initramfsFile = join(state, "initramfs.cpio");
/** Holds a folder of modules named after the kernel's release. */
export const moduleFolder = join(state, "kernel", "lib", "modules");
const busyboxFile = join(state, "busybox");
const stampFile = join(state, "ready");
const initScripts = ["initrd-init.sh", "guest-init.sh"].map((name) => bedSource(`lab/${name}`));

export const labBed: Bed = {
  name: "lab",
  missing() {
    if (labReady()) return undefined;
    const reason = aptMissing() ?? debianMissing();
    return reason && `the VFIO lab is not set up: ${reason}`;
  },
  setup: buildLab,
};

/** The kernel and the sources of its modules are taken from this release. */
function debianMissing(): string | undefined {
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  return /^VERSION_CODENAME=bookworm$/m.test(release) ? undefined : "it needs Debian 12 (bookworm)";
}

export function qemuPath(): string {
  return commandPath(qemuCommand)!;
}

/** Changes with this file's version, the scripts and QEMU. */
function wantedStamp(): string {
  const hash = createHash("sha256").update(`${labVersion} ${bootModules} ${unwanted}`);
  for (const script of initScripts) hash.update(readFileSync(script));
  const qemu = statSync(qemuPath());
  return hash.update(`${qemu.size} ${qemu.mtimeMs}`).digest("hex");
}

/** Whether the lab can be booted without further ado. */
export function labReady(): boolean {
  const built = [stampFile, kernelFile, initramfsFile].every((file) => existsSync(file));
  const installed = [qemuCommand, ...tools.map(([command]) => command)].every((command) =>
    commandPath(command),
  );
  return built && installed && readFileSync(stampFile, "utf8") === wantedStamp();
}

/** Downloads and builds what is not there yet; only one process at a time. */
async function buildLab(): Promise<void> {
  if (labReady()) return;
  await withLock(join(state, "lock"), async () => {
    if (labReady()) return; // another process has built it meanwhile
    await aptInstall(tools.filter(([command]) => !commandPath(command)).map(([, name]) => name));
    if (!(await qemuKnowsIgb())) await installFromBackports(["qemu-system-x86"], state);
    if (!(await qemuKnowsIgb()))
      throw new PollmodeError("BED_SETUP", "QEMU has no igb", "install QEMU 8 or later");
    if (!existsSync(busyboxFile)) await fetchBusybox(state, busyboxFile);
    if (!kernelReady()) await fetchKernel();
    await buildInitramfs();
    writeFileSync(stampFile, wantedStamp());
  });
}

/** igb, the 82576 with its virtual functions, came with QEMU 8.0; Debian 12 itself has 7.2. */
async function qemuKnowsIgb(): Promise<boolean> {
  const path = commandPath(qemuCommand);
  return path !== undefined && /"igb"/.test(await run(path, ["-device", "help"]));
}

function kernelStampFile(): string {
  return join(state, "kernel", `version-${labVersion}`);
}

function kernelReady(): boolean {
  return existsSync(kernelFile) && existsSync(kernelStampFile());
}

/** The kernel and its modules as Debian builds them, and our own in `updates`, which modprobe prefers. */
async function fetchKernel(): Promise<void> {
  await withScratch(state, async (folder) => {
    const image = await kernelPackage();
    const release = image.replace("linux-image-", "");
    const excluded = unwanted.map((path) => `*/kernel/${path}/*`);
    await unpackDeb(await downloadPackage(image, folder), folder, ["./boot/*", "./lib/modules/*"], excluded);
    const updates = join(folder, "lib", "modules", release, "updates");
    mkdirSync(updates);
    await buildModules(release, folder, updates);
    await run("depmod", ["-b", folder, release]);
    await unpackKernel(folder, kernelFile);
    const kernel = dirname(kernelStampFile());
    rmSync(kernel, { recursive: true, force: true });
    mkdirSync(kernel);
    renameSync(join(folder, "lib"), join(kernel, "lib"));
    writeFileSync(kernelStampFile(), "");
  });
}

/**
 * Debian's vfio has no CONFIG_VFIO_NOIOMMU, and there is no package of the mdev sample mtty, nor one of igb_uio but as
 * source: the three are built outside the kernel's tree, against Debian's headers.
 */
async function buildModules(release: string, scratch: string, target: string): Promise<void> {
  const version = /^\d+\.\d+/.exec(release)![0]; // of 6.1.0-40-amd64: 6.1
  await aptInstall([`linux-headers-${release}`]);
  const source = await downloadPackage(`linux-source-${version}`, scratch);
  const archive = `linux-source-${version}`;
  const wanted = [`${archive}/drivers/vfio`, `${archive}/samples/vfio-mdev`].join(" ");
  const script = `dpkg-deb --fsys-tarfile "$0" | tar -xO './usr/src/${archive}.tar.xz' | tar -C "$1" -xJ ${wanted}`;
  await run("sh", ["-c", script, source, scratch], { timeoutMs: buildTimeoutMs });
  const kmods = await downloadPackage("dpdk-kmods-dkms", scratch);
  await unpackDeb(kmods, scratch, ["./usr/src/*"]);
  const files = readdirSync(scratch, { recursive: true, encoding: "utf8" });
  const igbUio = join(scratch, dirname(files.find((file) => basename(file) === "igb_uio.c")!));
  const vfio = join(scratch, archive, "drivers", "vfio");
  const vfioObjects = "vfio-y := vfio_main.o iova_bitmap.o container.o";
  const makefile = `obj-m := vfio.o\n${vfioObjects}\nccflags-y := -DCONFIG_VFIO_NOIOMMU=1\n`;
  writeFileSync(join(vfio, "Makefile"), makefile);
  const mtty = join(scratch, archive, "samples", "vfio-mdev");
  writeFileSync(join(mtty, "Makefile"), "obj-m := mtty.o\n");
  for (const folder of [vfio, mtty, igbUio]) {
    const args = ["-s", "-C", `/usr/src/linux-headers-${release}`, `M=${folder}`, "modules"];
    await run("make", args, { timeoutMs: buildTimeoutMs });
    for (const file of readdirSync(folder).filter((file) => file.endsWith(".ko"))) {
      copyFileSync(join(folder, file), join(target, file));
    }
  }
}

/** The files of these modules below all they depend on, in the order insmod needs, out of modules.dep. */
function moduleFiles(folder: string, names: readonly string[]): string[] {
  const order = new Set<string>();
  const lines = readFileSync(join(folder, "modules.dep"), "utf8").split("\n");
  const nameOf = (file: string) =>
    basename(file)
      .replace(/\.ko.*$/, "")
      .replaceAll("-", "_");
  for (const name of names) {
    const line = lines.find((line) => nameOf(line.split(":")[0]!) === name); // none: it is built in
    const [file, depends] = line?.split(":") ?? [];
    // Each line names all the dependencies, the deepest last.
    for (const dependency of depends?.trim().split(" ").filter(Boolean).reverse() ?? [])
      order.add(dependency);
    if (file) order.add(file);
  }
  return [...order];
}

async function buildInitramfs(): Promise<void> {
  await withScratch(state, async (folder) => {
    for (const sub of ["bin", "modules"]) mkdirSync(join(folder, sub));
    copyFileSync(busyboxFile, join(folder, "bin/busybox"));
    const modules = join(moduleFolder, readdirSync(moduleFolder)[0]!);
    const files = moduleFiles(modules, bootModules);
    for (const file of files) copyFileSync(join(modules, file), join(folder, "modules", basename(file)));
    writeFileSync(join(folder, "modules/order"), files.map((file) => basename(file)).join("\n"));
    copyFileSync(bedSource("lab/initrd-init.sh"), join(folder, "init"));
    copyFileSync(bedSource("lab/guest-init.sh"), join(folder, "guest-init.sh"));
    chmodSync(join(folder, "init"), 0o755);
    await packInitramfs(folder, busyboxFile, initramfsFile);
  });
}
