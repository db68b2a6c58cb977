// What the beds that boot a virtual machine share: Debian's kernel as an ELF file, packages taken apart without being
// installed, an initramfs packed.
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { PollmodeError } from "../../src/errors.ts";
import { aptDownload, run } from "./command.ts";

/** Does `work` with a folder below `state` that is gone afterwards. */
export async function withScratch(state: string, work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(state, "scratch-"));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Downloads one package into `folder` and returns the .deb's path. */
export async function downloadPackage(name: string, folder: string): Promise<string> {
  await aptDownload([name], folder);
  const deb = readdirSync(folder).find((file) => file.startsWith(`${name}_`));
  if (!deb) throw new PollmodeError("BED_SETUP", `apt-get download ${name} left no .deb`, "apt-get update");
  return join(folder, deb);
}

/** The package of Debian's current kernel, e.g. `linux-image-6.1.0-40-amd64`. */
export async function kernelPackage(): Promise<string> {
  const depends = await run("apt-cache", ["depends", "linux-image-amd64"]);
  const image = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (!image) throw new PollmodeError("BED_SETUP", "apt knows no linux-image-amd64", "apt-get update");
  return image;
}

/** Extracts the files of a .deb that match tar's wildcard patterns: unpacking all of a kernel would be 400 MB. */
export async function unpackDeb(
  deb: string,
  folder: string,
  patterns: readonly string[],
  excluded: readonly string[] = [],
): Promise<void> {
  const words = [
    ...excluded.map((pattern) => `--exclude='${pattern}'`),
    ...patterns.map((pattern) => `'${pattern}'`),
  ];
  const script = `dpkg-deb --fsys-tarfile "$0" | tar -C "$1" -x --wildcards ${words.join(" ")}`;
  await run("sh", ["-c", script, deb, folder]);
}

/** Fetches busybox, linked statically, to `target`. */
export async function fetchBusybox(state: string, target: string): Promise<void> {
  await withScratch(state, async (folder) => {
    const deb = await downloadPackage("busybox-static", folder);
    await run("dpkg-deb", ["-x", deb, folder]);
    const found = ["bin/busybox", "usr/bin/busybox"]
      .map((path) => join(folder, path))
      .find((path) => existsSync(path));
    renameSync(found!, target);
  });
}

/**
 * The ELF file within the bzImage of an unpacked kernel package (Documentation/x86/boot.rst). QEMU enters it directly,
 * by its PVH note: a guest that unpacks its own kernel under TCG takes 4 s to boot instead of 1.5.
 */
export async function unpackKernel(folder: string, target: string): Promise<void> {
  const vmlinuz = readdirSync(join(folder, "boot")).find((file) => file.startsWith("vmlinuz-"));
  const image = readFileSync(join(folder, "boot", vmlinuz!));
  const setupSectors = image[0x1f1]!;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  const packed = image.subarray(start, start + image.readUInt32LE(0x24c) - 4); // 4: the length, unpacked
  const unpack = packed.readUInt32LE(0) === 0xfd2fb528 ? "zstd -dcq" : "xz -dcq";
  writeFileSync(join(folder, "packed"), packed);
  await run("sh", ["-c", `${unpack} < packed > vmlinux`], { cwd: folder });
  renameSync(join(folder, "vmlinux"), target);
}

/** Packs a folder as an initramfs. Not compressed: under TCG, unpacking would take longer than reading. */
export async function packInitramfs(folder: string, busybox: string, target: string): Promise<void> {
  const fresh = `${target}.new`;
  await run("sh", ["-c", 'cd "$0" && find . | "$1" cpio -o -H newc > "$2"', folder, busybox, fresh]);
  renameSync(fresh, target);
}
